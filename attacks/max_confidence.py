"""The max-confidence attack: how sure of a wrong class can the model be made within ε?"""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.ascent import Ascent, ascend, cascade, check_falling_reach
from robustboard.attacks.attack import Model, Proposal, logits_of, register
from robustboard.attacks.losses import Head, confidence, lead_of, log_odds, margin, wrong_classes
from robustboard.attacks.pgd import uniform_start

CERTAIN = 1 - 1e-6
"""Within a millionth of 1 nothing is left to gain, the example is done."""


@register(
    "max_confidence",
    norm="linf",
    aim="confidence",
    version=2,
    source="Goodfellow, Qin & Berthelot 2019, section 3",
    check=check_falling_reach,
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
    head: Head = "softmax",
) -> Proposal:
    """For every wrong class a PGD ascent on that class's confidence; per example the most confident error is kept.

    The first move is `step` · ε long, and they fall along a line, the last to `step` · ε / `steps`: on an adversarially
    trained network long steps leave the first hill and short ones climb the last, where steps of one length do neither.

    Every example is attacked, clean errors included, and the clean image is a candidate too. Wrong classes are tried in
    the order of their clean logits; an example that is wrong with a confidence of 1 is done with all of them.
    `head` says how logits become confidences. Raises ValueError when the moves together are shorter than ε.
    """
    check_falling_reach(step, steps)
    clean = logits_of(model, images)
    classes = wrong_classes(clean, labels)

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        origins, owners, aims = images[rows], labels[rows], classes[rows, numbers]

        def climb(logits: Tensor, active: Tensor) -> Tensor:
            return target_confidence(logits, owners[active], aims[active], head)

        def score(logits: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
            return _scored(logits, owners[active], head)

        starts = uniform_start(origins, randomness.derive(keys[rows], numbers), epsilon)
        first = step * epsilon
        return ascend(model, origins, starts, climb, score, epsilon=epsilon, step=first, steps=steps, falling=True)

    scores, certain = _scored(clean, labels, head)
    best = cascade(Ascent(images.clone(), scores, torch.zeros_like(labels), certain), classes.shape[1], attempt)
    return Proposal(best.images, best.iterations)


def target_confidence(logits: Tensor, labels: Tensor, targets: Tensor, head: Head) -> Tensor:
    """A strictly rising function of the target's confidence whose gradient does not vanish: the log-odds of
    softmax_t, or for sigmoid heads Z_t, joined with Z_t − Z_y as long as the label leads: only an error counts. (N,)"""
    if head == "softmax":
        # log p_t flattens as p_t nears 1, where log p_t − log(1 − p_t), equally rising, goes on.
        return -log_odds(logits, targets)
    own = logits.gather(1, targets[:, None]).squeeze(1)
    return own + lead_of(logits, targets, labels).clamp_max(0)


def confident_error(logits: Tensor, labels: Tensor, head: Head) -> Tensor:
    """The confidence of an error (N,), in [0, 1]; where the model is right, its margin, which is at most 0."""
    lead = margin(logits, labels)
    return torch.where(lead > 0, confidence(logits, head), lead)


def _scored(logits: Tensor, labels: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    values = confident_error(logits, labels, head)
    return values, values >= CERTAIN
