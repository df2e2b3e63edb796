"""The max-confidence attack: how sure of a wrong class can the model be made within ε?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.ascent import Ascent, Attempt, ascend, cascade, check_falling_reach
from robustboard.attacks.attack import Model, Proposal, logits_of, register
from robustboard.attacks.losses import Head, confidence, lead_of, log_odds, margin, wrong_classes
from robustboard.attacks.pgd import uniform_start

Objective = Callable[[Tensor, Tensor, Tensor, Head], Tensor]
"""(logits, labels, targets, head) -> what is climbed (n,)."""
CERTAIN, SPARED = 1 - 1e-6, 0.999
"""Within a millionth of 1 nothing is left to gain, the example is done; an error above 0.999 is spared the second way."""


def check_moves(step: float, steps: int, near_step: float) -> None:
    """Refuse moves that together are shorter than ε, in either ascent."""
    check_falling_reach(step, steps)
    if near_step:
        check_falling_reach(near_step, steps)


@register(
    "max_confidence",
    norm="linf",
    aim="confidence",
    version=3,
    source="Goodfellow, Qin & Berthelot 2019, section 3",
    check=check_moves,
)
def max_confidence(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step: float = 1.0,
    near_step: float = 0.1,
    head: Head = "softmax",
) -> Proposal:
    """For every wrong class two PGD ascents, per example the most confident error is kept: far, from a random point of the ball
    on the class's confidence; then near, from the image itself on the class's logit above the mean of all, for examples of
    which the far way made no error of a confidence above 0.999.

    The first move is `step` · ε long, or `near_step` · ε, and they fall along a line, the last to its share of 1 / `steps`: on
    an adversarially trained network long steps leave the first hill and short ones climb the last, where steps of one length do
    neither. A network that was trained to be unsure off its data is flat wherever a long step or a random start leads, and is
    sure only near the image. `near_step` 0 leaves the near way out.

    Every example is attacked, clean errors included, and the clean image is a candidate too. Wrong classes are tried in
    the order of their clean logits; an example that is wrong with a confidence within 1e-6 of 1 is done with all of them.
    `head` says how logits become confidences. Raises ValueError when the moves of a way together are shorter than ε.
    """
    check_moves(step, steps, near_step)
    clean = logits_of(model, images)
    classes = wrong_classes(clean, labels)

    def score(logits: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        values = confident_error(logits, owners, head)
        return values, values >= CERTAIN

    def attempts(first: float, objective: Objective, *, at_random: bool) -> Attempt:
        def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
            origins, owners, aims = images[rows], labels[rows], classes[rows, numbers]

            def climb(logits: Tensor, active: Tensor) -> Tensor:
                return objective(logits, owners[active], aims[active], head)

            def scored(logits: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
                return score(logits, owners[active])

            starts = uniform_start(origins, randomness.derive(keys[rows], numbers), epsilon) if at_random else origins
            length = first * epsilon
            return ascend(model, origins, starts, climb, scored, epsilon=epsilon, step=length, steps=steps, falling=True)

        return attempt

    scores, done = score(clean, labels)
    best = Ascent(images.clone(), scores, torch.zeros_like(labels), done)
    best = cascade(best, classes.shape[1], attempts(step, target_confidence, at_random=True))
    if near_step:
        best.done.logical_or_(best.scores > SPARED)
        best = cascade(best, classes.shape[1], attempts(near_step, logit_above_mean, at_random=False))
    return Proposal(best.images, best.iterations)


def target_confidence(logits: Tensor, labels: Tensor, targets: Tensor, head: Head) -> Tensor:
    """A strictly rising function of the target's confidence whose gradient does not vanish: the log-odds of
    softmax_t, or for sigmoid heads Z_t, joined with Z_t − Z_y as long as the label leads: only an error counts. (N,)"""
    if head == "softmax":
        # log p_t flattens as p_t nears 1, where log p_t − log(1 − p_t), equally rising, goes on.
        return -log_odds(logits, targets)
    own = logits.gather(1, targets[:, None]).squeeze(1)
    return own + lead_of(logits, targets, labels).clamp_max(0)


def logit_above_mean(logits: Tensor, labels: Tensor, targets: Tensor, head: Head) -> Tensor:
    """Z_t less the mean of all logits: unlike the confidence it pulls at every class alike, however far behind the target is.
    Of sigmoid heads, where only Z_t counts, the same as `target_confidence`. (N,)"""
    if head == "sigmoid":
        return target_confidence(logits, labels, targets, head)
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.mean(1)


def confident_error(logits: Tensor, labels: Tensor, head: Head) -> Tensor:
    """The confidence of an error (N,), in [0, 1]; where the model is right, its margin, which is at most 0."""
    lead = margin(logits, labels)
    return torch.where(lead > 0, confidence(logits, head), lead)
