"""The Carlini-Wagner attack: the smallest L2 perturbation as an unconstrained problem in a tanh variable, weighted by c.

`cw_cold` is the paper's. `cw` is the fast one: a short DDN run supplies a first adversarial example and from its
gradient the weight c of each example; C&W's own optimiser then shortens it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from robustboard.attacks.adam import Moments, descent_step
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, register
from robustboard.attacks.ddn import ddn
from robustboard.attacks.losses import is_decisive, success_margin
from robustboard.attacks.projections import norms, per_example
from torch import Tensor

SHRINK = 0.95
"""A feature at 0 or 1 sits at tanh w = ∓0.95, where the slope is 5 % of the steepest: the paper's 0.999999 leaves 2e-6
of it, too little for the black and white pixels of MNIST to move. w never leaves [−LIMIT, LIMIT], so x stays in the box."""
LIMIT = math.atanh(SHRINK)
NO_UPPER_BOUND = 1e10


@dataclass(frozen=True)
class Smallest:
    """The closest success so far of each example: images like the batch, L2 distances (N,), infinite where none."""

    images: Tensor
    distances: Tensor

    def joined(self, rows: Tensor, images: Tensor, distances: Tensor, found: Tensor) -> Smallest:
        """With the candidates `images` of `rows` taken in where they are `found` and closer."""
        better = found & (distances < self.distances[rows])
        best, closest = self.images.clone(), self.distances.clone()
        best[rows[better]], closest[rows[better]] = images[better], distances[better]
        return Smallest(best, closest)


def image_of(w: Tensor) -> Tensor:
    """x = ½ + ½ tanh(w) / 0.95, in the box for |w| ≤ LIMIT."""
    return (0.5 + 0.5 * torch.tanh(w) / SHRINK).clamp(0, 1)


def variable_of(images: Tensor) -> Tensor:
    """The w of an image in the box; every feature of it, 0 and 1 included, can move."""
    return torch.atanh((2 * images - 1) * SHRINK)


@register("cw_cold", norm="l2", aim="minimum", version=1, source="Carlini & Wagner 2017, sections V and VI-A")
def cw_cold(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    searches: int = 9,
    steps: int = 1000,
    rate: float = 0.01,
    initial_c: float = 0.01,
    kappa: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Minimise ‖δ‖₂² + c · max(κ − margin, 0) by Adam at `rate` from the image, with a binary search over c.

    c starts at `initial_c`, grows tenfold until a success, then halves its bracket; each of the `searches` starts afresh,
    and an example leaves a search when its own loss stalls. A success has a margin of at least κ. Returns the closest
    success, or the image itself. `epsilon` is not used.
    """
    smallest = Smallest(images.clone(), torch.full((len(images),), torch.inf, device=images.device))
    taken = torch.zeros_like(labels)
    c = torch.full((len(images),), initial_c, device=images.device)
    low, high = torch.zeros_like(c), torch.full_like(c, NO_UPPER_BOUND)
    start = variable_of(images)
    for _ in range(searches):
        smallest, found, spent = _minimise(model, images, labels, targets, start, c, smallest, steps, rate, kappa)
        taken += spent
        high = torch.where(found, torch.minimum(high, c), high)
        low = torch.where(found, low, torch.maximum(low, c))
        c = torch.where(high < NO_UPPER_BOUND, (low + high) / 2, c * 10)
    return Proposal(smallest.images, taken)


