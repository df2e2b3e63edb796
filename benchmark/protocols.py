"""Protocols: which examples, which attacks, how strong. TOML files, read once, every number in one place.

A protocol is identified by name and version. Another choice of examples or ε makes it another protocol, named so.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from robustboard.attacks.attack import AttackCard
from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.judge import Threat

HOME = Path(__file__).resolve().parent / "protocols"
_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
Parameter = bool | int | float | str


@dataclass(frozen=True, config=_CONFIG)
class DatasetPlan:
    """What a protocol does with one data set."""

    n: int
    """Examples: the first n of the test set."""
    linf: float
    """L∞ budget."""
    l2: float
    """L2 radius at which minimum-norm attacks are reported."""
    gamma: float
    """L0 budget as a share of the features."""
    fewer: dict[str, int] = field(default_factory=dict)
    """attack -> n, where an attack is given fewer examples than the rest."""
    attacks: dict[str, dict[str, Parameter]] = field(default_factory=dict)
    """attack -> parameters that differ from its defaults."""


@dataclass(frozen=True, config=_CONFIG)
class Protocol:
    """A named, versioned way of measuring."""

    name: str
    version: int
    title: str
    seed: int
    attacks: list[str]
    datasets: dict[str, DatasetPlan]
    models: list[str] = field(default_factory=lambda: ["*"])
    """Globs over the registry for a run that names no models; "tag:T" takes the entries tagged T."""
    cascades: dict[str, list[str]] = field(default_factory=dict)
    """worst case -> the attacks sent, one after the other, at whoever survived all else in its norm."""
    indices: list[int] | None = None
    """Test-set positions that replace "the first n", from --indices."""

    def plan(self, dataset: str) -> DatasetPlan:
        """The plan for a data set. Raises `InputError` when the protocol has none."""
        if dataset not in self.datasets:
            raise InputError(f"protocol {self.name} says nothing about {dataset}; it covers {', '.join(self.datasets)}")
        return self.datasets[dataset]

    def examples(self, dataset: str, attack: str, available: int) -> list[int]:
        """The test-set positions an attack is given, a library's the same as the attack here. Raises `InputError` when there are
        not that many."""
        if self.indices is not None:
            if self.indices and max(self.indices) >= available:
                raise InputError(f"--indices asks for example {max(self.indices)}; {dataset} has {available} test examples")
            return list(self.indices)
        plan = self.plan(dataset)
        n = plan.fewer.get(attack, plan.fewer.get(attack.rpartition(":")[2], plan.n))
        if n > available:
            raise InputError(f"n = {n} is larger than {dataset}'s test set of {available} examples: give a smaller --n")
        return list(range(n))

    def threat(self, dataset: str, card: AttackCard, features: int) -> Threat:
        """The budget of an attack on images of `features` features."""
        plan = self.plan(dataset)
        epsilon = {"linf": plan.linf, "l2": plan.l2, "l0": math.floor(plan.gamma * features)}[card.norm]
        return Threat(card.norm, epsilon, card.aim)

    def parameters(self, dataset: str, card: AttackCard) -> Mapping[str, Parameter]:
        """The parameters this protocol gives an attack; the others are its defaults. A library's attack is given those of
        the attack here, too, as far as they mean the same."""
        given = self.plan(dataset).attacks
        like = given.get(card.own_name, {})
        return {**{name: like[name] for name in card.shared if name in like}, **given.get(card.name, {})}


_PROTOCOL = TypeAdapter(Protocol)


def protocol_names() -> list[str]:
    """The protocols that come with the project."""
    return sorted(path.stem for path in HOME.glob("*.toml"))


def load_protocol(name: str) -> Protocol:
    """A protocol by name, or from a TOML file of the user's own by its path. Raises `InputError` when there is none or it
    does not read; a file of the user's own may not take an official name."""
    official = HOME / f"{name}.toml"
    path = official if name in protocol_names() else Path(name)
    if not path.is_file():
        names = protocol_names()
        raise InputError(
            f"there is no protocol {name!r}{suggest(name, names)}; give {', '.join(names)} or the path of a TOML file"
        )
    try:
        protocol = _PROTOCOL.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as trouble:
        first = trouble.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"protocol file {path} does not read: {where}: {first['msg']}") from trouble
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as trouble:
        raise InputError(f"protocol file {path} does not read: {trouble}") from trouble
    _check(protocol, path)
    if path != official and protocol.name in protocol_names():
        raise InputError(f"protocol file {path} calls itself {protocol.name!r}, an official name: give it one of its own")
    return protocol


