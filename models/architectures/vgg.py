"""The VGG of CIFAR-10 (Simonyan & Zisserman 2015), narrow enough to train in minutes on two cores."""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import check_last, conv_unit, narrowed
from robustboard.models.pooling import MaxPool2x2
from robustboard.models.recipe import Recipe, RecipeError

RELOG_N = 10.0
STAGES = ((32, 32), (64, 128), (192, 256))
ELLIPTICAL_WIDTH = 0.9
"""The width of elliptical layers, relative to the others': in float32 they take so long that a run would pass 45 minutes on two
cores. They end with a fifth fewer weights. (Spherical ones multiply half as much.)"""


def cifar10_network(recipe: Recipe) -> nn.Module:
    """Three stages of two 3 × 3 convolutions, each stage followed by pooling; the mean over positions is classified."""
    if recipe.widths:
        raise RecipeError(f"recipe {recipe}: CIFAR-10's network has six convolutions, its widths cannot be given by three")
    check_last(recipe, 6)
    layers: list[nn.Module] = []
    inputs, to_end, share = 3, 6, ELLIPTICAL_WIDTH if recipe.neuron == "elliptical" else 1.0
    for stage in STAGES:
        for width in stage:
            outputs, to_end = narrowed(width * share, recipe), to_end - 1
            layers.append(conv_unit(inputs, outputs, 3, recipe, relog_n=RELOG_N, to_end=to_end, padding=1))
            inputs = outputs
        layers.append(MaxPool2x2())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))
