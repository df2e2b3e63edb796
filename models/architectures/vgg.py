"""The VGG of CIFAR-10 (Simonyan & Zisserman 2015), narrow enough to train in minutes on two cores."""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import check_last, conv_unit, narrowed
from robustboard.models.pooling import MaxPool
from robustboard.models.recipe import Recipe, RecipeError

RELOG_N = 10.0
STAGES = ((32, 32), (64, 128), (192, 256))
IN_FLOAT32 = 0.9
"""How wide elliptical layers are beside the others: they compute in float32, in twice the time, and are to train as fast."""


def cifar10_network(recipe: Recipe) -> nn.Module:
    """Three stages of two 3 × 3 convolutions, each stage followed by pooling; the mean over positions is classified."""
    if recipe.widths:
        raise RecipeError(f"recipe {recipe}: CIFAR-10's network has six convolutions, its widths cannot be given by three")
    check_last(recipe, 6)
    layers: list[nn.Module] = []
    inputs, to_end, share = 3, 6, IN_FLOAT32 if recipe.neuron == "elliptical" else 1.0
    for stage in STAGES:
        for width in stage:
            outputs, to_end = narrowed(round(width * share), recipe), to_end - 1
            layers.append(conv_unit(inputs, outputs, 3, recipe, relog_n=RELOG_N, to_end=to_end, padding=1))
            inputs = outputs
        layers.append(MaxPool())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))
