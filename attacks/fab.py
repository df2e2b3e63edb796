"""FAB: the smallest perturbation by projecting onto the linearised decision boundary, drawn back towards the image."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register_linf_and_l2
from robustboard.attacks.closest import Closest
from robustboard.attacks.losses import is_success, lead_of, margin, wrong_classes
from robustboard.attacks.pgd import uniform_start
from robustboard.attacks.projections import BallNorm, norms, onto_hyperplane, per_example

LARGEST_BIAS = 0.1
OVERSHOOT = 1.05
BACKWARD = 0.9
"""α_max, η and β of the paper: how far a step may be drawn to the image, how far it goes past the boundary, and what is kept
of a success for the next step."""
BISECTIONS = 10
"""The last search narrows the distance of the result to a thousandth of it."""


@register_linf_and_l2("fab_t", aim="minimum", version=1, source="Croce & Hein 2020b, algorithm 1; targeted as in 2020a")
def fab_t(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    restarts: int = 1,
    target_classes: int = 9,
    norm: BallNorm = "linf",
) -> Proposal:
    """For each of the `target_classes` wrong classes most likely on the clean image, `steps` projections onto the linearised
    boundary to it. The first of `restarts` begins at the image, the others nearby, by the example's key.

    Returns the closest image with any wrong answer, or the image itself. `epsilon` only bounds where restarts begin.
    Costs two forward passes and one back a step.
    """
    return fab_until(model, images, labels, keys, epsilon, steps, restarts, target_classes, norm, enough=0.0)


def fab_until(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    epsilon: float,
    steps: int,
    restarts: int,
    target_classes: int,
    norm: BallNorm,
    *,
    enough: float,
) -> Proposal:
    """`fab_t` in which an example with a success no farther than `enough` leaves before the next class or restart."""
    logits = logits_of(model, images)
    wanted = margin(logits, labels)
    everyone = torch.arange(len(images), device=images.device)
    smallest = Closest.nothing(images).joined(
        everyone, images, torch.zeros_like(wanted), is_success(wanted, None), logits, wanted
    )
    targets = wrong_classes(logits, labels)[:, :target_classes]
    taken = torch.zeros_like(labels)
    for number in range(restarts * targets.shape[1]):
        rows = (~(smallest.decisive & (smallest.distances <= enough))).nonzero().squeeze(1)
        if not len(rows):
            break
        starts = images[rows]
        if number >= targets.shape[1]:
            radius = smallest.distances[rows].clamp_max(epsilon) / 2
            starts = uniform_start(starts, randomness.derive(keys[rows], number), per_example(radius, starts), norm)
        aims = targets[rows, number % targets.shape[1]]
        smallest = _towards(model, images, labels, aims, rows, starts, smallest, steps, norm)
        taken[rows] += steps
    smallest = _narrowed(model, images, labels, smallest, norm)
    return Proposal(smallest.images, taken)


def _towards(
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor,
    rows: Tensor,
    starts: Tensor,
    smallest: Closest,
    steps: int,
    norm: BallNorm,
) -> Closest:
    """One run of `rows` from `starts` towards `targets`, all of (n, …): the closest successes with it."""
    origins, owners, current = images[rows], labels[rows], starts
    for _ in range(steps):
        _, lead, gradient = logits_and_gradient(model, current, lambda z: lead_of(z, targets, owners))
        candidates = _step(current, origins, lead, gradient, norm)
        logits = logits_of(model, candidates)
        wanted = margin(logits, owners)
        found = is_success(wanted, None)
        smallest = smallest.joined(rows, candidates, norms(candidates - origins, norm), found, logits, wanted)
        nearer = origins + BACKWARD * (candidates - origins)
        current = torch.where(per_example(found, candidates), nearer, candidates)
    return smallest


def _step(current: Tensor, origins: Tensor, lead: Tensor, gradient: Tensor, norm: BallNorm) -> Tensor:
    """A little past the projections of the iterate and of the image onto the hyperplane lead + <gradient, x − current> = 0,
    mixed with the more weight on the image's the farther the iterate is from the boundary."""
    lead_at_origin = lead + (gradient * (origins - current)).flatten(1).sum(1)
    both = torch.cat([current, origins])
    change, from_origin = onto_hyperplane(
        both, gradient.repeat(2, *[1] * (gradient.dim() - 1)), -torch.cat([lead, lead_at_origin]), norm
    ).chunk(2)
    here, there = norms(change, norm), norms(from_origin, norm)
    bias = per_example((here / (here + there).clamp_min(1e-30)).clamp_max(LARGEST_BIAS), current)
    moved = (1 - bias) * (current + OVERSHOOT * change) + bias * (origins + OVERSHOOT * from_origin)
    return projections.box(moved)


def _narrowed(model: Model, images: Tensor, labels: Tensor, smallest: Closest, norm: BallNorm) -> Closest:
    """Bisection on the line from each image to its closest success."""
    rows = (torch.isfinite(smallest.distances) & (smallest.distances > 0)).nonzero().squeeze(1)
    if not len(rows):
        return smallest
    origins, owners, change = images[rows], labels[rows], smallest.images[rows] - images[rows]
    low, high = torch.zeros_like(smallest.distances[rows]), torch.ones_like(smallest.distances[rows])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        candidates = projections.box(origins + per_example(middle, change) * change)
        logits = logits_of(model, candidates)
        wanted = margin(logits, owners)
        found = is_success(wanted, None)
        smallest = smallest.joined(rows, candidates, norms(candidates - origins, norm), found, logits, wanted)
        low, high = torch.where(found, low, middle), torch.where(found, middle, high)
    return smallest
