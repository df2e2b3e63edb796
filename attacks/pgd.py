"""Projected gradient descent: BIM from random starts, with restarts for the examples that survived."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.ascent import ascend, check_reach
from robustboard.attacks.attack import Model, Proposal, register
from robustboard.attacks.bim import climb_and_score
from robustboard.attacks.losses import LossName


@register(
    "pgd",
    norm="linf",
    aim="budget",
    version=1,
    source="Madry et al. 2017, section 2.1; margin loss",
    check=check_reach,
)
def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step: float = 1 / 20,
    restarts: int = 1,
    loss: LossName = "margin",
    targets: Tensor | None = None,
) -> Proposal:
    """The best of `restarts` ascents from uniform points of the ball; α = `step` · ε. Only survivors start again.

    A random start can lie 2 ε from where a feature has to go: the defaults walk that far.

    Raises ValueError when α · steps < ε.
    """
    check_reach(step, steps)
    best = images.clone()
    scores = torch.full((len(images),), -torch.inf, device=images.device)
    iterations = torch.zeros_like(labels)
    rows = torch.arange(len(images), device=images.device)
    for restart in range(restarts):
        climb, score = climb_and_score(loss, labels[rows], None if targets is None else targets[rows])
        starts = uniform_start(images[rows], randomness.derive(keys[rows], restart), epsilon)
        ascent = ascend(model, images[rows], starts, climb, score, epsilon=epsilon, step=step * epsilon, steps=steps)
        better = ascent.scores > scores[rows]
        best[rows[better]] = ascent.images[better]
        scores[rows[better]] = ascent.scores[better]
        iterations[rows] += ascent.iterations
        rows = rows[~ascent.done]
        if not len(rows):
            break
    return Proposal(best, iterations)


register(
    "pgd_ce",
    norm="linf",
    aim="budget",
    version=1,
    source="Madry et al. 2017, section 2.1",
    preset={"loss": "cross_entropy"},
    check=check_reach,
)(pgd)


def uniform_start(images: Tensor, keys: Tensor, epsilon: float) -> Tensor:
    """A point drawn uniformly from the L∞ ball around each image, brought into the box."""
    noise = 2 * randomness.uniform(keys, tuple(images.shape[1:])) - 1
    return projections.box(images + epsilon * noise)
