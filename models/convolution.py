"""A convolution that reads images: the same map as torch's, with a faster way back to its input on a processor."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_CHANNELS = 3


def convolution(inputs: int, outputs: int, kernel: int, *, padding: int = 0, bias: bool = True) -> nn.Conv2d:
    """A convolution of stride 1, by `ImageConv2d` where it reads as few channels as an image has."""
    kind = ImageConv2d if inputs <= IMAGE_CHANNELS else nn.Conv2d
    return kind(inputs, outputs, kernel, padding=padding, bias=bias)


class ImageConv2d(nn.Conv2d):
    """`nn.Conv2d` of stride 1 for inputs of one to three channels: (N, C, H, W) to (N, outputs, H′, W′), same numbers.

    Kernels of processors fill channels up to sixteen, and the gradient of an image has one or three: it takes them as long as
    all the layers behind. One matrix product an example and a fold are several times as fast. They run where an image is
    attacked: its gradient is wanted, the weights' is not.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, padding: int = 0, bias: bool = True) -> None:
        # No stride, dilation or groups: the way back below knows none.
        super().__init__(inputs, outputs, kernel, padding=padding, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        attacked = images.requires_grad and torch.is_grad_enabled() and not self.weight.requires_grad
        if not attacked or images.device.type != "cpu":
            return super().forward(images)
        mapped: Tensor = _ToImages.apply(images, self.weight, self.bias, self.padding)  # type: ignore[no-untyped-call]
        return mapped


class _ToImages(torch.autograd.Function):
    """A convolution of stride 1 whose backward pass leads to the images only."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        return F.conv2d(images, weight, bias, padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, tuple[int, int]], output: Tensor) -> None:
        images, weight, _, ctx.padding = inputs
        ctx.save_for_backward(weight)
        ctx.size, ctx.dtype = images.shape[2:], images.dtype

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        back = weight.flatten(1).T.expand(len(gradient), -1, -1)
        columns = torch.bmm(back, gradient.reshape(*gradient.shape[:2], -1).to(weight.dtype))
        # Autocast may have made the products bfloat16: their sum is not to be.
        return F.fold(columns.to(ctx.dtype), ctx.size, weight.shape[2:], padding=ctx.padding), None, None, None
