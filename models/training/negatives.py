"""Negatives: images that show nothing of any class, made from a batch, so that a network learns what to leave unanswered."""

from __future__ import annotations

import torch
from torch import Tensor


def scrambled(images: Tensor, patch: int, generator: torch.Generator) -> Tensor:
    """Every image (N, C, H, W) cut into squares of `patch` pixels a side and put together in an order of its own, never the
    one it had. Raises ValueError where `patch` does not divide H and W, or leaves a single square."""
    count, channels, height, width = images.shape
    if height % patch or width % patch or height * width <= patch * patch:
        raise ValueError(f"images of {height} × {width} cannot be cut into several squares of {patch}")
    rows, columns = height // patch, width // patch
    squares = images.reshape(count, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.rand(count, rows * columns, generator=generator, device=generator.device).argsort(1).to(images.device)
    untouched = (order == torch.arange(rows * columns, device=images.device)).all(1)
    order[untouched] = order[untouched].roll(1, 1)
    shuffled = squares.gather(1, order[:, :, None, None, None].expand_as(squares))
    return shuffled.reshape(count, rows, columns, channels, patch, patch).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def overlaid(images: Tensor, labels: Tensor, *, brightest: bool, generator: torch.Generator) -> Tensor:
    """Pairs of different classes laid over each other: the larger of two pixels where `brightest` is asked for (white strokes
    on black), else their mean. (M, C, H, W), M ≤ N: images that drew a partner of their own class are left out."""
    partners = torch.randperm(len(images), generator=generator, device=generator.device).to(images.device)
    unlike = labels != labels[partners]
    first, second = images[unlike], images[partners[unlike]]
    return torch.maximum(first, second) if brightest else (first + second) / 2
