"""The plan of a run: which cells (protocol, data set, model, attack) there are, and what identifies each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from robustboard.attacks.libraries.library import all_cards, missing_distribution
from robustboard.attacks.losses import Head
from robustboard.benchmark.cascade import CASCADE_VERSION, CASCADES, Stage, cascade
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.evaluate import BoundAttack
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.protocols import Protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.subjects import Subject
from robustboard.models.registry import count_parameters, weights_sha256

PRECISION = "float32"


@dataclass(frozen=True)
class PlannedAttack:
    """An attack of a protocol on a data set: its full parameters, its budget, its examples, and how it is made ready to be
    called for a model's head."""

    name: str
    version: int
    parameters: Mapping[str, Any]
    threat: Threat
    indices: Sequence[int]
    bind: Callable[[Head], BoundAttack] = field(repr=False)
    implementation: str = "robustboard"

    @property
    def is_cascade(self) -> bool:
        """Whether it goes on from what the other cells of its norm left."""
        return self.name in CASCADES


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
        return self.identity_under(self.protocol.version)

    def identity_under(self, version: int) -> str:
        """What the identity would be, were this `version` of the protocol the current one."""
        attack, threat = self.attack, self.attack.threat
        return _identity(
            weights=self.model.weights_sha256,
            source=self.model.subject.source,
            code=self.model.code,
            head=self.model.subject.head,
            examples=self.fingerprint,
            indices=list(attack.indices),
            attack=attack.name,
            attack_version=attack.version,
            implementation=attack.implementation,
            parameters=dict(attack.parameters),
            norm=threat.norm,
            epsilon=threat.epsilon,
            seed=self.protocol.seed,
            protocol=[self.protocol.name, version],
        )


def recorded_identity(cell: CellResult) -> str:
    """The identity that follows from what a result says of itself."""
    attack = cell.attack
    return _identity(
        weights=cell.model.weights_sha256,
        source=cell.model.source,
        code=cell.model.code,
        head=cell.model.head,
        examples=cell.dataset.fingerprint,
        indices=cell.dataset.indices,
        attack=attack.name,
        attack_version=attack.version,
        implementation=attack.implementation,
        parameters=attack.params,
        norm=attack.norm,
        epsilon=int(attack.eps) if attack.norm == "l0" else attack.eps,  # features are counted in whole numbers
        seed=cell.environment.seed,
        protocol=[cell.protocol.name, cell.protocol.version],
    )


def _identity(*, code: str, attack_version: int, **parts: object) -> str:
    """The hash of everything that decides a result; code of the user's own counts where there is some."""
    parts |= {"attack version": attack_version, "precision": PRECISION, **({"code": code} if code else {})}
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


def chosen_attacks(protocol: Protocol, names: Sequence[str] | None) -> list[str]:
    """The attacks of a run: the protocol's, or those named; worst cases come last. Raises `InputError` for one that does not
    exist, whose library is not installed, or for a worst case of which the protocol does not say how it is found."""
    cards = all_cards()
    wanted = list(dict.fromkeys(names or protocol.attacks))
    known = [*cards, *CASCADES]
    for name in wanted:
        if name not in known:
            raise InputError(f"there is no attack {name!r}{suggest(name, known)}; the attacks are {', '.join(known)}")
        if name in CASCADES and name not in protocol.cascades:
            raise InputError(f"protocol {protocol.name} has no cascade of attacks for {name}: add one, or leave {name} out")
        missing = None if name in CASCADES else missing_distribution(cards[name])
        if missing:
            raise InputError(f"the attack {name!r} needs the package {missing}, which is not installed: make libraries")
    return sorted(wanted, key=lambda name: name in CASCADES)


def plan_attack(protocol: Protocol, name: str, data_set: Dataset) -> PlannedAttack:
    """An attack with the protocol's strength for a data set. Raises `InputError` when the protocol's numbers cannot work."""
    indices = protocol.examples(data_set.name, name, len(data_set.labels))
    if name in CASCADES:
        return _plan_cascade(protocol, name, data_set, indices)
    card = all_cards()[name]
    given = protocol.parameters(data_set.name, card)
    try:
        card.check_parameters(given)
    except ValueError as trouble:
        raise InputError(f"protocol {protocol.name}, {data_set.name}: {trouble}") from trouble
    threat = protocol.threat(data_set.name, card, data_set.images[0].numel())

    def bind(head: Head) -> BoundAttack:
        return card.bind(head, **given)

    return PlannedAttack(name, card.version, card.settings(given), threat, indices, bind, card.implementation)


def _plan_cascade(protocol: Protocol, name: str, data_set: Dataset, indices: Sequence[int]) -> PlannedAttack:
    stages = [plan_attack(protocol, stage, data_set) for stage in protocol.cascades[name]]
    parameters = {f"stage {number}": _described(stage) for number, stage in enumerate(stages, 1)}
    threat = Threat(CASCADES[name], stages[0].threat.epsilon, "budget")

    def bind(head: Head) -> BoundAttack:
        return cascade([Stage(stage.name, stage.bind(head), stage.threat) for stage in stages], head)

    return PlannedAttack(name, CASCADE_VERSION, parameters, threat, indices, bind)


def _described(stage: PlannedAttack) -> str:
    """Everything that decides what a stage does: "bim 1: loss margin, steps 40, step 0.0333"."""
    return f"{stage.name} {stage.version}: " + ", ".join(f"{key} {value}" for key, value in sorted(stage.parameters.items()))


def cell_path(folder: Path, dataset: str, model: str, attack: str) -> Path:
    """Where a cell lives inside its protocol's folder."""
    return folder / dataset / model / f"{attack.replace(':', '-')}.json"
