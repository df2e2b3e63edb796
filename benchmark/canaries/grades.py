"""Grades: what an implementation did on each canary, kept as JSON beside the results, shown as a table and under the boards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from tabulate import tabulate

from robustboard.attacks.attack import AttackCard
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.results import CANARIES_FILE, write_atomically


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Grade:
    """One implementation on one canary. What a canary does not ask of an attack has no grade."""

    implementation: str
    """The attack's name: "cw", "torchattacks:cw"."""
    version: str
    """Whose code in which version: "robustboard, version 1", "torchattacks 3.5.1, version 1"."""
    canary: str
    """The canary's name."""
    verdict: Literal["pass", "fail"]
    """Whether the implementation did what is asked."""
    value: float | None
    """The share of the known optimum, or of the examples that must fall; null where the canary has no such number."""
    reason: str
    """What was wrong, empty for a pass."""


_GRADES = TypeAdapter(list[Grade])
COMMITTED = Path(__file__).resolve().parents[2] / "leaderboards" / CANARIES_FILE
"""The grades of the attacks that are installed here, where the package is a checkout's."""


def version_of(implementation: str, version: int) -> str:
    """The text by which a grade knows what was graded, from a card or from a cell's attack block."""
    return f"{implementation}, version {version}"


def card_version(card: AttackCard) -> str:
    """`version_of` a card."""
    return version_of(card.implementation, card.version)


def as_json(grades: Sequence[Grade]) -> str:
    """A JSON list, one line a grade."""
    lines = [json.dumps(grade, ensure_ascii=False) for grade in _GRADES.dump_python(list(grades))]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def read_grades(path: Path) -> list[Grade]:
    """The grades in a file, none where there is no file. Raises `InputError` when it does not read."""
    if not path.is_file():
        return []
    try:
        return _GRADES.validate_json(path.read_bytes())
    except (OSError, ValidationError) as trouble:
        raise InputError(f"{path} holds no grades: write it again by robustboard canaries --write") from trouble


def update(mine: Sequence[Grade], folder: Path) -> None:
    """Put an implementation's grades into the folder's JSON, in place of its old ones: a run that is cut short loses none."""
    names = {grade.implementation for grade in mine}
    kept = [grade for grade in read_grades(folder / CANARIES_FILE) if grade.implementation not in names]
    write_atomically(folder / CANARIES_FILE, as_json([*kept, *mine]))


def write_page(legend: Mapping[str, str], notes: Sequence[str], order: Sequence[str], folder: Path) -> None:
    """Render the folder's JSON as its Markdown page, implementations and canaries (the keys of `legend`) in their order;
    grades of what is in neither are dropped."""
    known = [g for g in read_grades(folder / CANARIES_FILE) if g.implementation in order and g.canary in legend]
    canaries = list(legend)
    known.sort(key=lambda grade: (order.index(grade.implementation), canaries.index(grade.canary)))
    write_atomically(folder / CANARIES_FILE, as_json(known))
    write_atomically(folder / "canaries.md", page(known, legend, notes))


def find_grades(folders: Sequence[Path]) -> list[Grade]:
    """The grades kept beside results, in the folders themselves or up to three folders above; else those committed with the
    package, wherever the folders are. None for a package that was installed without its leaderboards."""
    for folder in folders:
        for place in (folder, *list(folder.resolve().parents)[:3]):
            if (place / CANARIES_FILE).is_file():
                return read_grades(place / CANARIES_FILE)
    return read_grades(COMMITTED)


def summary(grades: Sequence[Grade], implementation: str, version: str) -> str | None:
    """ "20/20", with ▲ where a canary failed, None where this version of the implementation was not graded."""
    mine = [grade for grade in grades if (grade.implementation, grade.version) == (implementation, version)]
    if not mine:
        return None
    passed = sum(grade.verdict == "pass" for grade in mine)
    return f"{passed}/{len(mine)}{'' if passed == len(mine) else ' ▲'}"


def table(grades: Sequence[Grade], canaries: Sequence[str]) -> str:
    """Implementations against canaries in Markdown: ✓ or ✗, with the share of the known optimum where there is one; – where
    nothing is asked."""
    cells = {(grade.implementation, grade.canary): _cell(grade) for grade in grades}
    rows = [[name, passed, *(cells.get((name, canary), "–") for canary in canaries)] for name, passed in _passed(grades).items()]
    return tabulate(rows, headers=["implementation", "passed", *canaries], tablefmt="github", disable_numparse=True)


def lines(grades: Sequence[Grade]) -> str:
    """One row an implementation for the terminal: how many canaries it passed, and those it failed."""
    failed: dict[str, list[str]] = {}
    for grade in grades:
        if grade.verdict == "fail":
            number = "" if grade.value is None else f" {grade.value:.2f}"
            failed.setdefault(grade.implementation, []).append(f"{grade.canary}{number}")
    rows = [[name, passed, ", ".join(failed.get(name, []))] for name, passed in _passed(grades).items()]
    return tabulate(rows, headers=["implementation", "passed", "failed"], maxcolwidths=[None, None, 90], disable_numparse=True)


def _passed(grades: Sequence[Grade]) -> dict[str, str]:
    """implementation -> "12/20 ▲"."""
    versions = {grade.implementation: grade.version for grade in grades}
    return {name: summary(grades, name, version) or "" for name, version in versions.items()}


def page(grades: Sequence[Grade], legend: Mapping[str, str], notes: Sequence[str]) -> str:
    """The Markdown page: the table, what each canary asks, and what was not graded."""
    asked = "\n".join(f"- **{name}**: {text}" for name, text in legend.items())
    versions = sorted({grade.version for grade in grades})
    return "\n".join(
        [
            "# Canaries",
            "",
            "Models with known answers, on which every implementation of an attack is graded by the judge of the boards. ✓ and ✗",
            "say whether it did what the canary asks; a number is the share of the known optimum (minimum-norm attacks) or of",
            "the examples that must fall (all others); – where the canary asks nothing of the attack.",
            "`robustboard canaries --write` makes this page; `canaries.json` beside it says why each ✗ is one.",
            "",
            "`fgsm_ce`, `bim_ce`, `pgd_ce` and `apgd_ce` climb log (1 − p) / p, p the label's probability: its gradient points",
            "where cross-entropy's does and does not underflow. Cross-entropy as it is written, the libraries', has none on a",
            'confident model (scale 100); nor has `bim` here with `loss = "cross_entropy"`, which the diagnosis compares with.',
            "",
            table(grades, list(legend)),
            "",
            f"Graded: {' · '.join(versions)}.",
            "",
            *(f"- {note}" for note in notes),
            "",
            "## What each asks",
            "",
            asked,
            "",
        ]
    )


def _cell(grade: Grade) -> str:
    sign = "✓" if grade.verdict == "pass" else "✗"
    return sign if grade.value is None else f"{sign} {grade.value:.2f}"
