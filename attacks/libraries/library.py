"""What the libraries' attacks share: their cards, and a call that leaves the model and the random state as they were.

A library's attack is called "library:attack". Its parameters have the names of the attack here where there is a like one,
and the library's own defaults: the point is to show what someone gets. The numbers that a protocol gives an attack hold
for the library's, too, where the parameter means the same (`AttackCard.shared`: the steps of `bim`, but not α, which
torchattacks and ART give in pixel units, nor the steps of `cw`, which the fast one here takes after a start).

Libraries draw from global random states. These are forked around each call and seeded from the batch's keys: a run can be
repeated, but which numbers an example gets depends on its batch. No library is imported before one of its attacks is called.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustboard.attacks.attack import AttackCard, Function, Model, Proposal, attack_cards, logits_of

DISTRIBUTIONS = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "art": "adversarial-robustness-toolbox",
    "adv_lib": "adv-lib",
}
"""library, as it is imported and as its attacks are prefixed -> the distribution that it is installed by."""

_cards: dict[str, AttackCard] = {}


def library_cards() -> Mapping[str, AttackCard]:
    """Every library attack by name, whether or not its library is installed."""
    for library in DISTRIBUTIONS:
        importlib.import_module(f"robustboard.attacks.libraries.{library}")
    return dict(_cards)


def all_cards() -> Mapping[str, AttackCard]:
    """The attacks here and, after them, the libraries'."""
    return {**attack_cards(), **library_cards()}


def missing_distribution(card: AttackCard) -> str | None:
    """What has to be installed before the attack can be called, None where nothing is missing."""
    library, colon, _ = card.name.rpartition(":")
    return DISTRIBUTIONS[library] if colon and _version(library) is None else None


def register(name: str, *, shared: tuple[str, ...] = (), **card: Any) -> Callable[[Function], Function]:
    """Put the decorated function on the list as `name`, "library:attack", called through `isolated`. What it is without
    that, `inspect.unwrap` tells. Raises ValueError when the name is taken."""
    library = name.partition(":")[0]
    implementation = f"{library} {_version(library) or '(not installed)'}"

    def put(function: Function) -> Function:
        if name in _cards:
            raise ValueError(f"two attacks are named {name!r}")

        @functools.wraps(function)
        def attack(model: Model, images: Tensor, labels: Tensor, keys: Tensor, **parameters: Any) -> Proposal:
            with isolated(model, keys):
                made = function(model, images, labels, keys, **parameters)
            return replace(made, images=made.images.detach())

        _cards[name] = AttackCard(name=name, function=attack, version=1, implementation=implementation, shared=shared, **card)
        return function

    return put


@contextmanager
def isolated(model: Model, keys: Tensor) -> Iterator[None]:
    """Random states of torch, NumPy and Python seeded from `keys` (N,), and afterwards as they were, like every module's
    mode and every parameter's `.grad`."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[keys.device] if keys.device.type == "cuda" else []):
            torch.manual_seed(seed_of(keys))
            np.random.seed(seed_of(keys))
            random.seed(seed_of(keys))
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for module, training in zip(modules, modes, strict=True):
            module.training = training
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def seed_of(keys: Tensor) -> int:
    """A seed in [0, 2³¹) from all keys (N,) of a batch."""
    return int(keys.sum()) % 2**31


class Handed(nn.Module):
    """The model as libraries want it: an `nn.Module`, in the model's own mode, with at least one parameter, which tells
    torchattacks the device."""

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.place = nn.Parameter(torch.empty(0, device=device))
        self.training = getattr(model, "training", False)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def load(library: str) -> Any:
    """The library, imported; torchvision, which some of them import, may need help beside a CPU build of torch first."""
    importlib.import_module("robustboard.torchvision_compatibility")
    return importlib.import_module(library)


def count_classes(model: Model, images: Tensor) -> int:
    """K, from the logits (1, K) of the first image: someone who calls a library knows the number of classes."""
    return logits_of(model, images[:1]).shape[1]


def proposed(images: Tensor, candidates: Tensor, iterations: int) -> Proposal:
    """The library's candidates; it does not say how many iterations an example took, so it is the number asked for."""
    return Proposal(candidates, torch.full((len(images),), iterations, dtype=torch.int64, device=images.device))


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(DISTRIBUTIONS[library])
    except importlib.metadata.PackageNotFoundError:
        return None
