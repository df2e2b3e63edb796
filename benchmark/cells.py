"""The plan of a run: which cells (protocol, data set, model, attack) there are, and what identifies each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from robustboard.attacks.attack import AttackCard
from robustboard.attacks.libraries.library import all_cards, missing_distribution
from robustboard.attacks.losses import Head
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.evaluate import BoundAttack
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.protocols import Protocol
from robustboard.benchmark.subjects import Subject
from robustboard.models.registry import count_parameters, weights_sha256

PRECISION = "float32"


@dataclass(frozen=True)
class PlannedAttack:
    """An attack of a protocol on a data set: its card, its full parameters, its budget and its examples."""

    card: AttackCard
    parameters: Mapping[str, Any]
    threat: Threat
    indices: Sequence[int]

    def bound(self, head: Head) -> BoundAttack:
        """The attack ready to be called, told the model's head if it asks for it."""
        return self.card.bind(head, **self.parameters)


@dataclass(frozen=True)
class BuiltModel:
    """A subject with its network in memory."""

    subject: Subject
    network: nn.Module = field(repr=False)
    weights_sha256: str
    parameters: int
    code: str = ""


@dataclass(frozen=True)
class Cell:
    """The unit of work. Equal `identity`, equal result."""

    protocol: Protocol
    model: BuiltModel
    attack: PlannedAttack
    examples: Dataset = field(repr=False)
    fingerprint: str
    path: Path

    @property
    def identity(self) -> str:
        """A hash of everything that decides the result."""
        parts = {
            "weights": self.model.weights_sha256,
            "source": self.model.subject.source,
            **({"code": self.model.code} if self.model.code else {}),
            "head": self.model.subject.head,
            "examples": self.fingerprint,
            "indices": list(self.attack.indices),
            "attack": self.attack.card.name,
            "attack version": self.attack.card.version,
            "implementation": self.attack.card.implementation,
            "parameters": dict(self.attack.parameters),
            "norm": self.attack.threat.norm,
            "epsilon": self.attack.threat.epsilon,
            "seed": self.protocol.seed,
            "precision": PRECISION,
            "protocol": [self.protocol.name, self.protocol.version],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build(subject: Subject) -> BuiltModel:
    """Build a subject's network and hash it. Raises `ModelFaultError` or `InputError` when that fails."""
    network = subject.build()
    return BuiltModel(
        subject,
        network,
        subject.weights_sha256 or weights_sha256(network),
        subject.parameters or count_parameters(network),
        subject.code(),
    )


def chosen_attacks(protocol: Protocol, names: Sequence[str] | None) -> list[AttackCard]:
    """The attacks of a run: the protocol's, or those named. Raises `InputError` for one that does not exist, or whose library
    is not installed."""
    cards = all_cards()
    wanted = list(dict.fromkeys(names or protocol.attacks))
    for name in wanted:
        if name not in cards:
            raise InputError(f"there is no attack {name!r}{suggest(name, cards)}; the attacks are {', '.join(cards)}")
        missing = missing_distribution(cards[name])
        if missing:
            raise InputError(f"the attack {name!r} needs the package {missing}, which is not installed: make libraries")
    return [cards[name] for name in wanted]


def plan_attack(protocol: Protocol, card: AttackCard, data_set: Dataset) -> PlannedAttack:
    """An attack with the protocol's strength for a data set. Raises `InputError` when the protocol's numbers cannot work."""
    given = protocol.parameters(data_set.name, card)
    parameters = {**card.parameters(), **given}
    try:
        card.check_parameters(given)
    except ValueError as trouble:
        raise InputError(f"protocol {protocol.name}, {data_set.name}: {trouble}") from trouble
    features = data_set.images[0].numel()
    indices = protocol.examples(data_set.name, card.name, len(data_set.labels))
    return PlannedAttack(card, parameters, protocol.threat(data_set.name, card, features), indices)


def cell_path(folder: Path, dataset: str, model: str, attack: str) -> Path:
    """Where a cell lives inside its protocol's folder."""
    return folder / dataset / model / f"{attack.replace(':', '-')}.json"
