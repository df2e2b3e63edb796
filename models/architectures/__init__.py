"""The networks: a recipe and a data set in, an untrained `nn.Module` out, [0, 1] images (N, C, H, W) -> logits (N, 10).

No files, no data, no training here. One file a network family; what every family shares is `blocks.py`.
"""

from __future__ import annotations

from torch import nn

from robustboard.models.architectures.blocks import fold_batch_norm
from robustboard.models.architectures.cnn import digits_network, mnist_network
from robustboard.models.architectures.vgg import cifar10_network
from robustboard.models.recipe import Recipe

__all__ = ["IMAGE_SHAPES", "NETWORKS", "build_network", "fold_batch_norm"]

NETWORKS = {"digits": digits_network, "mnist": mnist_network, "cifar10": cifar10_network}
IMAGE_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def build_network(dataset: str, recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe for a data set. Raises KeyError for a data set that has no network."""
    return NETWORKS[dataset](recipe)
