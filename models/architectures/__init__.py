"""The networks: a recipe and a data set in, an untrained `nn.Module` out, [0, 1] images (N, C, H, W) -> logits (N, 10).

No files, no data, no training here. One file a network family; what every family shares is `blocks.py`.
"""

from __future__ import annotations

import math

from torch import nn

from robustboard.models.architectures import cnn, vgg
from robustboard.models.architectures.blocks import fold_batch_norm, pool_before_logarithms
from robustboard.models.architectures.mlp import mlp_network
from robustboard.models.recipe import Recipe

__all__ = ["IMAGE_SHAPES", "NETWORKS", "build_network", "fold_batch_norm", "pool_before_logarithms"]

NETWORKS = {"digits": cnn.digits_network, "mnist": cnn.mnist_network, "cifar10": vgg.cifar10_network}
RELOG_N = {"digits": cnn.RELOG_N, "mnist": cnn.RELOG_N, "cifar10": vgg.RELOG_N}
IMAGE_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def build_network(dataset: str, recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe for a data set. Raises KeyError for a data set that has no network."""
    if recipe.hidden:
        return mlp_network(math.prod(IMAGE_SHAPES[dataset]), recipe, relog_n=RELOG_N[dataset])
    return NETWORKS[dataset](recipe)
