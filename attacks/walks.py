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
    and its gradient, like the images, the `direction` to go at L2 length 1, and a `cosine` that falls from 1 to 0."""

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
    margin of at least `kappa`. An example that has one leaves after `patience` walks that brought it no nearer, if not 0.

    A walk goes along an exponential moving average of its gradients, each at length 1, the last with a share of 1 − `momentum`
    (Dong et al. 2018, section 3.1, with L2 in L1's place): where the gradient turns from step to step, that leads to nearer
    errors."""

    steps: int
    classes: int
    restarts: int
    initial_norm: float
    norm: projections.BallNorm
    kappa: float = 0.0
    patience: int = 0
    momentum: float = 0.0


NEARER = 0.999
"""A walk has brought an example nearer when the distance fell to less than this share."""


def walk(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    targets: Tensor | None,
    walks: Walks,
    begin: Callable[[Tensor], Move],
) -> Proposal:
    """Every walk with a rule of its own from `begin`, which is told its images: the closest success of all, or the image itself.

    With `targets` only towards these.
    """
    closest = Closest.nothing(images)
    taken, in_vain = torch.zeros_like(labels), torch.zeros_like(labels)
    goals = _goals(model, images, labels, 0 if targets is not None else walks.classes)
    for number, towards in enumerate(goals * walks.restarts):
        rows = ((in_vain < walks.patience) | (walks.patience == 0)).nonzero().squeeze(1)
        if not len(rows):
            break
        origins, before = images[rows], closest.select(rows)
        seeds = keys[rows] if number == 0 else randomness.derive(keys[rows], -number)
        start = origins if number < len(goals) else uniform_start(origins, seeds, walks.initial_norm, walks.norm)
        aims, ways = None if targets is None else targets[rows], None if towards is None else towards[rows]
        after = _one(model, origins, labels[rows], aims, ways, seeds, start - origins, before, walks, begin(origins))
        nearer = ~torch.isfinite(after.distances) | (after.distances < NEARER * before.distances)
        in_vain[rows] = torch.where(nearer, 0, in_vain[rows] + 1)
        taken[rows] += walks.steps
        closest = closest.placed(rows, after)
    return Proposal(closest.images, taken)


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
    heading = torch.zeros_like(change)
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
        cosine = (1 + math.cos(math.pi * number / walks.steps)) / 2
        if walks.momentum:  # where the gradient is 0 the walk goes on as it went
            heading = walks.momentum * heading + (1 - walks.momentum) * projections.steepest(gradient, "l2")
        direction = _unit(heading if walks.momentum else gradient, randomness.derive(keys, number))
        change = move(Look(change, size, found, climb, gradient, direction, cosine)) - images
    return closest


def check_momentum(momentum: float) -> None:
    """Refuse a momentum that is no share of what came before."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is the share of the directions before, at least 0 and below 1, got {momentum:g}")


def check_walks(restarts: int, initial_norm: float, patience: int, momentum: float) -> None:
    """Refuse a ball that is none, restarts that would all begin at the image, less than no patience, and a momentum that is
    none."""
    check_momentum(momentum)
    if patience < 0:
        raise ValueError(f"patience is a number of walks, 0 for no end but the last, got {patience}")
    if restarts < 1 or initial_norm < 0:
        raise ValueError(f"restarts must be at least 1 and initial_norm at least 0, got {restarts} and {initial_norm:g}")
    if restarts > 1 and initial_norm == 0:
        raise ValueError(f"{restarts} restarts from a ball of radius 0 all begin at the image: raise initial_norm")


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
