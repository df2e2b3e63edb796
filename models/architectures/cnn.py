"""The small convolutional networks of digits and MNIST. Images enter as they are: ReLog reads a pixel of 0 as "absent"."""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import check_last, conv_unit, linear_unit, narrowed, narrowed_first
from robustboard.models.pooling import MaxPool2x2
from robustboard.models.recipe import Recipe

RELOG_N = 100.0


def digits_network(recipe: Recipe) -> nn.Module:
    """8 × 8 digits: convolutions of 16 and 32 units (3 × 3), one pooling, 64 hidden units, or the recipe's widths."""
    check_last(recipe, 3)
    widths = recipe.widths or (16, 32, 64)
    first, second, hidden = narrowed_first(widths[0], recipe), narrowed(widths[1], recipe), narrowed(widths[2], recipe)
    return nn.Sequential(
        conv_unit(1, first, 3, recipe, relog_n=RELOG_N, to_end=2, padding=1),
        conv_unit(first, second, 3, recipe, relog_n=RELOG_N, to_end=1, padding=1),
        MaxPool2x2(),
        nn.Flatten(),
        linear_unit(second * 4 * 4, hidden, recipe, relog_n=RELOG_N, to_end=0),
        nn.Linear(hidden, 10),
    )


def mnist_network(recipe: Recipe) -> nn.Module:
    """28 × 28 digits: convolutions of 32 and 64 units (5 × 5), each followed by pooling, 128 hidden units, or the recipe's
    widths."""
    check_last(recipe, 3)
    widths = recipe.widths or (32, 64, 128)
    first, second, hidden = narrowed_first(widths[0], recipe), narrowed(widths[1], recipe), narrowed(widths[2], recipe)
    return nn.Sequential(
        conv_unit(1, first, 5, recipe, relog_n=RELOG_N, to_end=2),
        MaxPool2x2(),
        conv_unit(first, second, 5, recipe, relog_n=RELOG_N, to_end=1),
        MaxPool2x2(),
        nn.Flatten(),
        linear_unit(second * 4 * 4, hidden, recipe, relog_n=RELOG_N, to_end=0),
        nn.Linear(hidden, 10),
    )
