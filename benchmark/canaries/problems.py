"""The problems: a linear model with images of known distances, and what the answer at a budget has to be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import Norm
from robustboard.benchmark.canaries.closed_form import nearest
from robustboard.benchmark.canaries.models import Cliff, Linear

SHAPE = (1, 5, 5)
COUNT = 16
SLACK = 0.95
"""An example whose nearest error is within this share of the budget must fall. Among more classes 0.8: what goes along the
gradient of one wrong class is no search over all. In L0 half: a saliency map is no search for the fewest features."""


MANY_BAR = 0.8
"""The share of those that has to fall where more than a gradient's direction counts; it is all of them elsewhere."""


@dataclass(frozen=True)
class Problem:
    """`network` answers as `linear` does, up to what a canary does to the logits; every image is right clean. `epsilon` is
    the L∞ budget, None for one that about two thirds of the examples are within. `bar` is the share that has to be reached."""

    network: nn.Module
    linear: Linear
    images: Tensor
    labels: Tensor
    epsilon: float | None = None
    bar: float = 1.0

    def distances(self, norm: Norm) -> Tensor:
        """The known distance (N,) of each example's nearest error."""
        return nearest(self.linear, self.images, self.labels, norm)

    def budget(self, norm: Norm) -> float:
        """ε in units of `norm`."""
        if norm == "l0":
            return float(self.images[0].numel() // 2)
        if norm == "linf" and self.epsilon is not None:
            return self.epsilon
        return 1.25 * float(self.distances(norm).median())

    def must_fall(self, norm: Norm) -> Tensor:
        """(N,) bool: the examples that an attack at the budget has to fool."""
        share = 0.5 if norm == "l0" else SLACK if len(self.linear.bias) == 2 else 0.8
        return self.distances(norm) <= share * self.budget(norm)


def linear_problem(classes: int, low: float, high: float, *, seed: int = 0, bar: float = 1.0) -> Problem:
    """Random weights that sum to 0 over the classes, images uniform in [low, high], cut to the box, led by at least 1.2: a
    hundredfold of that is beyond what a softmax in float32 can tell from certainty."""
    generator = torch.Generator().manual_seed(seed)
    weight = 3 * torch.randn(classes, SHAPE[0] * SHAPE[1] * SHAPE[2], generator=generator)
    images = (low + (high - low) * torch.rand(1000, *SHAPE, generator=generator)).clamp(0, 1)
    linear = _centred(weight - weight.mean(0), images)
    return _chosen(linear, images, bar)


def binary_problem(seed: int = 0) -> Problem:
    """The same with images of 0 and 1 only, ten classes."""
    generator = torch.Generator().manual_seed(seed)
    weight = 3 * torch.randn(10, 25, generator=generator)
    images = (torch.rand(1000, *SHAPE, generator=generator) < 0.5).float()
    return _chosen(_centred(weight - weight.mean(0), images), images, bar=MANY_BAR)


def far_problem(distance: float, epsilon: float, *, seed: int = 0) -> Problem:
    """Two classes, all images of class 0 and about `distance` (L∞) from class 1, multiples of 1/16 within [¼, ¾]."""
    generator = torch.Generator().manual_seed(seed)
    weight = 3 * torch.randn(2, 25, generator=generator)
    weight = weight - weight.mean(0)
    images = torch.randint(4, 13, (COUNT, *SHAPE), generator=generator).float() / 16
    linear = Linear(weight, torch.zeros(2))
    with torch.no_grad():
        logits = linear(images).mean(0)
        lead = distance * float((weight[0] - weight[1]).abs().sum())
        linear.bias[0] = logits[1] - logits[0] + lead
    return Problem(linear, linear, images, torch.zeros(COUNT, dtype=torch.int64), epsilon)


def cliff_problem() -> tuple[nn.Module, Tensor, Tensor]:
    """Network, images and labels: four examples of two classes that are far from their boundary, and four that an attack's
    first steps take over a cliff, where their losses are a thousandfold and outweigh the others' by far."""
    problem = linear_problem(2, 0.35, 0.65)
    slopes = (problem.linear.weight[1] - problem.linear.weight[0]).detach()
    far = problem.distances("l2").argsort(descending=True)[:4]
    # Of the class that a rise of the first feature, which the cliff goes by, leads away from.
    near = (problem.labels == int(slopes[0] < 0)).nonzero().flatten()[:4]
    images = problem.images[torch.cat([far, near])].clone()
    images[:4, 0, 0, 0], images[4:, 0, 0, 0] = 0.25, 0.49
    with torch.no_grad():
        labels = problem.linear(images).argmax(1)
    return Cliff(problem.linear), images, labels


def _centred(weight: Tensor, images: Tensor) -> Linear:
    return Linear(weight, -(images.flatten(1) @ weight.T).mean(0))


def _chosen(linear: Linear, images: Tensor, bar: float) -> Problem:
    with torch.no_grad():
        top = linear(images).topk(2, dim=1)
    kept = (top.values[:, 0] - top.values[:, 1] > 1.2).nonzero().flatten()[:COUNT]
    return Problem(linear, linear, images[kept], top.indices[kept, 0], bar=bar)
