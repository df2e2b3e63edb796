"""Random changes of a whole batch at once, drawn from one generator, so that a run is reproducible and resumable."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robustboard.models.training.settings import Augmentation


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """A randomly changed copy of `images` (N, C, H, W) in [0, 1]; the same shape, dtype and range."""
    if settings.rotation or settings.scaling:
        images = _rotate_and_scale(images, settings, generator)
    if settings.translation:
        images = _translate(images, settings.translation, generator)
    if settings.flip:
        mirrored = _uniform(len(images), generator, images) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if settings.erasing:
        images = _erase(images, settings, generator)
    if settings.noise:
        noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
        images = (images + settings.noise * noise).clamp(0, 1)
    return images


def _uniform(count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device).to(like.device)


def _rotate_and_scale(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    count = len(images)
    angle = (2 * _uniform(count, generator, images) - 1) * math.radians(settings.rotation)
    scale = 1 + (2 * _uniform(count, generator, images) - 1) * settings.scaling
    zero = torch.zeros_like(angle)
    rows = (
        torch.cos(angle) * scale,
        -torch.sin(angle) * scale,
        zero,
        torch.sin(angle) * scale,
        torch.cos(angle) * scale,
    )
    matrices = torch.stack([*rows, zero], 1).reshape(count, 2, 3).to(images)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).clamp(0, 1)


def _translate(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Shift each image by its own whole number of pixels; what enters from outside is the mirrored border."""
    count, channels, height, width = images.shape
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    shifts = (_uniform(2 * count, generator, images) * (2 * reach + 1)).long().reshape(2, count, 1)
    rows = (shifts[0] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (shifts[1] + torch.arange(width, device=images.device))[:, None, None, :]
    batch = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[batch, channel, rows, columns]


def _erase(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Set one square of each chosen image to 0 (Zhong et al. 2020, with a fixed shape)."""
    count, _, height, width = images.shape
    side = max(1, round(settings.erased_share * height))
    top = (_uniform(count, generator, images) * (height - side + 1)).long()[:, None, None, None]
    left = (_uniform(count, generator, images) * (width - side + 1)).long()[:, None, None, None]
    chosen = (_uniform(count, generator, images) < settings.erasing)[:, None, None, None]
    rows = torch.arange(height, device=images.device)[None, None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, None, :]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return images.masked_fill(inside & chosen, 0.0)
