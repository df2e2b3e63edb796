"""What every network is built from: one layer of the recipe's units, the width that keeps variants comparable, folding."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from robustboard.models.recipe import Recipe
from robustboard.models.units import MinMaxout, ReLog


def narrowed(width: int, recipe: Recipe) -> int:
    """The width at which a layer with k linear pieces an output has about as many weights as `width` plain units.

    A layer between two such layers has k * width² weights, so the width shrinks by √k.
    """
    return round(width / math.sqrt(recipe.pieces.total))


def conv_unit(inputs: int, outputs: int, kernel: int, recipe: Recipe, *, relog_n: float, padding: int = 0) -> nn.Sequential:
    """Convolution, batch normalisation and the recipe's unit."""
    channels = outputs * recipe.pieces.total
    convolution = nn.Conv2d(inputs, channels, kernel, padding=padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), *unit(recipe, relog_n))


def linear_unit(inputs: int, outputs: int, recipe: Recipe, *, relog_n: float) -> nn.Sequential:
    """Linear map, batch normalisation and the recipe's unit."""
    features = outputs * recipe.pieces.total
    return nn.Sequential(nn.Linear(inputs, features, bias=False), nn.BatchNorm1d(features), *unit(recipe, relog_n))


def unit(recipe: Recipe, relog_n: float) -> list[nn.Module]:
    """The recipe's non-linearity: its linear pieces joined, then its activation."""
    activation = ReLog(relog_n) if recipe.activation == "relog" else nn.ReLU()
    return [MinMaxout(recipe.pieces), activation] if recipe.pieces.total > 1 else [activation]


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the convolution or linear map before it, in place, and return the network.

    In evaluation mode it is the same function up to rounding, with fewer passes over memory. The network must be in
    evaluation mode (torch refuses otherwise) and cannot be trained on.
    """
    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for place in range(len(block) - 1):
            map_, normalisation = block[place], block[place + 1]
            if isinstance(map_, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                block[place], block[place + 1] = fuse_conv_bn_eval(map_, normalisation), nn.Identity()
            elif isinstance(map_, nn.Linear) and isinstance(normalisation, nn.BatchNorm1d):
                block[place], block[place + 1] = fuse_linear_bn_eval(map_, normalisation), nn.Identity()
    return network
