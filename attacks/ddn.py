"""The decoupled direction and norm attack: a small L2 perturbation in few passes, and the cheap start of `cw`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register
from robustboard.attacks.closest import Closest
from robustboard.attacks.directions import unit
from robustboard.attacks.losses import is_success, lead_of, success_margin, wrong_classes


@register(
    "ddn",
    norm="l2",
    aim="minimum",
    version=1,
    source="Rony et al. 2019, algorithm 1; margin loss",
    neutral={"classes": 0},
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
    initial_norm: float = 1.0,
    classes: int = 0,
    targets: Tensor | None = None,
) -> Proposal:
    """Walk along the normalised gradient of the margin while the allowed norm shrinks by 1 − γ on success and grows by 1 + γ
    else; then `classes` times more along that of Z_t − Z_y, t the likeliest wrong class, the next, ….

    The step follows a cosine from 1 to 0.01. Runs all `steps` of each walk (the norm goes on shrinking) and returns the
    smallest successful perturbation, or the image itself where none was found. A zero gradient is replaced by a random
    direction drawn from the example's key. The nearest boundary of an adversarially trained network is often not that of
    the likeliest class: more classes find it. `epsilon` is not used.
    """
    closest = Closest.nothing(images)
    for number, towards in enumerate(goals(model, images, labels, 0 if targets is not None else classes)):
        seeds = keys if number == 0 else randomness.derive(keys, -number)
        closest = _walk(model, images, labels, targets, towards, seeds, closest, steps, gamma, initial_norm)
        walks = number + 1
    return Proposal(closest.images, torch.full_like(labels, walks * steps))


def goals(model: Model, images: Tensor, labels: Tensor, classes: int) -> list[Tensor | None]:
    """What to walk towards: away from the label, for which None stands, then each of the `classes` likeliest wrong ones."""
    return [None, *wrong_classes(logits_of(model, images), labels).unbind(1)[:classes]] if classes else [None]


def _walk(
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    towards: Tensor | None,
    keys: Tensor,
    closest: Closest,
    steps: int,
    gamma: float,
    initial_norm: float,
) -> Closest:
    rows = torch.arange(len(images), device=images.device)
    change = torch.zeros_like(images)
    allowed = images.new_full((len(images),), initial_norm)
    for number in range(steps + 1):
        current = images + change
        if number < steps:
            logits, _, gradient = logits_and_gradient(model, current, lambda z: climbed(z, labels, targets, towards))
        else:
            logits, gradient = logits_of(model, current), torch.zeros_like(current)
        wanted = success_margin(logits, labels, targets)
        found, size = is_success(wanted, targets), projections.norms(change, "l2")
        closest = closest.joined(rows, current, size, found, logits, wanted)
        if number == steps:
            break
        rate = 0.01 + 0.99 * (1 + math.cos(math.pi * number / steps)) / 2
        change = change + rate * unit(gradient, randomness.derive(keys, number))
        allowed = torch.where(found, torch.minimum(allowed, size) * (1 - gamma), allowed * (1 + gamma))
        length = projections.norms(change, "l2").clamp_min(1e-12)
        change = projections.box(images + change * projections.per_example(allowed / length, change)) - images
    return closest


def climbed(logits: Tensor, labels: Tensor, targets: Tensor | None, towards: Tensor | None) -> Tensor:
    """The loss of a walk (N,): the success margin, or Z_t − Z_y where it goes `towards` a class."""
    return success_margin(logits, labels, targets) if towards is None else lead_of(logits, towards, labels)
