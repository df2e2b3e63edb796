"""The small convolutional networks of digits and MNIST. Images enter as they are: ReLog reads a pixel of 0 as "absent"."""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import check_last, conv_unit, linear_unit, narrowed, narrowed_first
from robustboard.models.pooling import MaxPool2x2
from robustboard.models.recipe import Recipe

RELOG_N = 100.0


def digits_network(recipe: Recipe) -> nn.Module:
    """8 × 8 digits: convolutions of 16 and 32 units (3 × 3), one pooling, 64 hidden units, or the recipe's widths."""
    return _network(recipe, (16, 32, 64), kernel=3, padding=1, first_pooling=[])


def mnist_network(recipe: Recipe) -> nn.Module:
    """28 × 28 digits: convolutions of 32 and 64 units (5 × 5), each followed by pooling, 128 hidden units, or the recipe's
    widths."""
    return _network(recipe, (32, 64, 128), kernel=5, padding=0, first_pooling=[MaxPool2x2()])


def _network(
    recipe: Recipe, widths: tuple[int, int, int], *, kernel: int, padding: int, first_pooling: list[nn.Module]
) -> nn.Module:
    check_last(recipe, 3)
    first, second, hidden = recipe.widths or widths
    first, second, hidden = narrowed_first(first, recipe), narrowed(second, recipe), narrowed(hidden, recipe)
    return nn.Sequential(
        conv_unit(1, first, kernel, recipe, relog_n=RELOG_N, to_end=2, padding=padding),
        *first_pooling,
        conv_unit(first, second, kernel, recipe, relog_n=RELOG_N, to_end=1, padding=padding),
        MaxPool2x2(),
        nn.Flatten(),
        linear_unit(second * 4 * 4, hidden, recipe, relog_n=RELOG_N, to_end=0),
        nn.Linear(hidden, 10),
    )
