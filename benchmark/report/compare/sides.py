"""What A and B of a comparison mean: folders, models, or attacks on a model; their cells, side by side by label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from robustboard.benchmark.certify.record import read_certificates
from robustboard.benchmark.diagnose.record import read_diagnoses
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.results import read_folder, read_manifests

Kind = Literal["folders", "models", "attacks"]


@dataclass(frozen=True)
class Sides:
    """The cells of A and of B by label, what is compared, one sentence a file that could not be read, and what a board tells of
    either side's models: a sign and a sentence each, as `Row.told` has them."""

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
class _Counted:
    """A row of a board, by protocol, data set and model: the cells that it counts and what it tells."""

    key: tuple[str, str, str]
    cells: list[CellResult]
    told: list[tuple[str, str]]


@dataclass(frozen=True)
class _Home:
    """Everything in one folder of results: the cells that its boards count, in the order of paths, and what they tell of each
    row."""

    folder: Path
    cells: list[CellResult]
    told: Mapping[tuple[str, str, str], Sequence[tuple[str, str]]]
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
        """What the boards tell of every model among the cells that are shown, each behind its sign and its model's name."""
        rows = dict.fromkeys(_row(cell) for cell in shown.values())
        return tuple(dict.fromkeys((sign, f"{row[1]}/{row[2]}: {mark}") for row in rows for sign, mark in self.told[row]))


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


def _board(cell: CellResult) -> tuple[str, str]:
    return cell.protocol.name, cell.dataset.name


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
    manifests, of_manifests = read_manifests(folder)
    certificates, of_certificates = read_certificates(folder)
    diagnoses, of_diagnoses = read_diagnoses(folder)
    boards = partial(make_boards, manifests=manifests, certificates=certificates, diagnoses=diagnoses)
    rows = _counted(cells, boards, (_board, _row))
    counted = {id(cell) for row in rows for cell in row.cells}
    current = [cell for cell in cells if id(cell) in counted]
    unread = [*unread, *of_manifests, *of_certificates, *of_diagnoses]
    return _Home(folder, current, {row.key: row.told for row in rows}, unread)


def _counted(
    cells: Sequence[CellResult],
    boards: Callable[[Sequence[CellResult]], Sequence[Board]],
    parts: Sequence[Callable[[CellResult], tuple[str, ...]]],
) -> list[_Counted]:
    """The rows of the boards of all cells. Where they cannot stand in one table, those of each part: what A and B are asked about
    may be like where others are not. A row that makes no table by itself has all its cells, and tells why."""
    try:
        return [
            _Counted((board.protocol, board.dataset, row.model), list(row.cells.values()), row.told())
            for board in boards(cells)
            for row in board.rows
        ]
    except InputError as trouble:
        if not parts:
            return [_Counted(_row(cells[0]), list(cells), [("▲", str(trouble))])]
    found: dict[tuple[str, ...], list[CellResult]] = {}
    for cell in cells:
        found.setdefault(parts[0](cell), []).append(cell)
    return [row for some in found.values() for row in _counted(some, boards, parts[1:])]
