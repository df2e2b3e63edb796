"""Fully connected networks, small enough that what they do within a ball can be computed exactly."""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import check_last, linear_unit, narrowed
from robustboard.models.recipe import Recipe


def mlp_network(features: int, recipe: Recipe, *, relog_n: float) -> nn.Module:
    """Images of `features` features, flattened, through the recipe's hidden layers to 10 logits.

    Layers of several pieces are narrower than the recipe says; the first keeps its inputs, so that such a network still has more
    parameters than the plain one.
    """
    check_last(recipe, len(recipe.hidden))
    widths = [narrowed(width, recipe) for width in recipe.hidden]
    layers = [
        linear_unit(before, after, recipe, relog_n=relog_n, to_end=len(widths) - 1 - place)
        for place, (before, after) in enumerate(zip([features, *widths], widths, strict=False))
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], 10))
