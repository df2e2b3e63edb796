"""The walks that DDN and FMN share: away from the label, then towards the likeliest wrong classes, the closest success kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of
from robustboard.attacks.closest import Closest
from robustboard.attacks.losses import is_success, lead_of, success_margin, wrong_classes
from robustboard.attacks.pgd import uniform_start


@dataclass(frozen=True)
class Look:
    """Where a walk stands: its `change` δ (N, …) and that one's `size` (N,), whether it is a success (N,), what is climbed (N,)
    and its gradient, like the images, the `direction` of it at L2 length 1, and a `cosine` that falls from 1 to 0."""

    change: Tensor
    size: Tensor
    found: Tensor
    climb: Tensor
    gradient: Tensor
    direction: Tensor
    cosine: float


Move = Callable[[Look], Tensor]
"""The images (N, …), in the box, to look at next."""


@dataclass(frozen=True)
class Walks:
    """How many and how far: `steps` each, one away from the label and one towards each of the `classes` likeliest wrong ones,
    all of it `restarts` times, after the first from a random point of the ball of `initial_norm` in `norm`. A success has a
    margin of at least `kappa`."""

    steps: int
    classes: int
    restarts: int
    initial_norm: float
    norm: projections.BallNorm
    kappa: float = 0.0


def walk(
    model: Model, images: Tensor, labels: Tensor, keys: Tensor, targets: Tensor | None, walks: Walks, begin: Callable[[], Move]
) -> Proposal:
    """Every walk with a rule of its own from `begin`: the closest success of all, or the image itself.

    With `targets` only towards these.
    """
    closest = Closest.nothing(images)
    goals = _goals(model, images, labels, 0 if targets is not None else walks.classes)
    for number, towards in enumerate(goals * walks.restarts):
        seeds = keys if number == 0 else randomness.derive(keys, -number)
        start = images if number < len(goals) else uniform_start(images, seeds, walks.initial_norm, walks.norm)
        closest = _one(model, images, labels, targets, towards, seeds, start - images, closest, walks, begin())
    return Proposal(closest.images, torch.full_like(labels, len(goals) * walks.restarts * walks.steps))


def _goals(model: Model, images: Tensor, labels: Tensor, classes: int) -> list[Tensor | None]:
    """What to walk towards: away from the label, for which None stands, then each of the `classes` likeliest wrong ones."""
    return [None, *wrong_classes(logits_of(model, images), labels).unbind(1)[:classes]] if classes else [None]


def _one(
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    towards: Tensor | None,
    keys: Tensor,
    change: Tensor,
    closest: Closest,
    walks: Walks,
    move: Move,
) -> Closest:
    rows = torch.arange(len(images), device=images.device)
    for number in range(walks.steps + 1):
        current = images + change
        if number < walks.steps:
            logits, climb, gradient = logits_and_gradient(
                model, current, lambda z: _climbed(z, labels, targets, towards, walks.kappa)
            )
        else:
            logits = logits_of(model, current)
        wanted = success_margin(logits, labels, targets) - walks.kappa
        found, size = is_success(wanted, targets), projections.norms(change, walks.norm)
        closest = closest.joined(rows, current, size, found, logits, wanted)
        if number == walks.steps:
            break
        direction, cosine = _unit(gradient, randomness.derive(keys, number)), (1 + math.cos(math.pi * number / walks.steps)) / 2
        change = move(Look(change, size, found, climb, gradient, direction, cosine)) - images
    return closest


def _climbed(logits: Tensor, labels: Tensor, targets: Tensor | None, towards: Tensor | None, kappa: float) -> Tensor:
    """The success margin, or Z_t − Z_y where a walk goes `towards` a class, less κ. (N,)"""
    return (success_margin(logits, labels, targets) if towards is None else lead_of(logits, towards, labels)) - kappa


def _unit(gradient: Tensor, keys: Tensor) -> Tensor:
    """Each example's gradient at L2 length 1; a random direction, drawn from its key, where it is exactly 0."""
    largest = projections.norms(gradient, "linf")
    if bool((largest == 0).any()):
        random = 2 * randomness.uniform(keys, tuple(gradient.shape[1:])) - 1
        gradient = torch.where(projections.per_example(largest == 0, gradient), random, gradient)
    return projections.steepest(gradient, "l2")
