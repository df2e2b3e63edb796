"""The units: ReLog, Maxout, MinMaxout, and neurons that are no linear map. Modules without files, data sets or attacks.

A unit that has several linear pieces takes them as consecutive channels: channel c of the output reads the channels
[c * pieces, (c + 1) * pieces) of the input.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    Input (N, C * groups * group_size, ...), output (N, C, ...). Maxout: Goodfellow et al. 2013, section 2.
    """

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        # Channels last, split in place: no copy. Of ties one takes the gradient; `amax` shares it, at four times the cost.
        pieces = x.movedim(1, -1).unflatten(-1, (-1, self.pieces.groups, self.pieces.group_size))
        smallest = pieces.min(-1).values if self.pieces.group_size > 1 else pieces.squeeze(-1)
        largest: Tensor = smallest.max(-1).values
        return largest.movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"groups={self.pieces.groups}, group_size={self.pieces.group_size}"


class Quadratic(nn.Module):
    """x and x² side by side: the layer after it has a quadratic response to each of its inputs. (N, C, …) to (N, 2C, …)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.square()], 1)


class Elliptical(nn.Module):
    """−Σ aᵢ² (xᵢ − cᵢ)² over the inputs of each unit: how near they are to its centre c, those with aᵢ = 0 left aside.

    Fully connected for a `shape` of (outputs, inputs), a convolution for (outputs, inputs, k, k), outside of whose images x is
    0. The radius r of r − Σ … is the shift of the batch normalisation that follows. Computed as −Σ a²x² + 2 Σ a²c x − Σ a²c²,
    two maps instead of an unfolding, in float32 whatever autocast says: the terms cancel.
    """

    def __init__(self, shape: tuple[int, ...], padding: int = 0) -> None:
        super().__init__()
        self.padding = padding
        fan_in = math.prod(shape[1:])
        self.scale = nn.Parameter(torch.randn(shape) / math.sqrt(fan_in))
        self.centre = nn.Parameter(torch.rand(shape))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            squares = self.scale.square()
            weighted = squares * self.centre
            constant = (weighted * self.centre).flatten(1).sum(1)
            x = x.float()
            return _linear_map(x, 2 * weighted, self.padding, -constant) - _linear_map(x.square(), squares, self.padding)

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
