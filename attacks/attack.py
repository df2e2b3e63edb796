"""What an attack is: a function from images to candidates, and the card that says what it promises.

Every attack has the signature `attack(model, images, labels, keys, *, epsilon, …) -> Proposal`, where `model` maps
(N, C, H, W) float32 in [0, 1] to logits (N, K), `labels` is (N,) int64 and `keys` (N,) int64 seeds each example's own
randomness. It leaves the model's modes, parameters and `.grad` and the global random state as they were.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, cast, get_args, get_type_hints

import torch
from torch import Tensor

from robustboard.attacks.losses import Head

Model = Callable[[Tensor], Tensor]
Norm = Literal["linf", "l2", "l0"]
Aim = Literal["budget", "minimum", "confidence"]
"""Stay within ε; find the smallest perturbation; make a wrong class as confident as ε allows."""


@dataclass(frozen=True)
class Proposal:
    """What an attack offers for judging: candidates (N, C, H, W) and how many iterations each took (N,) int64.

    `from_start` (N,) bool, where an attack has a cheap start: True where the start's candidate was not improved upon.
    `failures`, one an example or none at all: why an attack could not do its work on it, "" where it could.
    """

    images: Tensor
    iterations: Tensor
    from_start: Tensor | None = None
    failures: Sequence[str] = ()


class Attack(Protocol):
    """The signature every attack shares; further parameters are its own, by keyword, with defaults."""

    def __call__(
        self, model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, **parameters: Any
    ) -> Proposal: ...


@dataclass(frozen=True)
class AttackCard:
    """An attack and what it promises. `version` rises whenever the same input would give another output.

    `preset`: the parameters that make this name (the loss of `fgsm_ce`). `neutral`: parameters that came later, with the
    value at which the output is what it was without them, which is their default: records leave them out there, so that
    results from before stay what they are. `epsilon` is in units of `norm`; an attack with the aim "minimum" is told ε only
    to report at it. `check` refuses, by ValueError, parameters that cannot work; it takes those it needs by name. A `head`
    parameter is filled in from the model, a `norm` parameter from the card. `implementation` says whose code it is, a
    library's with its version; `shared` names those
    parameters of a library's attack that mean the same as those of the attack here, so that a protocol's numbers hold for
    both.
    """

    name: str
    function: Callable[..., Proposal]
    norm: Norm
    aim: Aim
    version: int
    source: str
    needs_gradient: bool = True
    preset: Mapping[str, Any] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[..., None] | None = None
    implementation: str = "robustboard"
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where a parameter that records may leave out has another default than they mean by that."""
        defaults = self.parameters()
        for name, value in self.neutral.items():
            if defaults[name] != value:
                raise ValueError(f"{self.name}: {name} is left out of records at {value}, but its default is {defaults[name]}")

    @property
    def own_name(self) -> str:
        """The name of the attack here that does the same: "cw" for "torchattacks:cw", its own name for all others."""
        return self.name.rpartition(":")[2]

    def parameters(self) -> dict[str, Any]:
        """Every parameter a protocol may set, with its default; what only bounds memory is not among them."""
        signature = inspect.signature(self.function).parameters.values()
        hidden = {"epsilon", "targets", "row_cap", "head", "norm"}
        own = {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY and p.name not in hidden}
        return {**own, **self.preset}

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter with its value, `given` or default, that decides the output: none at its neutral value."""
        values = {**self.parameters(), **given}
        return {name: value for name, value in values.items() if name not in self.neutral or value != self.neutral[name]}

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Raise ValueError for a parameter the attack does not have, or a value it cannot work with."""
        known, hints = self.parameters(), get_type_hints(self.function)
        checked = set() if self.check is None else set(inspect.signature(self.check).parameters)
        for name, value in parameters.items():
            if name not in known:
                raise ValueError(f"attack {self.name} has no parameter {name!r}; it has {', '.join(known)}")
            if value != self.preset.get(name, value):
                raise ValueError(f"{self.name} stands for {name} = {self.preset[name]!r}, got {value!r}: name another attack")
            _check_value(f"{self.name}: {name}", value, known[name], get_args(hints[name]), any_sign=name in checked)
        if self.check is not None:
            settings = {**known, **parameters}
            self.check(**{name: settings[name] for name in checked})

    def bind(self, head: Head = "softmax", **parameters: Any) -> Callable[..., Proposal]:
        """The function with its preset, `parameters` and, if it asks for it, the model's `head` filled in; called with
        `row_share` below 1 it takes that share of the rows it would at once. Raises ValueError as `check_parameters`."""
        self.check_parameters(parameters)
        asks = inspect.signature(self.function).parameters
        told = {"head": head, "norm": self.norm}
        given = {**self.preset, **parameters, **{name: value for name, value in told.items() if name in asks}}
        cap = asks["row_cap"].default if "row_cap" in asks else None

        def attack(
            model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0
        ) -> Proposal:
            limit = {} if cap is None else {"row_cap": max(2, int(cap * row_share))}
            return self.function(model, images, labels, keys, epsilon=epsilon, **given, **limit)

        return attack


