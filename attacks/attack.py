"""What an attack is: a function from images to candidates, and the card that says what it promises.

Every attack has the signature `attack(model, images, labels, keys, *, epsilon, …) -> Proposal`, where `model` maps
(N, C, H, W) float32 in [0, 1] to logits (N, K), `labels` is (N,) int64 and `keys` (N,) int64 seeds each example's own
randomness. It leaves the model's modes, parameters and `.grad` and the global random state as they were.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Norm = Literal["linf", "l2", "l0"]
Aim = Literal["budget", "minimum", "confidence"]
"""Stay within ε; find the smallest perturbation; make a wrong class as confident as ε allows."""


@dataclass(frozen=True)
class Proposal:
    """What an attack offers for judging: candidates (N, C, H, W) and how many iterations each took (N,) int64.

    `from_start` (N,) bool, where an attack has a cheap start: True where the start's candidate was not improved upon.
    """

    images: Tensor
    iterations: Tensor
    from_start: Tensor | None = None


class Attack(Protocol):
    """The signature every attack shares; further parameters are its own, by keyword, with defaults."""

    def __call__(
        self, model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, **parameters: Any
    ) -> Proposal: ...


@dataclass(frozen=True)
class AttackCard:
    """An attack and what it promises. `version` rises whenever the same input would give another output.

    `preset`: the parameters that make this name (the loss of `fgsm_ce`). `epsilon` is in units of `norm`; an attack
    with the aim "minimum" is told ε only to report at it. `check` refuses, by ValueError, parameters that cannot work;
    it takes those it needs by name. A `head` parameter is filled in from the model, not from a protocol.
    """

    name: str
    function: Callable[..., Proposal]
    norm: Norm
    aim: Aim
    version: int
    source: str
    needs_gradient: bool = True
    preset: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[..., None] | None = None

    def parameters(self) -> dict[str, Any]:
        """Every parameter a protocol may set, with its default; what only bounds memory is not among them."""
        signature = inspect.signature(self.function).parameters.values()
        hidden = {"epsilon", "targets", "row_cap", "head"}
        own = {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY and p.name not in hidden}
        return {**own, **self.preset}

    @property
    def takes_head(self) -> bool:
        """Whether the attack must be told how logits become confidences."""
        return "head" in inspect.signature(self.function).parameters

    def bind(self, **parameters: Any) -> Callable[..., Proposal]:
        """The function with its preset and `parameters` filled in. Raises ValueError for a parameter it does not have."""
        unknown = sorted(set(parameters) - set(self.parameters()) - {"row_cap", "head"})
        if unknown:
            raise ValueError(f"attack {self.name} has no parameter {unknown[0]!r}; it has {', '.join(self.parameters())}")
        if self.check is not None:
            settings = {**self.parameters(), **parameters}
            self.check(**{name: settings[name] for name in inspect.signature(self.check).parameters})
        given = {**self.preset, **parameters}

        def attack(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float) -> Proposal:
            return self.function(model, images, labels, keys, epsilon=epsilon, **given)

        return attack


_cards: dict[str, AttackCard] = {}
Function = TypeVar("Function", bound=Callable[..., Proposal])


def register(name: str, **card: Any) -> Callable[[Function], Function]:
    """Put the decorated attack on the list under `name`. Raises ValueError when the name is taken."""

    def put(function: Function) -> Function:
        if name in _cards:
            raise ValueError(f"two attacks are named {name!r}")
        _cards[name] = AttackCard(name=name, function=function, **card)
        return function

    return put


def attack_cards() -> Mapping[str, AttackCard]:
    """Every attack by name; each file of this folder is imported once, so that writing the file is all it takes."""
    package = importlib.import_module("robustboard.attacks")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:
            importlib.import_module(f"robustboard.attacks.{module.name}")
    return dict(sorted(_cards.items()))


def logits_and_gradient(model: Model, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and one backward pass: logits (N, K), loss values (N,) and each example's gradient, like `images`.

    The sum over the batch is differentiated, so that row i of the gradient is that of example i's own loss.
    """
    with torch.enable_grad():
        variable = images.detach().requires_grad_(True)
        logits = model(variable)
        values = loss(logits)
        (gradient,) = torch.autograd.grad(values.sum(), variable)
    return logits.detach(), values.detach(), gradient
