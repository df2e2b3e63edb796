"""The units: ReLog, Maxout, MinMaxout, and neurons that are no linear map. Modules without files, data sets or attacks.

A unit that has several linear pieces takes them as consecutive channels: channel c of the output reads the channels
[c * pieces, (c + 1) * pieces) of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustboard.models.convolution import convolution
from robustboard.models.recipe import Pieces


class ReLog(nn.Module):
    """y = ln(1 + n * relu(x)) / ln n, the logarithmic rectifier: equal to log_n(relu(x) + 1/n) + 1.

    Slope n / ln n just above 0; y(1) is just over 1. Any shape, floating dtype kept. Raises ValueError for n <= 1.
    """

    def __init__(self, n: float) -> None:
        super().__init__()
        if not n > 1:
            raise ValueError(f"ReLog needs n > 1, got {n}")
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(torch.relu(x) * self.n) / math.log(self.n)

    def extra_repr(self) -> str:
        return f"n={self.n}"


class ReLUReLog(nn.Module):
    """(1 − α) · relu(x) + α · ReLog(n)(x): a network that begins as an ordinary one and ends as ReLog's.

    `alpha` is a buffer, 0 until `anneal` sets it. Any shape. Raises ValueError for n <= 1.
    """

    alpha: Tensor

    def __init__(self, n: float) -> None:
        super().__init__()
        self.relog = ReLog(n)
        self.register_buffer("alpha", torch.tensor(0.0))

    def anneal(self, alpha: float) -> None:
        """Set α, in [0, 1]."""
        self.alpha.fill_(alpha)

    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(torch.relu(x), self.relog(x), self.alpha.to(x.dtype))


class MinMaxout(nn.Module):
    """The maximum over groups of the minimum within a group: a soft OR of ANDs. `group_size` 1 is Maxout.

    Input (N, C * groups * group_size, ...), output (N, C, ...). Of pieces that tie the first takes the gradient. Maxout:
    Goodfellow et al. 2013, section 2.
    """

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        grid = (self.pieces.groups, self.pieces.group_size)
        led_back = x.requires_grad and torch.is_grad_enabled()
        if led_back and not self.training:
            # Who attacks keeps little else, and wants the faster of two ways back.
            best: Tensor = _Passing.apply(x.unflatten(1, (-1, *grid)))[0]  # type: ignore[no-untyped-call]
            return best
        pieces = x.movedim(1, -1).unflatten(-1, (-1, *grid))
        if led_back:
            largest: Tensor = _Chosen.apply(pieces)[0]  # type: ignore[no-untyped-call]
        else:
            largest = _extremes(pieces)[2]
        return largest.movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"groups={self.pieces.groups}, group_size={self.pieces.group_size}"


Slices = list[tuple[Tensor, ...]]


def _extremes(pieces: Tensor) -> tuple[Slices, list[Tensor], Tensor]:
    """The pieces of each group, each group's smallest, and the largest of these. Slice against slice: a reduction over so few
    neighbours takes ten times as long on a processor."""
    groups = [group.unbind(-1) for group in pieces.unbind(-2)]
    smallest = [reduce(torch.minimum, group) for group in groups]
    return groups, smallest, reduce(torch.maximum, smallest)


class _Chosen(torch.autograd.Function):
    """(..., groups, group_size) to (...): the value, and which piece it is. That number is all that the way back needs: no
    piece is kept for it, and a byte or two an output are, where the reductions keep a long integer for each group."""

    generate_vmap_rule = True

    @staticmethod
    def forward(pieces: Tensor) -> tuple[Tensor, Tensor]:
        groups, smallest, largest = _extremes(pieces)
        size = pieces.shape[-1]
        chosen = torch.zeros_like(largest, dtype=torch.uint8 if len(groups) * size <= 256 else torch.int32)
        undecided = torch.ones_like(largest, dtype=torch.uint8)
        for group, least in zip(groups, smallest, strict=True):
            # Arithmetic on bytes, which processors do many at a time; not so logic and `where`. Who passes a group or a piece by
            # is one further.
            here = undecided * _same(least, largest) if group is not groups[-1] else undecided
            undecided = undecided - here
            chosen += undecided.to(chosen.dtype) * size
            for piece in group[:-1]:
                here = here - here * _same(piece, least)
                chosen += here
        return largest, chosen

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.grid = inputs[0].shape[-2:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        (chosen,) = ctx.saved_tensors
        zeros = gradient.new_zeros(*gradient.shape, ctx.grid.numel())
        of_pieces: Tensor = zeros.scatter_(-1, chosen.long()[..., None], gradient[..., None]).unflatten(-1, ctx.grid)
        return of_pieces


class _Passing(torch.autograd.Function):
    """(N, C, groups, group_size, …) to (N, C, …): the value, and by how much each piece and each group passes those before it.

    The way back hands the gradient from the last to the first: each takes all of it if it passes, else none. A number a piece
    is kept, and every step is one that processors do many at a time. For finite pieces and gradients.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(pieces: Tensor) -> tuple[Tensor, ...]:
        passing: list[Tensor] = []
        smallest = []
        for group in pieces.unbind(2):
            least, *others = group.unbind(2)
            for piece in others:
                passing.append(least - piece)
                least = torch.minimum(least, piece)
            smallest.append(least)
        largest, *others = smallest
        for least in others:
            passing.append(least - largest)
            largest = torch.maximum(largest, least)
        return largest, *passing

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])
        ctx.groups, ctx.size = inputs[0].shape[2:4]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> Tensor:
        within = ctx.groups * (ctx.size - 1)
        passing = ctx.saved_tensors
        parts = [
            part
            for group, whole in enumerate(_handed_on(gradient, passing[within:]))
            for part in _handed_on(whole, passing[group * (ctx.size - 1) : (group + 1) * (ctx.size - 1)])
        ]
        together = torch.stack(parts, 2)
        return together.reshape(*together.shape[:2], ctx.groups, ctx.size, *together.shape[3:])


