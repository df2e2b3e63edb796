"""The models: a linear one, whose every distance is known, and what can be put around it to mislead an attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LEVELS = 16
"""How many steps a quantised feature has from 0 to 1."""


class Linear(nn.Module):
    """Z = scale · (W x + b) over flattened images (N, C, H, W); `weight` (K, C·H·W), `bias` (K,)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


class Around(nn.Module):
    """A network with something done to its images before and to its logits after."""

    def __init__(
        self,
        network: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))


class FiniteAt(nn.Module):
    """A network that answers NaN to everything but the images it was made with, and what is within 0.001 of one of them."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("known", images.flatten(1).clone())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        known = self.get_buffer("known")
        away = (images.detach().flatten(1)[:, None] - known).abs().amax(2).amin(1) > 1e-3
        return logits.masked_fill(away[:, None], torch.nan)


class Raising(nn.Module):
    """A network that gives no answer at all."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("the canary raises")


class Cliff(nn.Module):
    """A network whose logits are a thousandfold where an image's first feature is above ½."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits * torch.where(images.detach().flatten(1)[:, :1] > 0.5, 1000.0, 1.0)


class SureNearItsData(nn.Module):
    """Three classes, sure of the first at images of ½ all over and of the second where only the first feature is raised; where
    the others move, it soon is unsure of everything, exactly: what training with negatives aims at."""

    def forward(self, images: Tensor) -> Tensor:
        features = images.flatten(1) - 0.5
        away = features[:, 1:].square().sum(1)
        lead = 40 * (0.05 - features[:, 0]) * torch.exp(-1000 * away)  # underflows to 0
        return torch.stack([lead, -lead, torch.zeros_like(lead)], 1)


class Noisy(nn.Module):
    """Logits with fresh noise at every call, from torch's global generator."""

    def __init__(self, network: nn.Module, deviation: float) -> None:
        super().__init__()
        self.network, self.deviation = network, deviation

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits + self.deviation * torch.randn_like(logits)


def constant(images: Tensor) -> Linear:
    """Class 0 of three, whatever the image (N, C, H, W) is; the gradient is there, and 0."""
    return Linear(torch.zeros(3, images[0].numel()), torch.tensor([1.0, 0.0, 0.0]))


def quantised(images: Tensor) -> Tensor:
    """Every feature rounded to a multiple of 1/16: the gradient is 0 everywhere."""
    return (images * LEVELS).round() / LEVELS


def binarised(images: Tensor) -> Tensor:
    """Every feature 0 or 1, by which side of ½ it is on; without a gradient graph of its own, so that it is 0."""
    return (images > 0.5).to(images) + 0 * images


def two_layers(images: Tensor, classes: int = 4, seed: int = 0, *, norm: bool = False) -> nn.Sequential:
    """A random ReLU network for `images`, its classes centred; with `norm` a BatchNorm layer in between."""
    generator = torch.Generator().manual_seed(seed)
    features = images[0].numel()
    middle: list[nn.Module] = [nn.BatchNorm1d(features)] if norm else []
    network = nn.Sequential(nn.Flatten(), nn.Linear(features, features), *middle, nn.ReLU(), nn.Linear(features, classes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        output = network[-1]
        assert isinstance(output, nn.Linear)
        output.bias.sub_(network.eval()(images).mean(0))
    return network
