"""What A and B of a comparison mean: folders, models, or attacks on a model; their cells, side by side by label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from robustboard.benchmark.diagnose.record import Diagnosis, read_diagnoses
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row, marks, of_newest
from robustboard.benchmark.report.diagnoses import flags_of, of_model, under_others
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.results import read_folder

Kind = Literal["folders", "models", "attacks"]


@dataclass(frozen=True)
class Sides:
    """The cells of A and of B by label, what is compared, one sentence a file that could not be read, and the marks of either
    side's models, those of their diagnoses among them: a sign and a sentence each, as `Row.told` has them."""

    kind: Kind
    a: dict[str, CellResult]
    b: dict[str, CellResult]
    unread: list[str]
    marks_a: tuple[tuple[str, str], ...] = ()
    marks_b: tuple[tuple[str, str], ...] = ()

    @property
    def shared(self) -> list[str]:
        """The labels that both sides have, in A's order."""
        return [label for label in self.a if label in self.b]


@dataclass(frozen=True)
class _Home:
    """Everything in one folder of results, the cells of each model's newest weights only, and by row a mark on each of the
    others."""

    folder: Path
    cells: list[CellResult]
    stale: Mapping[tuple[str, str, str], Sequence[str]]
    diagnoses: list[Diagnosis]
    unread: list[str]

    def chosen(self, attacks: Sequence[str]) -> list[CellResult]:
        """The cells of these attacks, all where none is named. Raises `InputError` for one that has none."""
        known = sorted({cell.attack.name for cell in self.cells})
        for attack in attacks:
            if attack not in known:
                raise InputError(
                    f"there are no results of {attack!r} in {self.folder}{suggest(attack, known)}; there are {', '.join(known)}"
                )
        return [cell for cell in self.cells if cell.attack.name in attacks or not attacks]

    def marks(self, shown: Mapping[str, CellResult]) -> tuple[tuple[str, str], ...]:
        """The marks of every model among the cells that are shown, each behind its sign and its model's name; a diagnosis goes
        by all of its model's cells."""
        rows: dict[tuple[str, str, str], dict[str, CellResult]] = {}
        for cell in shown.values():
            rows.setdefault(_row(cell), {})[cell.attack.name] = cell
        found: list[tuple[str, str]] = []
        for row, cells in rows.items():
            all_of_it = {cell.attack.name: cell for cell in self.cells if _row(cell) == row}
            flags = flags_of(of_model(self.diagnoses, *row), all_of_it, under_others(self.diagnoses, *row))
            all_marks = (*marks(cells), *self.stale[row], *flags.doubts, *flags.informs)
            told = Row(row[2], cells, marks=all_marks, informing=flags.informs).told()
            found += [(sign, f"{row[1]}/{row[2]}: {mark}") for sign, mark in told]
        return tuple(dict.fromkeys(found))


def read_sides(a: str, b: str, results: Path, attacks: Sequence[str] = ()) -> Sides:
    """The sides of two folders, of two models in `results` ("mnist/relu"), or of two attacks in `results` on one model or on
    two ("mnist/relu:cw", "mnist/relu:torchattacks:cw"); of the cells of `attacks` only, where any are named.

    Raises `InputError` where something that was named is not there, where a side has two results of one cell, and where A and
    B have no cell in common.
    """
    are_folders = [Path(name).is_dir() for name in (a, b)]
    if all(are_folders):
        homes = _read(Path(a)), _read(Path(b))
        first, second = (home.chosen(attacks) for home in homes)
        unread = homes[0].unread + homes[1].unread
        sides = Sides("folders", _labelled(first, _full_label, a), _labelled(second, _full_label, b), unread)
    else:
        homes = (_read(results),) * 2
        cells, unread = homes[0].chosen(attacks), homes[0].unread
        names = {_model(cell) for cell in cells}
        for name, other, is_folder in ((a, b, are_folders[0]), (b, a, are_folders[1])):
            if is_folder and name not in names:
                raise InputError(f"{name} is a folder and {other} is none: name two folders, or two models")
        sides = _of_models(a, b, cells, unread)
    if not sides.shared:
        raise InputError(f"{a} and {b} have no cell in common: A holds {_kinds(sides.a)}, B holds {_kinds(sides.b)}")
    return replace(sides, marks_a=homes[0].marks(sides.a), marks_b=homes[1].marks(sides.b))