def _handed_on(gradient: Tensor, passing: Sequence[Tensor]) -> list[Tensor]:
    """What each of several takes, when the last that passes those before it takes all."""
    taken = []
    for margin in reversed(passing):
        taken.append(torch.ops.aten.threshold_backward(gradient, margin, 0))
        gradient = gradient - taken[-1]
    return [gradient, *reversed(taken)]


def _same(first: Tensor, second: Tensor) -> Tensor:
    """1 where they are equal, else 0, a byte each."""
    return (first == second).view(torch.uint8)


class Quadratic(nn.Module):
    """x and x² side by side: the layer after it has a quadratic response to each of its inputs. (N, C, …) to (N, 2C, …)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.square()], 1)


class Elliptical(nn.Module):
    """−Σ aᵢ² (xᵢ − cᵢ)² over the inputs of each unit: how near they are to its centre c, those with aᵢ = 0 left aside.

    Fully connected for a `shape` of (outputs, inputs), a convolution for (outputs, inputs, k, k), outside of whose images x is
    0. The radius r of r − Σ … is the shift of the batch normalisation that follows. Computed as −Σ a²x² + 2 Σ a²c x − Σ a²c²,
    one map of x and x² instead of an unfolding, in float32 whatever autocast says: the terms cancel.
    """

    def __init__(self, shape: tuple[int, ...], padding: int = 0) -> None:
        super().__init__()
        self.padding = padding
        fan_in = math.prod(shape[1:])
        self.scale = nn.Parameter(torch.randn(shape) / math.sqrt(fan_in))
        self.centre = nn.Parameter(torch.rand(shape))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            weight, bias = self._terms()
            return _linear_map(torch.cat([x, x.square()], 1), weight, self.padding, bias)

    def of_both(self) -> nn.Conv2d | nn.Linear:
        """What it does to x and x² side by side, as a layer of its own, with weights of its own."""
        weight, bias = (term.detach() for term in self._terms())
        outputs, both = weight.shape[:2]
        layer: nn.Conv2d | nn.Linear
        if weight.dim() == 4:
            layer = convolution(both, outputs, weight.shape[2], padding=self.padding)
        else:
            layer = nn.Linear(both, outputs)
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        return layer.train(self.training)

    def _terms(self) -> tuple[Tensor, Tensor]:
        squares = self.scale.square()
        weighted = squares * self.centre
        return torch.cat([2 * weighted, -squares], 1), -(weighted * self.centre).flatten(1).sum(1)

    def extra_repr(self) -> str:
        return f"{tuple(self.scale.shape)}, padding={self.padding}"


class Spherical(nn.Module):
    """−‖x − c‖² / n over the n inputs of each unit: how near they are to its centre c. As `Elliptical` with every aᵢ² = 1/n; the
    sum of x² is that of the receptive field, the same for all units, and computed once."""

    def __init__(self, shape: tuple[int, ...], padding: int = 0) -> None:
        super().__init__()
        self.padding = padding
        self.fan_in = math.prod(shape[1:])
        self.centre = nn.Parameter(torch.rand(shape))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            constant = self.centre.flatten(1).square().sum(1)
            lengths = _linear_map(x.square(), torch.ones_like(self.centre[:1]), self.padding)
            return (_linear_map(x, 2 * self.centre, self.padding, -constant) - lengths) / self.fan_in

    def extra_repr(self) -> str:
        return f"{tuple(self.centre.shape)}, padding={self.padding}"


def _linear_map(x: Tensor, weight: Tensor, padding: int, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=padding) if weight.dim() == 4 else F.linear(x, weight, bias)
