"""Small random networks of every layer that certificates know, and points in the balls around their images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPE = (2, 6, 6)


class Normalised(nn.Module):
    """Arithmetic with constants, functional ReLU and flatten, a matrix product: what users write by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.rand(1, 2, 1, 1))
        self.register_buffer("spread", torch.rand(2, 1, 1) + 0.5)
        self.inner = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3))
        self.weight = nn.Parameter(torch.randn(5, 3 * 4 * 4) / 5)

    def forward(self, images: Tensor) -> Tensor:
        x = 2 * (0.5 - (images - self.mean) / self.spread[None]) + 0.1
        x = torch.relu(self.inner(x)).flatten(1)
        return x @ self.weight.T


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(72, 12), nn.ReLU(), nn.Linear(12, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 5)
    )


def strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5)
    )


def max_pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.Conv2d(3, 3, 2),
        nn.MaxPool2d(2, stride=1),
        nn.Flatten(),
        nn.Linear(3, 6),
        nn.ReLU(),
        nn.Linear(6, 5),
    )


def mean_pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5),
    )  # fmt: skip


NETWORKS = {
    "dense": dense,
    "strided": strided,
    "max_pooled": max_pooled,
    "mean_pooled": mean_pooled,
    "normalised": Normalised,
}


def random_network(name: str, seed: int) -> nn.Module:
    """A network with random weights and batch statistics, in evaluation mode, its parameters without gradients."""
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 2)
    return network.eval().requires_grad_(False)


def random_images(count: int, seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Images in [0, 1], a third of their features at an end of the box, where the ball is cut off."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, *shape, generator=generator)
    edge = torch.rand(count, *shape, generator=generator)
    return torch.where(edge < 1 / 3, images.round(), images)


def points_in_balls(images: Tensor, epsilon: float, count: int, seed: int) -> Tensor:
    """(count, N, *shape) float64: images within ε and the box; half uniform, half corners of the ball."""
    generator = torch.Generator().manual_seed(seed)
    noise = 2 * torch.rand(count, *images.shape, generator=generator) - 1
    noise[count // 2 :] = noise[count // 2 :].sign()
    return (images.double() + epsilon * noise.double()).clamp(0, 1)
