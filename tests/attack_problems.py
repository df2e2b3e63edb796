"""Small problems with known answers, and quick settings, for the tests of the attacks."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn

from conftest import Linear, keys, linear_problem
from robustboard.attacks.attack import Model, Proposal, attack_cards
from robustboard.attacks.losses import margin
from robustboard.attacks.projections import norms


def in_both_norms(name: str, parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The same parameters for an attack in L∞ and in L2."""
    return {name: parameters, f"{name}_l2": parameters}


QUICK: dict[str, dict[str, Any]] = {
    "bim": {"steps": 12, "step": 0.1},
    "bim_ce": {"steps": 12, "step": 0.1},
    "cw": {"start_steps": 40, "start_momentum": 0.8, "steps": 40},
    "cw_cold": {"searches": 3, "steps": 60, "rate": 0.05, "initial_c": 0.5},
    "ddn": {"steps": 40, "momentum": 0.8},
    "fmn": {"steps": 40, "momentum": 0.8},
    "fmn_linf": {"steps": 40},
    "lbfgs": {"searches": 5, "iterations": 15},
    "pgd_t": {"steps": 12, "step": 1.0},
    "max_confidence": {"steps": 12, "step": 1.0, "near_step": 0.2},
    "pgd": {"steps": 12, "step": 0.1},
    "pgd_ce": {"steps": 12, "step": 0.1},
    "pgd_l2": {"steps": 12, "step": 0.1},
    "spsa": {"directions": 32, "iterations": 20, "rate": 0.02},
    **in_both_norms("apgd_ce", {"steps": 12}),
    **in_both_norms("apgd_dlr", {"steps": 12}),
    **in_both_norms("apgd_t", {"steps": 10}),
    **in_both_norms("fab_t", {"steps": 10}),
    **in_both_norms("square", {"queries": 60}),
    **in_both_norms("autoattack", {"steps": 5, "queries": 30}),
}
"""Parameters that keep a run in the milliseconds; an attack that is not named runs at its defaults."""


class Wrapped(nn.Module):
    """scale · Z + shift around a network: the same decisions, other numbers."""

    def __init__(self, network: nn.Module, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return self.scale * logits + self.shift


class LogSoftmax(Wrapped):
    """log softmax(scale · Z): never positive, which a margin masked by multiplication with 0 takes for the largest."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).log_softmax(1)


class Rows(nn.Module):
    """Writes down how many rows each forward pass has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        logits: Tensor = self.network(images)
        return logits


def attack_names() -> list[str]:
    """Every registered attack: one that is added to the folder is tested without a word here."""
    return list(attack_cards())


def budget(name: str, images: Tensor) -> float:
    """A budget in the attack's norm at which some examples fall and some stand."""
    return {"linf": 0.1, "l2": 1.0, "l0": float(images[0].numel() // 2)}[attack_cards()[name].norm]


def run_quickly(
    name: str,
    model: Model,
    images: Tensor,
    labels: Tensor,
    epsilon: float | None = None,
    seeds: Tensor | None = None,
    **parameters: Any,
) -> Proposal:
    """The attack at its quick settings, as the harness would call it; `targets` may be among the parameters."""
    card = attack_cards()[name]
    told = {"norm": card.norm} if "norm" in inspect.signature(card.function).parameters else {}
    given = {**QUICK.get(name, {}), **card.preset, **told, **parameters}
    seeds = keys(len(images)) if seeds is None else seeds
    return card.function(model, images, labels, seeds, epsilon=budget(name, images) if epsilon is None else epsilon, **given)


def is_fooled(model: Model, candidates: Tensor, labels: Tensor) -> Tensor:
    """(N,) bool: the label's logit is not strictly the largest."""
    with torch.no_grad():
        return margin(model(candidates), labels) >= 0


def reaches(model: Model, candidates: Tensor, targets: Tensor) -> Tensor:
    """(N,) bool: the model answers the target."""
    with torch.no_grad():
        return model(candidates).argmax(1) == targets


def distances(name: str, candidates: Tensor, images: Tensor) -> Tensor:
    """The size (N,) of the change in the attack's own norm."""
    return norms(candidates - images, attack_cards()[name].norm)


def centred_problem(
    classes: int = 2, count: int = 24, low: float = 0.35, high: float = 0.65, seed: int = 0
) -> tuple[Linear, Tensor, Tensor]:
    """`linear_problem` with the mean logits moved to 0, so that every class occurs and boundaries are nearer than the box."""
    model, images, _ = linear_problem(classes, count, low=low, high=high, seed=seed)
    with torch.no_grad():
        model.bias -= model(images).mean(0)
        labels = model(images).argmax(1)
    return model, images, labels


def two_layer_problem(seed: int = 0, classes: int = 4, count: int = 12, hidden: int = 16) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A random two-layer ReLU network on 1×4×4 images, its answers as labels; centred as above."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    images = torch.rand(count, 1, 4, 4, generator=generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        output = network[3]
        assert isinstance(output, nn.Linear)
        output.bias -= network(images).mean(0)
        labels = network(images).argmax(1)
    return network, images, labels


def binary_images(count: int, seed: int = 0) -> Tensor:
    """Images (N, 1, 5, 5) whose every feature is exactly 0 or 1."""
    return (torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


def gaps(model: Linear, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For every class the lead of the label over it (N, K), and the slope Wⱼ − W_y of what the attack climbs (N, K, features)."""
    with torch.no_grad():
        logits = model(images)
        lead = logits.gather(1, labels[:, None]) - logits
        slope = model.weight[None] - model.weight[labels][:, None]
    return lead, slope


def smallest_without_box(model: Linear, images: Tensor, labels: Tensor, order: float) -> Tensor:
    """min over j ≠ y of lead / ‖Wⱼ − W_y‖ (N, K) in the dual norm `order`; infinite at the label's own class."""
    lead, slope = gaps(model, images, labels)
    sizes = torch.linalg.vector_norm(slope, order, dim=2)
    return (lead / sizes.clamp_min(1e-30)).scatter(1, labels[:, None], torch.inf)


def smallest_in_box(model: Linear, images: Tensor, labels: Tensor, norm: Literal["l2", "linf"]) -> Tensor:
    """Two classes: the optimum is clip(x + λd) (L2) or clip(x + λ sign d) (L∞), at the λ where the margin is 0."""
    lead, slope = gaps(model, images, labels)
    rows = torch.arange(len(images))
    lead, slope = lead[rows, 1 - labels].double(), slope[rows, 1 - labels].double()
    flat = images.double().flatten(1)
    direction = slope if norm == "l2" else slope.sign()
    low, high = torch.zeros(len(flat), dtype=torch.float64), torch.full((len(flat),), 1e3, dtype=torch.float64)
    for _ in range(80):
        middle = (low + high) / 2
        change = (flat + middle[:, None] * direction).clamp(0, 1) - flat
        enough = (change * slope).sum(1) >= lead
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    change = (flat + high[:, None] * direction).clamp(0, 1) - flat
    reachable = (change * slope).sum(1) >= lead - 1e-9
    return torch.where(reachable, norms(change, norm), torch.inf)