def _check_value(what: str, value: object, default: object, choices: tuple[object, ...], *, any_sign: bool) -> None:
    """Counts are whole and at least 1, other numbers finite and positive (0 where that is the default), words are choices."""
    if isinstance(default, str):
        if value not in choices:
            raise ValueError(f"{what} must be one of {', '.join(map(str, choices))}, got {value!r}")
        return
    if isinstance(value, bool) or not isinstance(value, int if isinstance(default, int) else int | float):
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{what} must be {kind}, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite, got {value!r}")
    if not any_sign and (value < 0 or (value == 0 and default != 0)):
        raise ValueError(f"{what} must be {'at least 1' if isinstance(default, int) else 'above 0'}, got {value!r}")


_cards: dict[str, AttackCard] = {}
Function = TypeVar("Function", bound=Callable[..., Proposal])


def register(name: str, **card: Any) -> Callable[[Function], Function]:
    """Put the decorated attack on the list under `name`; it then refuses a batch as `check_batch` does. Raises ValueError
    when the name is taken, or as the card does."""

    def put(function: Function) -> Function:
        if name in _cards:
            raise ValueError(f"two attacks are named {name!r}")
        bare: Callable[..., Proposal] = getattr(function, "unchecked", function)

        @functools.wraps(bare)
        def attack(model: Model, images: Tensor, labels: Tensor, keys: Tensor, **parameters: Any) -> Proposal:
            check_batch(images, labels)
            return bare(model, images, labels, keys, **parameters)

        attack.unchecked = bare  # type: ignore[attr-defined]  # registered twice, as under two names, it is checked once
        _cards[name] = AttackCard(name=name, function=attack, **card)
        return cast("Function", attack)

    return put


def check_batch(images: object, labels: object) -> None:
    """Raise ValueError unless these are images (N, C, H, W) of floating point in [0, 1] and whole labels (N,), none negative:
    what normalised images would come back as is clipped to a box that is not theirs."""
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise ValueError(f"images and labels must be torch tensors, got {type(images).__name__} and {type(labels).__name__}")
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(f"images must be floating point (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    if labels.shape != images.shape[:1] or not len(labels) or labels.is_floating_point():
        raise ValueError(f"labels must be integers ({len(images)},), got {labels.dtype} {tuple(labels.shape)}")
    low, high = (float(edge) for edge in images.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images must lie in [0, 1], these go from {low:g} to {high:g}: divide, and normalise inside the model")
    if int(labels.min()) < 0:
        raise ValueError(f"labels must not be negative, the lowest is {int(labels.min())}")


def register_linf_and_l2(name: str, **card: Any) -> Callable[[Function], Function]:
    """Put the decorated attack, which has a `norm` parameter, on the list twice: `name` in L∞, `name`_l2 in L2."""

    def put(function: Function) -> Function:
        register(name, norm="linf", **card)(function)
        return register(f"{name}_l2", norm="l2", **card)(function)

    return put


def attack_cards() -> Mapping[str, AttackCard]:
    """Every attack by name; each file of this folder is imported once, so that writing the file is all it takes."""
    package = importlib.import_module("robustboard.attacks")
    for module in pkgutil.iter_modules(package.__path__):
        name = f"robustboard.attacks.{module.name}"
        # A strict editable install keeps a dangling link to a file that is gone until it is made anew.
        if not module.ispkg and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    return dict(sorted(_cards.items()))


def logits_of(model: Model, images: Tensor) -> Tensor:
    """One forward pass: logits (N, K) without a graph. Raises FloatingPointError when they are not finite."""
    with torch.no_grad():
        return finite(model(images), "outputs")


def logits_and_gradient(model: Model, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and one backward pass: logits (N, K), loss values (N,) and each example's gradient, like `images`.

    The sum over the batch is differentiated, so that row i of the gradient is that of example i's own loss. Raises
    FloatingPointError when logits or gradients are not finite: an attack that went on would hand back the clean image,
    and its failure would pass for robustness.
    """
    with torch.enable_grad():
        variable = images.detach().requires_grad_(True)
        logits = finite(model(variable), "outputs")
        values = loss(logits)
        (gradient,) = torch.autograd.grad(values.sum(), variable)
    return logits.detach(), values.detach(), finite(gradient, "gradients")


def finite(values: Tensor, what: str) -> Tensor:
    """`values` as they are. Raises FloatingPointError, naming the model's `what`, where any is NaN or infinite."""
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError(f"the model's {what} are not finite on the way")
    return values
