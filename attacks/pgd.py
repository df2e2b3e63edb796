"""Projected gradient descent: BIM from random starts, with restarts for the examples that survived."""

from __future__ import annotations

from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.ascent import Ascent, ascend, cascade, check_reach
from robustboard.attacks.attack import Model, Proposal, register, register_linf_and_l2
from robustboard.attacks.bim import climb_and_score
from robustboard.attacks.losses import LossName
from robustboard.attacks.projections import BallNorm


@register_linf_and_l2(
    "pgd",
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
    norm: BallNorm = "linf",
    targets: Tensor | None = None,
) -> Proposal:
    """The best of `restarts` ascents from uniform points of the ball; α = `step` · ε. Only survivors start again.

    A random start can lie 2 ε from where a feature has to go: the defaults walk that far.

    Raises ValueError when α · steps < ε.
    """
    check_reach(step, steps)

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        origins = images[rows]
        climb, score = climb_and_score(loss, labels[rows], None if targets is None else targets[rows])
        starts = uniform_start(origins, randomness.derive(keys[rows], numbers), epsilon, norm)
        return ascend(model, origins, starts, climb, score, epsilon=epsilon, step=step * epsilon, steps=steps, norm=norm)

    best = cascade(Ascent.nothing(images), restarts, attempt)
    return Proposal(best.images, best.iterations)


register(
    "pgd_ce",
    norm="linf",
    aim="budget",
    version=2,
    source="Madry et al. 2017, section 2.1; cross-entropy by its log-odds",
    preset={"loss": "log_odds"},
    check=check_reach,
)(pgd)


def uniform_start(images: Tensor, keys: Tensor, epsilon: float | Tensor, norm: BallNorm = "linf") -> Tensor:
    """A point drawn uniformly from the ball of `epsilon` (one, or one an image (N, 1, 1, 1)) around each image, brought
    into the box."""
    return projections.box(images + epsilon * randomness.in_unit_ball(keys, tuple(images.shape[1:]), norm))
