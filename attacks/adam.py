"""Adam (Kingma & Ba 2015, algorithm 1) with its state per example, so that examples can leave the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Moments:
    """Running means of the gradient and its square, like the variable, and how many gradients they have seen."""

    first: Tensor
    second: Tensor
    count: int = 0

    @staticmethod
    def zero(like: Tensor) -> Moments:
        return Moments(torch.zeros_like(like), torch.zeros_like(like))

    def select(self, going: Tensor) -> Moments:
        """The state of the examples where `going` (N,) is true."""
        return Moments(self.first[going], self.second[going], self.count)


def descent_step(gradient: Tensor, moments: Moments, rate: float | Tensor) -> tuple[Tensor, Moments]:
    """The change to add to the variable, and the new state. A gradient that was always 0 gives a change of 0."""
    count = moments.count + 1
    first = BETA_1 * moments.first + (1 - BETA_1) * gradient
    second = BETA_2 * moments.second + (1 - BETA_2) * gradient.square()
    scale = second.div(1 - BETA_2**count).sqrt_().add_(TINY)
    return -rate * (first / (1 - BETA_1**count)) / scale, Moments(first, second, count)
