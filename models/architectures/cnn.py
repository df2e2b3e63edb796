"""The small convolutional networks of digits and MNIST. Images enter as they are: ReLog reads a pixel of 0 as "absent"."""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import conv_unit, linear_unit, narrowed
from robustboard.models.recipe import Recipe

RELOG_N = 100.0


def digits_network(recipe: Recipe) -> nn.Module:
    """8 × 8 digits: convolutions of 16 and 32 units (3 × 3), one pooling, 64 hidden units, or the recipe's widths."""
    first, second, hidden = (narrowed(width, recipe) for width in recipe.widths or (16, 32, 64))
    return nn.Sequential(
        conv_unit(1, first, 3, recipe, relog_n=RELOG_N, padding=1),
        conv_unit(first, second, 3, recipe, relog_n=RELOG_N, padding=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        linear_unit(second * 4 * 4, hidden, recipe, relog_n=RELOG_N),
        nn.Linear(hidden, 10),
    )


def mnist_network(recipe: Recipe) -> nn.Module:
    """28 × 28 digits: convolutions of 32 and 64 units (5 × 5), each followed by pooling, 128 hidden units, or the recipe's
    widths."""
    first, second, hidden = (narrowed(width, recipe) for width in recipe.widths or (32, 64, 128))
    return nn.Sequential(
        conv_unit(1, first, 5, recipe, relog_n=RELOG_N),
        nn.MaxPool2d(2),
        conv_unit(first, second, 5, recipe, relog_n=RELOG_N),
        nn.MaxPool2d(2),
        nn.Flatten(),
        linear_unit(second * 4 * 4, hidden, recipe, relog_n=RELOG_N),
        nn.Linear(hidden, 10),
    )