def _of_models(a: str, b: str, cells: Sequence[CellResult], unread: list[str]) -> Sides:
    (model_a, attack_a), (model_b, attack_b) = _parsed(a, cells), _parsed(b, cells)
    ours, theirs = _of_model(model_a, cells), _of_model(model_b, cells)
    if attack_a is None and attack_b is None:
        return Sides("models", ours, theirs, unread)
    if attack_a is None or attack_b is None:
        raise InputError(f"{a if attack_a else b} names an attack and {b if attack_a else a} does not: name one on both sides")
    first, second = _of_attack(attack_a, model_a, ours), _of_attack(attack_b, model_b, theirs)
    if attack_a == attack_b:
        return Sides("models", {attack_a: first}, {attack_b: second}, unread)
    if model_a != model_b:
        raise InputError(f"{a} and {b} differ in the model and in the attack: change one at a time")
    label = f"{attack_a} → {attack_b}"
    return Sides("attacks", {label: first}, {label: second}, unread)


def _parsed(name: str, cells: Sequence[CellResult]) -> tuple[str, str | None]:
    """The model that is meant, and the attack behind a colon, if there is one. A model's own name may hold colons."""
    models = sorted({_model(cell) for cell in cells}, key=len, reverse=True)
    for model in models:
        if name == model:
            return model, None
        if name.startswith(f"{model}:"):
            return model, name.removeprefix(f"{model}:")
    known = [for_terminal(model) for model in sorted(models)]
    raise InputError(f"there are no results of a model {name!r}{suggest(name, known)}; there are {', '.join(known) or 'none'}")


def _of_model(name: str, cells: Sequence[CellResult]) -> dict[str, CellResult]:
    found = [cell for cell in cells if _model(cell) == name]
    protocols = sorted({cell.protocol.name for cell in found})
    if len(protocols) > 1:
        raise InputError(f"{name} has results under {' and '.join(protocols)}: name one protocol's folder with --results")
    return _labelled(found, lambda cell: cell.attack.name, name)


def _of_attack(attack: str, model: str, cells: dict[str, CellResult]) -> CellResult:
    if attack not in cells:
        raise InputError(f"there are no results of {attack!r} on {model}{suggest(attack, cells)}; there are {', '.join(cells)}")
    return cells[attack]


def _labelled(cells: Sequence[CellResult], label: Callable[[CellResult], str], side: str) -> dict[str, CellResult]:
    found: dict[str, CellResult] = {}
    for cell in cells:
        there = found.setdefault(label(cell), cell)
        if there.identity != cell.identity:
            raise InputError(f"{side} has two different results of {label(cell)}: name the folder of one run")
    return found


def _full_label(cell: CellResult) -> str:
    """Without the version, which may be what differs."""
    return f"{cell.protocol.name}/{_model(cell)}/{cell.attack.name}"


def _row(cell: CellResult) -> tuple[str, str, str]:
    return cell.protocol.name, cell.dataset.name, cell.model.name


def _model(cell: CellResult) -> str:
    return f"{cell.dataset.name}/{cell.model.name}"


def _kinds(cells: dict[str, CellResult]) -> str:
    """What there is, in words: "standard v4 digits (bim, cw), standard v4 mnist (bim)"."""
    attacks: dict[str, set[str]] = {}
    for cell in cells.values():
        attacks.setdefault(f"{cell.protocol.name} v{cell.protocol.version} {cell.dataset.name}", set()).add(cell.attack.name)
    return ", ".join(f"{where} ({', '.join(sorted(names))})" for where, names in sorted(attacks.items()))


def _read(folder: Path) -> _Home:
    cells, unread = read_folder(folder)
    if not cells:
        raise InputError(f"there are no results in {folder}: run robustboard run first, or name a folder that has some")
    rows: dict[tuple[str, str, str], list[CellResult]] = {}
    for cell in cells:
        rows.setdefault(_row(cell), []).append(cell)
    newest = {row: of_newest(found) for row, found in rows.items()}
    current = [cell for found, _ in newest.values() for cell in found]
    diagnoses, unread_diagnoses = read_diagnoses(folder)
    return _Home(folder, current, {row: stale for row, (_, stale) in newest.items()}, diagnoses, unread + unread_diagnoses)