def _minimise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    start: Tensor,
    c: Tensor,
    smallest: Smallest,
    steps: int,
    rate: float,
    kappa: float,
) -> tuple[Smallest, Tensor, Tensor]:
    """One search at fixed c: the closest successes, whether each example succeeded in it, and its steps."""
    everyone = torch.arange(len(images), device=images.device)
    rows, w, moments = everyone, start, Moments.zero(start)
    succeeded, taken = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels)
    checkpoint = torch.full_like(c, torch.inf)
    for number in range(steps + 1):
        x = image_of(w)
        logits, hinge, gradient = _hinge(model, x, labels[rows], _at(targets, rows), kappa)
        distances = norms(x - images[rows], "l2")
        found = _successful(logits, labels[rows], _at(targets, rows), kappa)
        smallest = smallest.joined(rows, x, distances, found)
        succeeded[rows] |= found
        if number == steps:
            break
        change, moments = descent_step(_chain(w, x - images[rows], gradient, c[rows]), moments, rate)
        w = (w + change).clamp(-LIMIT, LIMIT)
        taken[rows] += 1
        if (number + 1) % max(1, steps // 10) == 0:
            loss = distances.square() + c[rows] * hinge
            going = loss <= 0.9999 * checkpoint[rows]
            checkpoint[rows] = loss
            rows, w, moments = rows[going], w[going], moments.select(going)
            if not len(rows):
                break
    return smallest, succeeded, taken


@register(
    "cw",
    norm="l2",
    aim="minimum",
    version=1,
    source="Carlini & Wagner 2017, section VI-A, started by DDN (Rony et al. 2019)",
)
def cw(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    start_steps: int = 100,
    steps: int = 100,
    rate: float = 0.1,
    kappa: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Minimise ‖δ‖₂² + c · max(κ − margin, 0) by Adam from the best of `start_steps` of DDN.

    At the smallest perturbation 2δ = c · ∇margin, so c is set to 2‖δ‖ / ‖∇margin‖ at an example's first success; then it
    falls by a tenth after each success and rises by a tenth after each failure, which keeps the iterate at the boundary.
    Before a first success it grows by half. The rate falls to a hundredth along a cosine. Returns the closest success,
    the start's included (`from_start` says where it was that one), or the image itself.
    """
    start = ddn(model, images, labels, keys, steps=start_steps, targets=targets)
    distances = norms(start.images - images, "l2")
    with torch.no_grad():
        moved = (distances > 0) & _successful(model(start.images), labels, targets, kappa)
    begin = torch.where(per_example(moved, images), start.images, images)
    smallest = Smallest(begin, torch.where(moved, distances, torch.inf))
    first = smallest.distances
    w, moments = variable_of(start.images), Moments.zero(images)
    c, ever = torch.ones_like(distances), torch.zeros_like(moved)
    for number in range(steps + 1):
        x = image_of(w)
        logits, _, gradient = _hinge(model, x, labels, targets, torch.inf)
        found = _successful(logits, labels, targets, kappa)
        distances = norms(x - images, "l2")
        smallest = smallest.joined(torch.arange(len(images), device=images.device), x, distances, found)
        if number == steps:
            break
        renew = (found & ~ever) | (number == 0)
        ever |= found
        c = torch.where(found, c * 0.9, torch.where(ever, c * 1.1, c * 1.5))
        c = torch.where(renew, _multiplier(distances.clamp_min(0.1), gradient), c)
        falling = rate * (0.01 + 0.99 * (1 + math.cos(math.pi * number / steps)) / 2)
        outside = (~found).to(c)
        change, moments = descent_step(_chain(w, x - images, gradient, c * outside), moments, falling)
        w = (w + change).clamp(-LIMIT, LIMIT)
    return Proposal(smallest.images, start.iterations + steps, from_start=moved & (smallest.distances == first))


def _hinge(model: Model, x: Tensor, labels: Tensor, targets: Tensor | None, kappa: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, max(κ − margin, 0) and its gradient; κ = ∞ gives the plain −margin."""

    def loss(logits: Tensor) -> Tensor:
        wanted = success_margin(logits, labels, targets)
        return -wanted if math.isinf(kappa) else (kappa - wanted).clamp_min(0)

    return logits_and_gradient(model, x, loss)


def _successful(logits: Tensor, labels: Tensor, targets: Tensor | None, kappa: float) -> Tensor:
    wanted = success_margin(logits, labels, targets)
    return is_decisive(logits, wanted) & (wanted >= kappa)


def _chain(w: Tensor, change: Tensor, gradient: Tensor, c: Tensor) -> Tensor:
    """The gradient of ‖δ‖₂² + c · hinge in w, through dx/dw = ½ (1 − tanh² w) / 0.95."""
    return (2 * change + per_example(c, change) * gradient) * (0.5 / SHRINK) * (1 - torch.tanh(w).square())


def _multiplier(distances: Tensor, gradient: Tensor) -> Tensor:
    slope = norms(gradient, "l2")
    return torch.where(slope > 0, 2 * distances / slope.clamp_min(1e-12), 1.0)


def _at(targets: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if targets is None else targets[rows]
