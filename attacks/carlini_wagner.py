"""The Carlini-Wagner attack: the smallest L2 perturbation as an unconstrained problem in a tanh variable, weighted by c.

`cw_cold` is the paper's. `cw` is the fast one: short FMN or DDN walks supply a first adversarial example and from its
gradient the weight c of each example; C&W's own optimiser then shortens it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustboard.attacks.adam import Moments, descent_step
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register
from robustboard.attacks.closest import Closest
from robustboard.attacks.ddn import ddn
from robustboard.attacks.fmn import fmn
from robustboard.attacks.losses import is_success, success_margin
from robustboard.attacks.projections import norms, per_example
from robustboard.attacks.walks import check_momentum

SHRINK = 0.95
"""A feature at 0 or 1 sits at tanh w = ∓0.95, where the slope is 5 % of the steepest: the paper's 0.999999 leaves 2e-6
of it, too little for the black and white pixels of MNIST to move. w never leaves [−LIMIT, LIMIT], so x stays in the box."""
LIMIT = math.atanh(SHRINK)
NO_UPPER_BOUND = 1e10
DDN_FINAL_SHARE = 0.02
"""What is left at a walk's end of the swing that DDN starts with. The paper's does not fall and ends beside the boundary."""


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
    smallest = Closest.nothing(images)
    taken = torch.zeros_like(labels)
    c = images.new_full((len(images),), initial_c)
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
    smallest: Closest,
    steps: int,
    rate: float,
    kappa: float,
) -> tuple[Closest, Tensor, Tensor]:
    """One search at fixed c: the closest successes, whether each example succeeded in it, and its steps."""
    everyone = torch.arange(len(images), device=images.device)
    rows, w, moments = everyone, start, Moments.zero(start)
    succeeded, taken = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels)
    checkpoint = torch.full_like(c, torch.inf)
    for number in range(steps + 1):
        x = image_of(w)
        look = _look(model, x, labels[rows], _at(targets, rows), kappa, with_gradient=number < steps)
        distances = norms(x - images[rows], "l2")
        smallest = smallest.joined(rows, x, distances, look.found, look.logits, look.wanted)
        succeeded[rows] |= look.found
        if number == steps:
            break
        hinge = (kappa - look.wanted).clamp_min(0)
        gradient = torch.where(per_example(hinge > 0, x), look.descent, 0.0)
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


def _check_start(start_momentum: float) -> None:
    check_momentum(start_momentum)


@register(
    "cw",
    norm="l2",
    aim="minimum",
    version=4,
    source="Carlini & Wagner 2017, section VI-A, started by FMN (Pintor et al. 2021) or DDN (Rony et al. 2019)",
    neutral={"start_patience": 0, "start_momentum": 0.0, "start_by": "fmn"},
    check=_check_start,
)
def cw(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    start_steps: int = 37,
    start_classes: int = 0,
    start_restarts: int = 5,
    start_gamma: float = 0.5,
    start_norm: float = 8.0,
    start_patience: int = 0,
    start_momentum: float = 0.0,
    start_by: Literal["fmn", "ddn"] = "fmn",
    steps: int = 20,
    rate: float = 0.1,
    kappa: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Minimise ‖δ‖₂² + c · max(κ − margin, 0) by Adam from the best of `start_steps` of FMN or, by `start_by`, DDN, which goes
    towards each of the `start_classes` likeliest wrong classes, too, its norm at first `start_norm` and changing by
    `start_gamma` a step: from a norm too small, few steps do not reach the boundary of a robust network. All of it is walked
    `start_restarts` times, after the first from random points, or until `start_patience` walks, if not 0, brought an example no
    nearer; along a moving average of the gradient with `start_momentum`.

    At the smallest perturbation 2δ = c · ∇margin, so c is set to 2‖δ‖ / ‖∇margin‖ at an example's first success; then it
    falls by a tenth after each success and rises by a tenth after each failure, which keeps the iterate at the boundary.
    Before a first success it grows by half. The rate falls to a hundredth along a cosine. Returns the closest success,
    the start's included (`from_start` says where it was that one), or the image itself.
    """
    by: Callable[..., Proposal] = fmn if start_by == "fmn" else partial(ddn, final_share=DDN_FINAL_SHARE)
    walks = partial(by, steps=start_steps, classes=start_classes, restarts=start_restarts, patience=start_patience)
    walks = partial(walks, gamma=start_gamma, initial_norm=start_norm, momentum=start_momentum)
    start = walks(model, images, labels, keys, kappa=kappa, targets=targets)
    rows = torch.arange(len(images), device=images.device)
    begin = _look(model, start.images, labels, targets, kappa, with_gradient=False)
    smallest = Closest.nothing(images).joined(
        rows, start.images, norms(start.images - images, "l2"), begin.found, begin.logits, begin.wanted
    )
    first = smallest.distances
    w, moments = variable_of(smallest.images), Moments.zero(images)
    c, ever = torch.ones_like(first), torch.zeros_like(begin.found)
    for number in range(steps + 1):
        x = image_of(w)
        look = _look(model, x, labels, targets, kappa, with_gradient=number < steps)
        distances = norms(x - images, "l2")
        smallest = smallest.joined(rows, x, distances, look.found, look.logits, look.wanted)
        if number == steps:
            break
        renew = (look.found & ~ever) | (number == 0)
        ever |= look.found
        c = torch.where(look.found, c * 0.9, torch.where(ever, c * 1.1, c * 1.5)).clamp_max(NO_UPPER_BOUND)
        c = torch.where(renew, _multiplier(distances.clamp_min(0.1), look.descent), c)
        falling = rate * (0.01 + 0.99 * (1 + math.cos(math.pi * number / steps)) / 2)
        outside = (~look.found).to(c)
        change, moments = descent_step(_chain(w, x - images, look.descent, c * outside), moments, falling)
        w = (w + change).clamp(-LIMIT, LIMIT)
    from_start = torch.isfinite(first) & (smallest.distances == first)
    return Proposal(smallest.images, start.iterations + steps, from_start=from_start)


class Look(NamedTuple):
    """What the model says about iterates: logits (n, K), success margin (n,), whether that is a success (n,), and the
    gradient of minus the margin, like the images (zero where it was not asked for)."""

    logits: Tensor
    wanted: Tensor
    found: Tensor
    descent: Tensor


def _look(model: Model, x: Tensor, labels: Tensor, targets: Tensor | None, kappa: float, *, with_gradient: bool) -> Look:
    if with_gradient:
        logits, negative, descent = logits_and_gradient(model, x, lambda z: -success_margin(z, labels, targets))
        wanted = -negative
    else:
        logits, descent = logits_of(model, x), torch.zeros_like(x)
        wanted = success_margin(logits, labels, targets)
    return Look(logits, wanted, is_success(wanted, targets) & (wanted >= kappa), descent)


def _chain(w: Tensor, change: Tensor, gradient: Tensor, c: Tensor) -> Tensor:
    """The gradient of ‖δ‖₂² + c · hinge in w, through dx/dw = ½ (1 − tanh² w) / 0.95."""
    return (2 * change + per_example(c, change) * gradient) * (0.5 / SHRINK) * (1 - torch.tanh(w).square())


def _multiplier(distances: Tensor, gradient: Tensor) -> Tensor:
    slope = norms(gradient, "l2")
    return torch.where(slope > 0, 2 * distances / slope.clamp_min(1e-12), 1.0)


def _at(targets: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if targets is None else targets[rows]
