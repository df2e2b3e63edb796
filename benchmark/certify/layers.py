"""The layers that certificates understand, in float64: affine maps with their transpose and absolute value, ReLU, max-pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Affine:
    """x -> L x + b between images of fixed shapes, all float64.

    `linear`: L x, (N, *shape_in) -> (N, *shape_out). `absolute`: |L| x, the entries of L replaced by their absolute values.
    `transposed`: Lᵀ a, (N, *shape_out) -> (N, *shape_in). `bias`: b, of `shape_out`. `terms`: how many products and
    additions a float32 pass rounds for one output, an upper bound.
    """

    linear: Callable[[Tensor], Tensor] = field(repr=False)
    absolute: Callable[[Tensor], Tensor] = field(repr=False)
    transposed: Callable[[Tensor], Tensor] = field(repr=False)
    bias: Tensor = field(repr=False)
    shape_in: Shape
    shape_out: Shape
    terms: int

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.bias


@dataclass(frozen=True)
class Relu:
    """max(0, x) of every feature."""

    shape_in: Shape

    @property
    def shape_out(self) -> Shape:
        return self.shape_in

    def __call__(self, x: Tensor) -> Tensor:
        return x.relu()


@dataclass(frozen=True)
class MaxPool:
    """The maximum over square windows without padding, (N, C, H, W) -> (N, C, H', W')."""

    shape_in: Shape
    kernel: int
    stride: int

    @property
    def shape_out(self) -> Shape:
        channels, height, width = self.shape_in
        return channels, (height - self.kernel) // self.stride + 1, (width - self.kernel) // self.stride + 1

    def __call__(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.stride)

    def windows(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W', kernel²): what each output is the maximum of."""
        return x.unfold(2, self.kernel, self.stride).unfold(3, self.kernel, self.stride).flatten(4)

    def positions(self, choice: Tensor) -> Tensor:
        """Which feature of its channel's H · W the `choice` (N, C, H', W') within each window is."""
        rows = torch.arange(self.shape_out[1])[:, None] * self.stride + choice // self.kernel
        columns = torch.arange(self.shape_out[2])[None, :] * self.stride + choice % self.kernel
        return rows * self.shape_in[2] + columns


Layer = Affine | Relu | MaxPool


def dense(weight: Tensor, bias: Tensor | None) -> Affine:
    """x (N, I) -> x Wᵀ + b, `weight` (O, I)."""
    weight = weight.detach().double().cpu()
    outputs, inputs = weight.shape
    return Affine(
        linear=lambda x: x @ weight.T,
        absolute=lambda x: x @ weight.abs().T,
        transposed=lambda a: a @ weight,
        bias=_bias(bias, (outputs,)),
        shape_in=(inputs,),
        shape_out=(outputs,),
        terms=inputs + 1,
    )


def convolution(
    shape: Shape, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int], groups: int
) -> Affine:
    """A two-dimensional convolution of images of `shape` (C, H, W), zeros around them, without dilation."""
    weight = weight.detach().double().cpu()

    def apply(x: Tensor, kernels: Tensor) -> Tensor:
        return F.conv2d(x, kernels, stride=stride, padding=padding, groups=groups)

    def transposed(a: Tensor) -> Tensor:
        before: Tensor = conv2d_input((len(a), *shape), weight, a, stride=stride, padding=padding, groups=groups)
        return before

    shape_out = tuple(apply(torch.zeros(1, *shape, dtype=torch.float64), weight).shape[1:])
    flat = _bias(bias, (len(weight),))
    return Affine(
        linear=lambda x: apply(x, weight),
        absolute=lambda x: apply(x, weight.abs()),
        transposed=transposed,
        bias=flat[:, None, None].expand(shape_out),
        shape_in=shape,
        shape_out=shape_out,
        terms=weight[0].numel() + 1,
    )


def scaling(shape: Shape, scale: Tensor, shift: Tensor) -> Affine:
    """x -> scale · x + shift, feature by feature; both broadcast to `shape`."""
    factor = scale.detach().double().cpu().expand(shape)
    # Four roundings cover a normalisation's reciprocal, root, product and sum.
    return Affine(
        linear=lambda x: x * factor,
        absolute=lambda x: x * factor.abs(),
        transposed=lambda a: a * factor,
        bias=shift.detach().double().cpu().expand(shape),
        shape_in=shape,
        shape_out=shape,
        terms=4,
    )


def flattening(shape: Shape) -> Affine:
    """The features of an image in one row."""
    flat = (math.prod(shape),)
    return Affine(
        linear=lambda x: x.reshape(-1, *flat),
        absolute=lambda x: x.reshape(-1, *flat),
        transposed=lambda a: a.reshape(-1, *shape),
        bias=torch.zeros(flat, dtype=torch.float64),
        shape_in=shape,
        shape_out=flat,
        terms=0,
    )


def averaging(shape: Shape, kernel: tuple[int, int], stride: tuple[int, int]) -> Affine:
    """The mean over windows without padding, as the convolution that it is."""
    weight = torch.full((shape[0], 1, *kernel), 1 / math.prod(kernel), dtype=torch.float64)
    return convolution(shape, weight, None, stride, (0, 0), groups=shape[0])


def _bias(bias: Tensor | None, shape: Shape) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64) if bias is None else bias.detach().double().cpu()
