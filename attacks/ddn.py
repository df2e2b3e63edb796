"""The decoupled direction and norm attack: a small L2 perturbation in few passes, and the cheap start of `cw`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register
from robustboard.attacks.closest import Closest
from robustboard.attacks.losses import is_success, success_margin


@register("ddn", norm="l2", aim="minimum", version=1, source="Rony et al. 2019, algorithm 1; margin loss")
def ddn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    steps: int = 100,
    gamma: float = 0.05,
    initial_norm: float = 1.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Walk along the normalised gradient while the allowed norm shrinks by 1 − γ on success and grows by 1 + γ else.

    The step follows a cosine from 1 to 0.01. Runs all `steps` (the norm goes on shrinking) and returns the smallest
    successful perturbation, or the image itself where none was found. A zero gradient is replaced by a random
    direction drawn from the example's key. `epsilon` is not used.
    """
    rows = torch.arange(len(images), device=images.device)
    closest = Closest.nothing(images)
    change = torch.zeros_like(images)
    allowed = torch.full((len(images),), initial_norm, device=images.device)
    for number in range(steps + 1):
        current = images + change
        if number < steps:
            logits, wanted, gradient = logits_and_gradient(model, current, lambda z: success_margin(z, labels, targets))
        else:
            logits, gradient = logits_of(model, current), torch.zeros_like(current)
            wanted = success_margin(logits, labels, targets)
        found, size = is_success(wanted, targets), projections.norms(change, "l2")
        closest = closest.joined(rows, current, size, found, logits, wanted)
        if number == steps:
            break
        rate = 0.01 + 0.99 * (1 + math.cos(math.pi * number / steps)) / 2
        change = change + rate * _unit(gradient, randomness.derive(keys, number))
        allowed = torch.where(found, torch.minimum(allowed, size) * (1 - gamma), allowed * (1 + gamma))
        length = projections.norms(change, "l2").clamp_min(1e-12)
        change = projections.box(images + change * projections.per_example(allowed / length, change)) - images
    return Proposal(closest.images, torch.full_like(labels, steps))


def _unit(gradient: Tensor, keys: Tensor) -> Tensor:
    """The gradient at length 1; a random direction where it is exactly 0."""
    largest = projections.norms(gradient, "linf")
    if bool((largest == 0).any()):
        random = 2 * randomness.uniform(keys, tuple(gradient.shape[1:])) - 1
        gradient = torch.where(projections.per_example(largest == 0, gradient), random, gradient)
    return projections.steepest(gradient, "l2")
