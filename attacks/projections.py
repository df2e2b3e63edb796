"""Back into the threat model: the L∞ and L2 balls around an image, and the [0, 1] box, and ways about them. All pure, all
per example."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BallNorm = Literal["linf", "l2"]


def box(images: Tensor) -> Tensor:
    """`images` with every feature in [0, 1]."""
    return images.clamp(0, 1)


def linf(images: Tensor, origins: Tensor, epsilon: float | Tensor) -> Tensor:
    """The nearest point to `images` within `epsilon` of `origins` (L∞) and in the box: both are intervals a feature."""
    return box(torch.minimum(torch.maximum(images, origins - epsilon), origins + epsilon))


def l2(images: Tensor, origins: Tensor, epsilon: float | Tensor) -> Tensor:
    """`images` drawn in to L2 distance `epsilon` (one, or one an example) of `origins`, then into the box (which brings them
    no farther away)."""
    change = images - origins
    scale = (epsilon / norms(change, "l2").clamp_min(1e-30)).clamp_max(1.0)
    return box(origins + change * per_example(scale, change))


def into_ball(images: Tensor, origins: Tensor, epsilon: float | Tensor, norm: BallNorm) -> Tensor:
    """`images` brought within `epsilon` (one, or one an example (N,)) of `origins` in `norm`, and into the box."""
    if norm == "l2":
        return l2(images, origins, epsilon)
    return linf(images, origins, per_example(epsilon, images) if isinstance(epsilon, Tensor) else epsilon)


def steepest(gradient: Tensor, norm: BallNorm) -> Tensor:
    """The direction of size 1 in `norm` along which a loss of this gradient rises fastest; 0 where the gradient is 0."""
    if norm == "linf":
        return gradient.sign()
    # Divided by its largest entry first: the squares of a tiny gradient would underflow.
    largest = norms(gradient, "linf")
    scaled = gradient / per_example(torch.where(largest > 0, largest, 1.0), gradient)
    return scaled / per_example(norms(scaled, "l2").clamp_min(1e-30), gradient)


def onto_hyperplane(images: Tensor, normal: Tensor, gap: Tensor, norm: BallNorm) -> Tensor:
    """The smallest change in `norm` that moves `images` in the box to <`normal`, change> = `gap` (N,) and stays in the box.

    Exact, like the images; where the box ends before the hyperplane, the change goes to the box's corner in its direction.

    Feature i changes by min(λ · speed_i, room_i): 〈normal, change〉 is a concave, piecewise linear function of λ. Newton's
    method from 0 never passes the root of such a function and is on it once it has reached the root's piece.
    """
    largest = norms(normal, "linf")
    usable = torch.where(largest > 0, largest, 1.0)
    slopes = (normal / per_example(usable, normal)).flatten(1) * gap.sign()[:, None]
    goal = gap.abs() / usable
    signs, weight = slopes.sign(), slopes.abs()
    room = (signs.clamp_min(0) - images.flatten(1)).abs()
    speed = weight if norm == "l2" else torch.ones_like(goal)[:, None]
    gain = weight * speed
    reach = torch.zeros_like(goal)
    while True:
        free = reach[:, None] * speed
        moves = torch.minimum(free, room)
        # By arithmetic, as choosing by a mask takes several times as long: the features that have room left.
        rate = (gain * (room - free).sign_().clamp_min_(0)).sum(1)
        missing = (goal - (weight * moves).sum(1)).clamp_min(0)
        # Finite even where only features of vanishing weight are left to move.
        further = (reach + missing / rate.clamp_min(1e-30)).clamp_max(1e30)
        growing = (rate > 0) & (further > reach * (1 + 1e-6))
        if not bool(growing.any()):
            return (moves * signs).reshape(images.shape)
        reach = torch.where(growing, further, reach)


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, …), to multiply a batch shaped like `like`."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def norms(change: Tensor, norm: str) -> Tensor:
    """The size (N,) of each perturbation: "linf", "l2", or "l0" (changed features: every channel of a pixel counts)."""
    flat = change.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    if norm == "l2":
        return flat.square().sum(1).sqrt()
    if norm == "l0":
        return (flat != 0).sum(1).to(change.dtype)
    raise ValueError(f"norm {norm!r} is not one of linf, l2, l0")
