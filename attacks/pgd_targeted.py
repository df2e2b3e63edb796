"""Projected gradient descent towards every wrong class in turn: where the nearest boundary is not that of the runner-up."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.ascent import ascend, check_reach
from robustboard.attacks.attack import Model, Proposal, logits_of, register
from robustboard.attacks.losses import is_decisive, likeliest_wrong, margin, pull
from robustboard.attacks.pgd import uniform_start


@register(
    "pgd_t",
    norm="linf",
    aim="budget",
    version=1,
    source="Gowal et al. 2019 (MultiTargeted), section 3; PGD of Madry et al. 2017",
    check=check_reach,
)
def pgd_targeted(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step: float = 1 / 20,
    restarts: int = 1,
) -> Proposal:
    """For every wrong class t an ascent of Z_t − Z_y from a uniform point of the ball; α = `step` · ε.

    The classes are tried in the order of their clean logits, `restarts` times, and only survivors go on to the next. Any
    wrong answer is a success, whichever class it is. Raises ValueError when α · steps < ε.
    """
    check_reach(step, steps)
    clean = logits_of(model, images)
    best, scores = images.clone(), margin(clean, labels)
    iterations = torch.zeros_like(labels)
    rows = torch.arange(len(images), device=images.device)
    for number, targets in enumerate(likeliest_wrong(clean, labels).unbind(1) * restarts):
        owners, aims = labels[rows], targets[rows]

        def climb(logits: Tensor, active: Tensor, owners: Tensor = owners, aims: Tensor = aims) -> Tensor:
            return pull(logits, owners[active], aims[active])

        def score(logits: Tensor, active: Tensor, owners: Tensor = owners) -> tuple[Tensor, Tensor]:
            lead = margin(logits, owners[active])
            return lead, is_decisive(logits, lead)

        starts = uniform_start(images[rows], randomness.derive(keys[rows], number), epsilon)
        ascent = ascend(model, images[rows], starts, climb, score, epsilon=epsilon, step=step * epsilon, steps=steps)
        better = ascent.scores > scores[rows]
        best[rows[better]] = ascent.images[better]
        scores[rows[better]] = ascent.scores[better]
        iterations[rows] += ascent.iterations
        rows = rows[~ascent.done]
        if not len(rows):
            break
    return Proposal(best, iterations)
