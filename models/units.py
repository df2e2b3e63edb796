"""The units: ReLog, Maxout, MinMaxout. Modules without files, data sets or attacks; each states what it computes.

A unit that has several linear pieces takes them as consecutive channels: channel c of the output reads the channels
[c * pieces, (c + 1) * pieces) of the input.
"""

from __future__ import annotations

import math

import torch
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
