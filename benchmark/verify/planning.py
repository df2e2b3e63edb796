"""Whether a cell ran what its protocol asks for: a weaker attack, a smaller ε or other examples are no result of it."""

from __future__ import annotations

from collections.abc import Mapping

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.cells import PlannedAttack, plan_attack
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.protocols import Protocol, load_protocol, protocol_names
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.alike import ABSENT, Difference, differing
from robustboard.benchmark.verify.agreement import Causes


def check_plan(cell: CellResult, data_set: Dataset, causes: Causes) -> None:
    """Add in what the cell's attack is another than its protocol's on this data set, or why the two could not be compared. Of
    `standard@200` and the like only the strength is: what the command line chose is in the name."""
    name, _, chosen = cell.protocol.name.partition("@")
    if name not in protocol_names():
        causes.remark("its protocol is none of the project's: what that asks for was not compared")
        return
    protocol, attack = load_protocol(name), cell.attack
    if protocol.version != cell.protocol.version:
        causes.remark(f"protocol {name} is of version {protocol.version} here: what its own version asks for was not compared")
        return
    if attack.name not in (*all_cards(), *protocol.cascades):
        causes.remark(f"protocol {name} knows no attack of its name: its strength was not compared")
        return
    planned = plan_attack(protocol, attack.name, data_set)
    if _versions(attack.name, attack.version, attack.params) != _versions(attack.name, planned.version, planned.parameters):
        causes.remark("its attack is of another version here: its strength was not compared")
        return
    differences = [*_strength(planned, cell), *([] if chosen else _question(protocol, planned, cell))]
    if differences:
        causes.say(f"it is not what protocol {name} v{protocol.version} asks for: {differences[0]}")


def _versions(name: str, version: int, params: Mapping[str, object]) -> list[object]:
    """The version of an attack; of a cascade also those of its stages, "pgd_t 1: …" each."""
    return [version, *([str(value).partition(":")[0] for value in params.values()] if name in CASCADES else [])]


def _strength(planned: PlannedAttack, cell: CellResult) -> list[Difference]:
    ran = cell.attack.params
    keys = sorted({*planned.parameters, *ran})
    return differing(
        ("norm", planned.threat.norm, cell.attack.norm),
        ("aim", planned.threat.aim, cell.attack.aim),
        *((key, planned.parameters.get(key, ABSENT), ran.get(key, ABSENT)) for key in keys),
    )


def _question(protocol: Protocol, planned: PlannedAttack, cell: CellResult) -> list[Difference]:
    asked, looked_at = list(planned.indices), cell.dataset.indices
    return differing(
        ("eps", planned.threat.epsilon, cell.attack.eps),
        ("seed", protocol.seed, cell.environment.seed),
        ("n", len(asked), len(looked_at)),
        ("example", *next(((mine, its) for mine, its in zip(asked, looked_at, strict=False) if mine != its), (0, 0))),
    )
