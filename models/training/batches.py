"""One epoch's batches, drawn by one generator, so that a run that was cut short goes on as it would have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustboard.models.recipe import Recipe
from robustboard.models.training.augmentation import augment
from robustboard.models.training.negatives import overlaid, scrambled
from robustboard.models.training.settings import TrainingSettings


@dataclass(frozen=True)
class Batch:
    """Augmented images (N, C, H, W), labels (N,), a key an image for the adversary, and negatives (M, C, H, W), M maybe 0."""

    images: Tensor
    labels: Tensor
    keys: Tensor
    negatives: Tensor


def batches(images: Tensor, labels: Tensor, recipe: Recipe, settings: TrainingSettings, epoch: int) -> Iterator[Batch]:
    """Whole batches in a random order; what is left over is not seen this epoch."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - settings.batch_size + 1, settings.batch_size):
        rows = order[start : start + settings.batch_size]
        keys = torch.randint(2**62, (len(rows),), generator=generator)
        here = rows.to(images.device)
        changed = augment(images[here], settings.augmentation, generator)
        negatives = make_negatives(changed, labels[here], recipe, settings, generator)
        yield Batch(changed, labels[here], keys.to(images.device), negatives)


def make_negatives(
    images: Tensor, labels: Tensor, recipe: Recipe, settings: TrainingSettings, generator: torch.Generator
) -> Tensor:
    """The recipe's negatives of the first `settings.negatives` of the images; half of each kind where it has both."""
    count = round(settings.negatives * len(images))
    kinds = recipe.scrambling + recipe.overlay
    made = [images[:0]]
    if recipe.scrambling:
        made.append(scrambled(images[: count // kinds], settings.patch, generator))
    if recipe.overlay:
        # White strokes on black add up; colours mix.
        made.append(overlaid(images, labels, brightest=images.shape[1] == 1, generator=generator)[: count // kinds])
    return torch.cat(made)
