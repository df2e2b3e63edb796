"""The decoupled direction and norm attack: a small L2 perturbation in few passes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, register
from robustboard.attacks.walks import Look, Move, Walks, check_walks, walk


def check_start(restarts: int, initial_norm: float, patience: int, momentum: float) -> None:
    """Refuse a norm of 0, which no factor makes another, and walks that cannot be."""
    if initial_norm <= 0:
        raise ValueError(f"initial_norm is multiplied at every step and must be above 0, got {initial_norm:g}")
    check_walks(restarts, initial_norm, patience, momentum)


@register(
    "ddn",
    norm="l2",
    aim="minimum",
    version=1,
    source="Rony et al. 2019, algorithm 1; margin loss; momentum of Dong et al. 2018",
    neutral={"classes": 0, "restarts": 1, "final_share": 1.0, "kappa": 0.0, "patience": 0, "momentum": 0.0},
    check=check_start,
)
def ddn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    steps: int = 100,
    gamma: float = 0.05,
    final_share: float = 1.0,
    initial_norm: float = 1.0,
    classes: int = 0,
    restarts: int = 1,
    kappa: float = 0.0,
    patience: int = 0,
    momentum: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Walk along the normalised gradient of the margin, or with `momentum` a moving average of it, while the allowed norm
    shrinks by 1 − γ on success, from no more than the norm that succeeded (the box may have cut it; the paper's shrinks from the
    norm that was allowed), and grows by 1 + γ else; then `classes` times more along that of Z_t − Z_y, t the likeliest wrong
    class, the next, …; and all of that `restarts` times, after the first from a random point of the ball of `initial_norm`,
    until `patience` walks (0: any number) brought an example no nearer.

    The step follows a cosine from 1 to 0.01, and γ one from `gamma` to `final_share` of it: with 1, the paper's, the norm goes
    on swinging by γ about the boundary. Runs all `steps` of each walk and returns the smallest successful perturbation, with a
    margin of at least κ, or the image itself where none was found. Where there is no direction to go a random one is drawn from
    the example's key. The nearest boundary of an adversarially trained network is often not that of the likeliest class: more
    classes find it. `epsilon` is not used. Raises ValueError for an initial norm of 0 or a momentum outside [0, 1).
    """
    check_start(restarts, initial_norm, patience, momentum)

    def begin(origins: Tensor) -> Move:
        allowed = origins.new_full((len(origins),), initial_norm)

        def move(look: Look) -> Tensor:
            nonlocal allowed
            change = look.change + (0.01 + 0.99 * look.cosine) * look.direction
            swing = gamma * (final_share + (1 - final_share) * look.cosine)
            allowed = torch.where(look.found, torch.minimum(allowed, look.size) * (1 - swing), allowed * (1 + swing))
            length = projections.norms(change, "l2").clamp_min(1e-12)
            return projections.box(origins + change * projections.per_example(allowed / length, change))

        return move

    walks = Walks(steps, classes, restarts, initial_norm, "l2", kappa, patience, momentum)
    return walk(model, images, labels, keys, targets, walks, begin)
