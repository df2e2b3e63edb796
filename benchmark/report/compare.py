"""Two models, or two runs, side by side: paired differences on the same examples. Unlike things are refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from robustboard.benchmark.diagnose.record import Diagnosis, read_diagnoses
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import marks, unlike
from robustboard.benchmark.report.diagnoses import flags_of, of_model
from robustboard.benchmark.results import read_folder
from robustboard.benchmark.statistics import PairedDifference, paired_difference


@dataclass(frozen=True)
class Comparison:
    """One attack on the two sides: robust accuracies, and b − a over the same n examples. `bounds` (of a, of b): the attack
    failed on some examples, the number is no more than an upper bound, and nothing can be tested."""

    label: str
    n: int
    a: float
    b: float
    paired: PairedDifference
    bounds: tuple[bool, bool] = (False, False)


def compare(a: str, b: str, results: Path) -> str:
    """The comparison as a table. `a` and `b` are two folders of results, or two models ("mnist/relu") within `results`.

    Raises `InputError` when nothing can be compared, and where protocols, examples, parameters or versions differ. Files
    that do not read, cells that only one side has, and marks on either side's numbers, those of its diagnosis among them, are
    named below the table.
    """
    if Path(a).is_dir() and Path(b).is_dir():
        (first, unread_a), (second, unread_b) = _cells(Path(a)), _cells(Path(b))
        ours, theirs, unread = _by_key(first), _by_key(second), unread_a + unread_b
        homes = (Path(a), Path(b))
    else:
        cells, unread = _cells(results)
        ours, theirs = _of_model(a, cells), _of_model(b, cells)
        homes = (results, results)
    common = [key for key in ours if key in theirs]
    if not common:
        raise InputError(f"{a} and {b} have no cell in common: A holds {_kinds(ours)}, B holds {_kinds(theirs)}")
    comparisons = [compare_cells(key, ours[key], theirs[key]) for key in common]
    notes = [f"left alone: {trouble}" for trouble in unread]
    notes += [f"only in A: {key}" for key in ours if key not in theirs] + [
        f"only in B: {key}" for key in theirs if key not in ours
    ]
    for side, shown, home in (("A", ours, homes[0]), ("B", theirs, homes[1])):
        diagnoses, unread = read_diagnoses(home)
        notes += [f"left alone: {trouble}" for trouble in unread]
        notes += [f"▲ {side}: {mark}." for mark in _all_marks(shown, diagnoses)]
    return _table(a, b, comparisons) + "".join(f"{note}\n" for note in dict.fromkeys(notes))


def compare_cells(label: str, a: CellResult, b: CellResult) -> Comparison:
    """Two cells of the same attack on the same examples. Raises `InputError` naming what differs otherwise."""
    difference = unlike(a, b)
    if difference:
        raise InputError(f"{label} cannot be compared: {difference}")
    ours, theirs = _robust(a), _robust(b)
    bounds = a.outcome.upper_bound_only, b.outcome.upper_bound_only
    return Comparison(label, len(ours), sum(ours) / len(ours), sum(theirs) / len(theirs), paired_difference(ours, theirs), bounds)


def _by_key(cells: Sequence[CellResult]) -> dict[str, CellResult]:
    """By protocol, data set, model and attack."""
    return {f"{c.protocol.name}/{c.dataset.name}/{c.model.name}/{c.attack.name}": c for c in cells}


def _all_marks(cells: Mapping[str, CellResult], diagnoses: Sequence[Diagnosis]) -> list[str]:
    """The marks of every model among the cells, each with its model's name."""
    rows: dict[tuple[str, str, str], dict[str, CellResult]] = {}
    for cell in cells.values():
        rows.setdefault((cell.protocol.name, cell.dataset.name, cell.model.name), {})[cell.attack.name] = cell
    found = []
    for (protocol, dataset, model), row in rows.items():
        flags = flags_of(of_model(diagnoses, protocol, dataset, model), row)
        found += [f"{dataset}/{model}: {mark}" for mark in (*marks(row), *flags.doubts, *flags.informs)]
    return found


def _kinds(cells: Mapping[str, CellResult]) -> str:
    """The protocols, data sets and attacks of the cells, in words."""
    return ", ".join(
        sorted({f"{c.protocol.name} v{c.protocol.version} {c.dataset.name} {c.attack.name}" for c in cells.values()})
    )


def _of_model(name: str, cells: Sequence[CellResult]) -> dict[str, CellResult]:
    names = sorted({f"{cell.dataset.name}/{cell.model.name}" for cell in cells})
    if name not in names:
        raise InputError(
            f"there are no results of a model {name!r}{suggest(name, names)}; there are {', '.join(names) or 'none'}"
        )
    found = [cell for cell in cells if f"{cell.dataset.name}/{cell.model.name}" == name]
    protocols = sorted({cell.protocol.name for cell in found})
    if len(protocols) > 1:
        raise InputError(f"{name} has results under {' and '.join(protocols)}: name one protocol's folder with --results")
    return {cell.attack.name: cell for cell in found}


def _cells(folder: Path) -> tuple[list[CellResult], list[str]]:
    cells, unread = read_folder(folder)
    if not cells:
        raise InputError(f"there are no results in {folder}: run robustboard run first, or name a folder that has some")
    return cells, unread


def _robust(cell: CellResult) -> list[int]:
    rows = zip(cell.per_example.correct_clean, cell.per_example.fooled, strict=True)
    return [1 if correct and not fooled else 0 for correct, fooled in rows]


def _table(a: str, b: str, comparisons: Sequence[Comparison]) -> str:
    rows = [[c.label, c.n, _share(c.a, c.bounds[0]), _share(c.b, c.bounds[1]), _difference(c), _p_value(c)] for c in comparisons]
    headers = ["attack", "n", f"A: {a}", f"B: {b}", "B − A [95 %]", "McNemar p"]
    return tabulate(rows, headers=headers, disable_numparse=True) + "\n\nRobust accuracy in %, paired over the same examples.\n"


def _share(value: float, is_bound: bool) -> str:
    return f"≤ {100 * value:.1f} ▲" if is_bound else f"{100 * value:.1f}"


def _difference(c: Comparison) -> str:
    if any(c.bounds):
        return "the attack failed"
    return f"{100 * c.paired.difference:+.1f} [{100 * c.paired.low:+.1f}, {100 * c.paired.high:+.1f}]"


def _p_value(c: Comparison) -> str:
    return "–" if any(c.bounds) else f"{c.paired.p_value:.2g}"
