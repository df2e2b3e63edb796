"""Max pooling over windows of two by two: the same map as torch's, in a fraction of the time on a processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WIDEST = 256
"""From here on a step to the row below no longer fits a byte."""


class MaxPool2x2(nn.MaxPool2d):
    """`nn.MaxPool2d(2)`: (N, C, H, W) to (N, C, H/2, W/2), the same numbers, and of values that tie the same one takes the
    gradient.

    Where channels lie one behind the other torch's kernel looks at one value at a time, which takes a processor longer than the
    convolutions around it; here whole slices are compared. Other layouts, dtypes, odd sides and wide images are left to torch.
    Derivatives go backwards only.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:
        even = x.dim() == 4 and x.shape[2] % 2 == 0 and x.shape[3] in range(0, WIDEST, 2)
        if x.device.type != "cpu" or not even or not x.is_contiguous() or x.dtype not in (torch.float32, torch.float64):
            pooled: Tensor = super().forward(x)
            return pooled
        if x.requires_grad and torch.is_grad_enabled():
            largest: Tensor = _Largest.apply(x)[0]  # type: ignore[no-untyped-call]
            return largest
        return torch.maximum(*_neighbours(torch.maximum(*_neighbours(x, 3)), 2))


def _neighbours(x: Tensor, dim: int) -> tuple[Tensor, ...]:
    """The first and the second of each two along `dim`."""
    both: tuple[Tensor, ...] = x.unflatten(dim, (-1, 2)).unbind(dim + 1)
    return both


class _Largest(torch.autograd.Function):
    """Each window's largest value and where it lies in its channel, as torch counts; torch leads back from there.

    Torch takes the first of values that tie, row by row: so a later one must pass those before it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        left, right = _neighbours(x, 3)
        upper, lower = _neighbours(torch.maximum(left, right), 2)
        # Bytes, which processors add and multiply many at a time; what leaves their range comes back into it.
        on_the_right = (right > left).view(torch.uint8)
        below = (lower > upper).view(torch.uint8)
        above, under = _neighbours(on_the_right, 2)
        beyond = below * x.shape[3] + above + below * (under - above)
        corners = torch.arange(0, x.shape[2], 2, device=x.device)[:, None] * x.shape[3]
        corners = corners + torch.arange(0, x.shape[3], 2, device=x.device)
        return torch.maximum(upper, lower), corners + beyond.long()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        x, places = ctx.saved_tensors
        back: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], False, places)
        return back
