"""What every network is built from: one layer of the recipe's units, the width that keeps variants comparable, folding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from robustboard.models.convolution import convolution
from robustboard.models.pooling import MaxPool2x2
from robustboard.models.recipe import Recipe, RecipeError
from robustboard.models.units import Elliptical, MinMaxout, Quadratic, ReLog, ReLUReLog, Spherical

WEIGHTS_AN_INPUT = {"linear": 1, "quadratic": 2, "spherical": 1, "elliptical": 2}
"""How many numbers a neuron learns, and multiplies, for each of its inputs."""


def narrowed(width: float, recipe: Recipe) -> int:
    """The width at which a layer of the recipe's units has about as many weights as `width` plain ones.

    A layer between two such layers, of k linear pieces an output and m weights an input, has k * m * width² weights, so the
    width shrinks by √(k m).
    """
    return max(1, round(width / math.sqrt(recipe.pieces.total * WEIGHTS_AN_INPUT[recipe.neuron])))


def narrowed_first(width: int, recipe: Recipe) -> int:
    """The width of the first layer, which has one image to read and the most positions to read it at: with more than eight
    numbers an input and output its multiplications would outgrow what narrowing saves elsewhere."""
    numbers = recipe.pieces.total * WEIGHTS_AN_INPUT[recipe.neuron]
    return max(1, round(narrowed(width, recipe) * min(1.0, math.sqrt(math.sqrt(8 / numbers)))))


def check_last(recipe: Recipe, layers: int) -> None:
    """Refuse a recipe, by `RecipeError`, whose ReLog is to be in more layers than there are."""
    if recipe.last > layers:
        raise RecipeError(f"recipe {recipe}: the network has {layers} layers of units, none of relog_last_{recipe.last}")


def conv_unit(
    inputs: int, outputs: int, kernel: int, recipe: Recipe, *, relog_n: float, to_end: int, padding: int = 0
) -> nn.Sequential:
    """Neurons over a convolution's receptive fields, batch normalisation and the recipe's unit, `to_end` layers of units from
    the last one (0)."""
    channels = outputs * recipe.pieces.total

    def plain(seen: int) -> nn.Module:
        return convolution(seen, channels, kernel, padding=padding, bias=False)

    neurons = _neurons(recipe, (channels, inputs, kernel, kernel), padding, plain)
    return nn.Sequential(*neurons, nn.BatchNorm2d(channels), *unit(recipe, relog_n, to_end))


def linear_unit(inputs: int, outputs: int, recipe: Recipe, *, relog_n: float, to_end: int) -> nn.Sequential:
    """Neurons over all inputs, batch normalisation and the recipe's unit; `to_end` as in `conv_unit`."""
    features = outputs * recipe.pieces.total
    neurons = _neurons(recipe, (features, inputs), 0, lambda seen: nn.Linear(seen, features, bias=False))
    return nn.Sequential(*neurons, nn.BatchNorm1d(features), *unit(recipe, relog_n, to_end))


def _neurons(recipe: Recipe, shape: tuple[int, ...], padding: int, plain: Callable[[int], nn.Module]) -> list[nn.Module]:
    """The recipe's neurons with weights of `shape` (outputs, inputs…); `plain` makes linear ones of so many inputs."""
    match recipe.neuron:
        case "elliptical":
            return [Elliptical(shape, padding)]
        case "spherical":
            return [Spherical(shape, padding)]
        case "quadratic":
            return [Quadratic(), plain(2 * shape[1])]
        case "linear":
            return [plain(shape[1])]


def unit(recipe: Recipe, relog_n: float, to_end: int) -> list[nn.Module]:
    """The recipe's non-linearity: its linear pieces joined, then its activation."""
    activation: nn.Module
    if recipe.activation == "relu_relog":
        activation = ReLUReLog(relog_n)
    elif recipe.activation == "relog" and (not recipe.last or to_end < recipe.last):
        activation = ReLog(relog_n)
    else:
        activation = nn.ReLU()
    return [MinMaxout(recipe.pieces), activation] if recipe.pieces.total > 1 else [activation]


Normalisation = nn.BatchNorm1d | nn.BatchNorm2d


def normalised_maps(network: nn.Module) -> Iterator[tuple[nn.Sequential, int]]:
    """Where batch normalisation follows a layer: the block that holds both, and the layer's place in it."""
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for place in range(len(block) - 1):
                if isinstance(block[place + 1], Normalisation):
                    yield block, place


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the map before it, in place, and return the network.

    In evaluation mode it is the same function up to rounding, with fewer passes over memory. The network must be in
    evaluation mode (torch refuses otherwise) and cannot be trained on.
    """
    for block, place in list(normalised_maps(network)):
        folded = _folded(block[place], block[place + 1])
        if folded is not None:
            block[place], block[place + 1] = folded, nn.Identity()
    return network


def pool_before_logarithms(network: nn.Module) -> nn.Module:
    """Let every max pooling that follows a ReLog go before it, in place, and return the network.

    The logarithm rises: it is the same function, of a quarter as many logarithms.
    """
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for place, pool in enumerate(list(block)[1:], 1):
                unit = block[place - 1]
                if isinstance(pool, MaxPool2x2) and isinstance(unit, nn.Sequential) and isinstance(unit[-1], ReLog | ReLUReLog):
                    block[place] = nn.Sequential(pool, unit[-1])
                    unit[-1] = nn.Identity()
    return network


def _folded(map_: nn.Module, normalisation: nn.Module) -> nn.Module | None:
    match map_, normalisation:
        case nn.Conv2d(), nn.BatchNorm2d():
            return fuse_conv_bn_eval(map_, normalisation)
        case nn.Linear(), nn.BatchNorm1d():
            return fuse_linear_bn_eval(map_, normalisation)
        case Elliptical(), _:
            of_both = _folded(map_.of_both(), normalisation)
            return None if of_both is None else nn.Sequential(Quadratic(), of_both)
    return None
