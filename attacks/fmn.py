"""Fast minimum-norm attack: a ball around the image that shrinks to the boundary and the nearest point of it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register
from robustboard.attacks.closest import Closest
from robustboard.attacks.ddn import climbed, goals
from robustboard.attacks.directions import unit
from robustboard.attacks.losses import is_success, success_margin

SOURCE = "Pintor et al. 2021, algorithm 1; margin loss, stretched to ε before the first success"


@register("fmn", norm="l2", aim="minimum", version=2, source=SOURCE)
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
    norm: Literal["linf", "l2"] = "l2",
    targets: Tensor | None = None,
) -> Proposal:
    """δ ← Π(δ + α · g / ‖g‖₂) onto the ball of radius ε, which the model's own slope and then γ move; g the gradient of the
    margin, then in `classes` more walks that of Z_t − Z_y, t the likeliest wrong class, the next, ….

    Until a first success ε is the distance at which the boundary would lie were the model linear, ‖δ‖ − f / ‖∇f‖ in the dual
    norm, times 1 + γ, and never less than before or than `initial_norm`, and δ is stretched to it: from beyond the boundary
    the way back is shorter on robust networks. From then on ε is multiplied by 1 − γ inside the other class (never above the
    best distance) and by 1 + γ outside. α falls from `rate` to a hundredth of it and γ from `gamma` to a hundredth along
    cosines. Returns the closest success, or the image itself. A zero gradient is replaced by a random direction. `epsilon`
    is not used.
    """
    closest = Closest.nothing(images)
    for number, towards in enumerate(goals(model, images, labels, 0 if targets is not None else classes)):
        seeds = keys if number == 0 else randomness.derive(keys, -number)
        closest = _walk(model, images, labels, targets, towards, seeds, closest, steps, rate, gamma, initial_norm, norm)
        walks = number + 1
    return Proposal(closest.images, torch.full_like(labels, walks * steps))


def _walk(
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    towards: Tensor | None,
    keys: Tensor,
    closest: Closest,
    steps: int,
    rate: float,
    gamma: float,
    initial_norm: float,
    norm: Literal["linf", "l2"],
) -> Closest:
    rows = torch.arange(len(images), device=images.device)
    change, best = torch.zeros_like(images), images.new_full((len(images),), torch.inf)
    radius = torch.full_like(best, initial_norm)
    for number in range(steps + 1):
        current = images + change
        if number < steps:
            logits, climb, gradient = logits_and_gradient(model, current, lambda z: climbed(z, labels, targets, towards))
        else:
            logits, gradient = logits_of(model, current), torch.zeros_like(current)
        wanted = success_margin(logits, labels, targets)
        found, size = is_success(wanted, targets), projections.norms(change, norm)
        closest = closest.joined(rows, current, size, found, logits, wanted)
        if number == steps:
            break
        best = torch.where(found, torch.minimum(best, size), best)
        falling = 0.01 + 0.99 * (1 + math.cos(math.pi * number / steps)) / 2
        straight = size - climb / dual_norms(gradient, norm).clamp_min(1e-12)
        shrunk = torch.minimum(radius * (1 - gamma * falling), best)
        # In the box the way is longer than the estimate, and on a linear boundary to the last digit it would not be across.
        reaching = torch.maximum(radius, straight) * (1 + gamma)
        grown = torch.where(torch.isfinite(best), radius * (1 + gamma * falling), reaching)
        radius = torch.where(found, shrunk, grown)
        moved = current + rate * falling * unit(gradient, randomness.derive(keys, number))
        stretched = images + _stretched(moved - images, radius, norm)
        moved = torch.where(projections.per_example(torch.isfinite(best), moved), moved, stretched)
        change = projections.into_ball(moved, images, radius, norm) - images
    return closest


def _stretched(change: Tensor, radius: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    length = projections.norms(change, norm).clamp_min(1e-12)
    return change * projections.per_example(radius / length, change)


register("fmn_linf", norm="linf", aim="minimum", version=2, source=SOURCE)(fmn)


def dual_norms(gradient: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    """By how much a linear function of this gradient can rise in a unit ball of `norm`: its L1 or its L2 norm. (N,)"""
    return gradient.flatten(1).abs().sum(1) if norm == "linf" else projections.norms(gradient, "l2")
