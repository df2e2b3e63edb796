"""The direction that DDN and FMN step along: the gradient at length 1, and a random one, by key, where it is exactly 0."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness


def unit(gradient: Tensor, keys: Tensor) -> Tensor:
    """Each example's gradient at L2 length 1; a random direction, drawn from its key, where it is exactly 0."""
    largest = projections.norms(gradient, "linf")
    if bool((largest == 0).any()):
        random = 2 * randomness.uniform(keys, tuple(gradient.shape[1:])) - 1
        gradient = torch.where(projections.per_example(largest == 0, gradient), random, gradient)
    return projections.steepest(gradient, "l2")