def adjusted(
    protocol: Protocol, *, n: int | None, epsilon: float | None, indices: Path | None, seed: int | None = None
) -> Protocol:
    """The protocol with the command line's changes, and a name that says so. Raises `InputError` on bad values."""
    if n is not None and indices is not None:
        raise InputError("--n and --indices both choose the examples: give one of them")
    if n is not None:
        if n < 1:
            raise InputError(f"--n must be at least 1, got {n}")
        plans = {name: replace(plan, n=n, fewer={}) for name, plan in protocol.datasets.items()}
        protocol = replace(protocol, name=f"{protocol.name}@{n}", datasets=plans, title=f"{protocol.title} (first {n} examples)")
    if indices is not None:
        chosen = _read_indices(indices)
        digest = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:8]
        protocol = replace(
            protocol,
            name=f"{protocol.name}@indices-{digest}",
            indices=chosen,
            title=f"{protocol.title} ({len(chosen)} examples of {indices.name})",
        )
    if epsilon is not None:
        if not 0 <= epsilon <= 1:
            raise InputError(f"--eps is an L∞ radius in [0, 1], got {epsilon:g}; 8/255 is 0.03137")
        plans = {name: replace(plan, linf=epsilon) for name, plan in protocol.datasets.items()}
        protocol = replace(
            protocol,
            name=f"{protocol.name}@eps-{epsilon!r}",
            datasets=plans,
            title=f"{protocol.title} (L∞ ε = {epsilon:g})",
        )
    if seed is not None and seed != protocol.seed:
        protocol = replace(protocol, name=f"{protocol.name}@seed-{seed}", seed=seed, title=f"{protocol.title} (seed {seed})")
    return protocol


def digest(protocol: Protocol) -> str:
    """A hash of every number in a protocol but its version, those left to an attack's defaults included."""
    content = _PROTOCOL.dump_python(protocol)
    del content["version"]
    if not protocol.cascades:  # as the digests of older protocols, which had none, were made
        del content["cascades"]
    cards = all_cards()
    for name in protocol.datasets:
        given = {attack: protocol.parameters(name, cards[attack]) for attack in _run_attacks(protocol)}
        content["datasets"][name]["attacks"] = {key: cards[key].settings(values) for key, values in given.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _run_attacks(protocol: Protocol) -> list[str]:
    """The attacks a protocol has numbers for: those it runs and those of its cascades, each once."""
    stages = [stage for stages in protocol.cascades.values() for stage in stages]
    return list(dict.fromkeys([*(name for name in protocol.attacks if name not in CASCADES), *stages]))


def _check(protocol: Protocol, path: Path) -> None:
    if not protocol.name.isprintable() or not protocol.name or set("/\\@") & set(protocol.name) or protocol.name.startswith("."):
        raise InputError(f"protocol file {path}: {protocol.name!r} cannot name a folder of results")
    if not protocol.attacks or not protocol.datasets:
        raise InputError(f"protocol file {path}: it needs at least one attack and one data set")
    cards = all_cards()
    stages = [stage for stages in protocol.cascades.values() for stage in stages]
    tuned = [name for plan in protocol.datasets.values() for name in plan.attacks]
    sized = [name for plan in protocol.datasets.values() for name in plan.fewer]
    for name in [*stages, *tuned, *(name for name in [*protocol.attacks, *sized] if name not in CASCADES)]:
        if name not in cards:
            raise InputError(f"protocol file {path}: there is no attack {name!r}{suggest(name, [*cards, *CASCADES])}")
    _check_cascades(protocol, path)
    for name, plan in protocol.datasets.items():
        if plan.n < 1 or min([plan.n, *plan.fewer.values()]) < 1:
            raise InputError(f"protocol file {path}: {name}: n must be at least 1")
        if not 0 <= plan.linf <= 1 or plan.l2 < 0 or not 0 <= plan.gamma <= 1:
            raise InputError(f"protocol file {path}: {name}: budgets must be linf in [0, 1], l2 ≥ 0, gamma in [0, 1]")


def _check_cascades(protocol: Protocol, path: Path) -> None:
    for name, stages in protocol.cascades.items():
        if name not in CASCADES:
            raise InputError(f"protocol file {path}: there is no worst case {name!r}{suggest(name, CASCADES)}")
        norms = {all_cards()[stage].norm for stage in stages}
        if norms != {CASCADES[name]}:
            wrong = f"its stages are {', '.join(sorted(norms))}" if norms else "it has no stages"
            raise InputError(f"protocol file {path}: {name} is for {CASCADES[name]}, {wrong}")
    for name in protocol.attacks:
        if name in CASCADES and name not in protocol.cascades:
            raise InputError(f"protocol file {path}: {name} needs a list of attacks under [cascades]")


def _read_indices(path: Path) -> list[int]:
    try:
        chosen = TypeAdapter(list[int]).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as trouble:
        raise InputError(f"--indices {path} is no JSON list of test-set positions") from trouble
    if not chosen or min(chosen) < 0 or len(set(chosen)) != len(chosen):
        raise InputError(f"--indices {path} must hold at least one position, none negative, none twice")
    return chosen
