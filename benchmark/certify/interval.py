"""Interval bound propagation (Gowal et al. 2018, section 3): a box in, a box out, layer by layer; and what float32 rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustboard.benchmark.certify.layers import Affine, Layer

UNIT_ROUNDOFF = 2.0**-24
"""Half a unit in the last place of float32."""


@dataclass(frozen=True)
class Box:
    """Every feature between `lower` and `upper`, (N, *shape) float64."""

    lower: Tensor
    upper: Tensor

    @property
    def center(self) -> Tensor:
        return (self.upper + self.lower) / 2

    @property
    def radius(self) -> Tensor:
        return (self.upper - self.lower) / 2

    def within(self, other: Box) -> Box:
        """The intersection of two boxes that both hold."""
        return Box(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))


def ball(images: Tensor, epsilon: float) -> Box:
    """All images within ε of each image (N, C, H, W), feature by feature, and in [0, 1]."""
    images = images.detach().double().cpu()
    return Box((images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1))


def after(layer: Layer, box: Box) -> Box:
    """Where a layer can send the points of a box: exact for one layer, feature by feature."""
    if isinstance(layer, Affine):
        center, radius = layer(box.center), layer.absolute(box.radius)
        return Box(center - radius, center + radius)
    return Box(layer(box.lower), layer(box.upper))


def interval_boxes(layers: Sequence[Layer], box: Box) -> list[Box]:
    """The box before every layer, and that of the logits last."""
    boxes = [box]
    for layer in layers:
        boxes.append(after(layer, boxes[-1]))
    return boxes


def rounding_error(layers: Sequence[Layer], boxes: Sequence[Box]) -> Tensor:
    """How far a float32 pass can be from the real logits anywhere in the box: (N, K).

    The judge's verdict is a float32 pass, whose every output of an affine layer is off by at most γ_k (|L| |x| + |b|),
    γ_k = k u / (1 − k u), for k roundings in whatever order (Higham 2002, section 3.1), on top of |L| times the error
    before it; ReLU and max-pooling pass an error on. That holds where a convolution is a sum of products, as PyTorch computes it
    on a processor; one by Winograd's or Fourier transforms, as a graphics card may choose, rounds more. The bounds are
    computed in float64, which rounds 2^29 times finer: one per cent on top covers that.
    """
    error = torch.zeros_like(boxes[0].lower)
    for layer, box in zip(layers, boxes, strict=False):
        if isinstance(layer, Affine):
            gamma = layer.terms * UNIT_ROUNDOFF / (1 - layer.terms * UNIT_ROUNDOFF)
            size = torch.maximum(box.lower.abs(), box.upper.abs()) + error
            error = layer.absolute(error) + gamma * (layer.absolute(size) + layer.bias.abs())
        else:
            error = layer(error)
    return 1.01 * error
