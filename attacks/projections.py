"""Back into the threat model: the L∞ and L2 balls around an image, and the [0, 1] box. All pure, all per example."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


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


def ball(images: Tensor, origins: Tensor, radii: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    """`images` drawn into each example's own ball, of radius `radii` (N,), around `origins`, and into the box."""
    return l2(images, origins, radii) if norm == "l2" else linf(images, origins, per_example(radii, images))


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
