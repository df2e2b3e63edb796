"""Fast minimum-norm attack: a ball around the image that shrinks to the boundary and the nearest point of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, register
from robustboard.attacks.projections import BallNorm
from robustboard.attacks.walks import Look, Move, Walks, check_walks, walk

NEUTRAL = {"restarts": 1, "kappa": 0.0, "patience": 0, "momentum": 0.0}
SOURCE = "Pintor et al. 2021, algorithm 1; margin loss, stretched to ε before the first success; momentum of Dong et al. 2018"


@register("fmn", norm="l2", aim="minimum", version=3, source=SOURCE, neutral=NEUTRAL, check=check_walks)
def fmn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    steps: int = 100,
    rate: float = 1.0,
    gamma: float = 0.05,
    initial_norm: float = 0.0,
    classes: int = 0,
    restarts: int = 1,
    kappa: float = 0.0,
    patience: int = 0,
    momentum: float = 0.0,
    norm: BallNorm = "l2",
    targets: Tensor | None = None,
) -> Proposal:
    """δ ← Π(δ + α · g / ‖g‖₂) onto the ball of radius ε, which the model's own slope and then γ move; g the gradient of the
    margin, or with `momentum` a moving average of it, then in `classes` more walks that of Z_t − Z_y, t the likeliest wrong
    class, the next, …; and all of that `restarts` times, after the first from a random point of the ball of `initial_norm`,
    until `patience` walks (0: any number) brought an example no nearer.

    Until a first success ε is the distance at which the boundary would lie were the model linear, ‖δ‖ − f / ‖∇f‖ in the dual
    norm, times 1 + γ, and never less than before or than `initial_norm`, and δ is stretched to it: from beyond the boundary
    the way back is shorter on robust networks. From then on ε is multiplied by 1 − γ inside the other class (never above the
    best distance) and by 1 + γ outside; it is never more than the box is wide. α falls from `rate` to a hundredth of it and γ
    from `gamma` to a hundredth along cosines. Returns the closest success, which has a margin of at least κ, or the image
    itself. Where there is no direction to go a random one is drawn. `epsilon` is not used. Raises ValueError when
    restarts would all begin at the image, or for a momentum outside [0, 1).
    """
    check_walks(restarts, initial_norm, patience, momentum)
    # No change in the box is larger, whatever a model promises whose slope is next to nothing.
    farthest = 1.0 if norm == "linf" else math.sqrt(images[0].numel())

    def begin(origins: Tensor) -> Move:
        best = origins.new_full((len(origins),), torch.inf)
        radius = torch.full_like(best, initial_norm)

        def move(look: Look) -> Tensor:
            nonlocal best, radius
            best = torch.where(look.found, torch.minimum(best, look.size), best)
            falling = 0.01 + 0.99 * look.cosine
            straight = look.size - look.climb / dual_norms(look.gradient, norm).clamp_min(1e-12)
            shrunk = torch.minimum(radius * (1 - gamma * falling), best)
            # In the box the way is longer than the estimate, and on a linear boundary to the last digit it would not be across.
            reaching = torch.maximum(radius, straight) * (1 + gamma)
            grown = torch.where(torch.isfinite(best), radius * (1 + gamma * falling), reaching).clamp_max(farthest)
            radius = torch.where(look.found, shrunk, grown)
            moved = origins + look.change + rate * falling * look.direction
            stretched = origins + _stretched(moved - origins, radius, norm)
            moved = torch.where(projections.per_example(torch.isfinite(best), moved), moved, stretched)
            return projections.into_ball(moved, origins, radius, norm)

        return move

    walks = Walks(steps, classes, restarts, initial_norm, norm, kappa, patience, momentum)
    return walk(model, images, labels, keys, targets, walks, begin)


def _stretched(change: Tensor, radius: Tensor, norm: BallNorm) -> Tensor:
    length = projections.norms(change, norm).clamp_min(1e-12)
    return change * projections.per_example(radius / length, change)


register("fmn_linf", norm="linf", aim="minimum", version=3, source=SOURCE, neutral=NEUTRAL, check=check_walks)(fmn)


def dual_norms(gradient: Tensor, norm: BallNorm) -> Tensor:
    """By how much a linear function of this gradient can rise in a unit ball of `norm`: its L1 or its L2 norm. (N,)"""
    return gradient.flatten(1).abs().sum(1) if norm == "linf" else projections.norms(gradient, "l2")
