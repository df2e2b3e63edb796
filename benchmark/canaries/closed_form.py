"""How near the nearest adversarial example of a linear model is: the answers that attacks are graded by.

Against one other class j the label is lost where w · δ ≥ m, w the difference of the two classes' weights and m by how much
the label leads; inside the box that is a problem in one variable, solved by bisection. Over all j the nearest counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustboard.attacks.attack import Norm
from robustboard.benchmark.canaries.models import Linear

BISECTIONS = 60


def nearest(model: Linear, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """The distance (N,) float64 of the nearest image in the box that the model does not give `labels` (N,), infinite where
    there is none. In L0: the fewest features, each raised to 1, that do it."""
    flat = images.detach().flatten(1).double()
    weight, bias = model.weight.detach().double(), model.bias.detach().double()
    distances = torch.full((len(flat), len(weight)), torch.inf, dtype=torch.float64)
    for other in range(len(weight)):
        difference = weight[other] - weight[labels]
        lead = -(flat * difference).sum(1) - (bias[other] - bias[labels])
        distances[:, other] = _SOLVERS[norm](flat, difference, lead)
    distances[torch.arange(len(labels)), labels] = torch.inf
    return distances.amin(1)


def _least_linf(images: Tensor, weight: Tensor, lead: Tensor) -> Tensor:
    def gain(radius: Tensor) -> Tensor:
        step = radius[:, None] * weight.sign()
        return (weight * step.clamp(-images, 1 - images)).sum(1)

    return _bisected(gain, lead, 1.0)


def _least_l2(images: Tensor, weight: Tensor, lead: Tensor) -> Tensor:
    # The optimum is δ = clip(λ w) (Karush-Kuhn-Tucker): what is not at the box's edge goes along w.
    def change(multiplier: Tensor) -> Tensor:
        return (multiplier[:, None] * weight).clamp(-images, 1 - images)

    smallest = weight.abs().masked_fill(weight == 0, torch.inf).amin(1)
    multiplier = _bisected(lambda value: (weight * change(value)).sum(1), lead, (1 / smallest).max().item())
    reachable = torch.isfinite(multiplier)
    length = change(multiplier.nan_to_num(0.0, 0.0, 0.0)).norm(dim=1)
    return torch.where(reachable, length, torch.inf)


def _least_l0(images: Tensor, weight: Tensor, lead: Tensor) -> Tensor:
    gains = (weight * (1 - images)).clamp_min(0).sort(dim=1, descending=True).values.cumsum(1)
    count = (gains < lead[:, None]).sum(1)
    return torch.where(count < images.shape[1], count + 1.0, torch.inf)


def _bisected(gain: Callable[[Tensor], Tensor], wanted: Tensor, highest: float) -> Tensor:
    """The smallest value (N,) in [0, highest] at which the rising `gain` reaches `wanted` (N,), infinite where none does."""
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, highest)
    reachable = gain(high) >= wanted
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        enough = gain(middle) >= wanted
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(reachable, high, torch.inf)


_SOLVERS = {"linf": _least_linf, "l2": _least_l2, "l0": _least_l0}
