"""Two models, or two runs, side by side: paired differences on the same examples. Unlike things are refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.report.board import unlike
from robustboard.benchmark.results import CellResult, read_folder
from robustboard.benchmark.statistics import PairedDifference, paired_difference


@dataclass(frozen=True)
class Comparison:
    """One attack on the two sides: robust accuracies, and b − a over the same n examples."""

    label: str
    n: int
    a: float
    b: float
    paired: PairedDifference


def compare(a: str, b: str, results: Path) -> str:
    """The comparison as a table. `a` and `b` are two folders of results, or two models ("mnist/relu") within `results`.

    Raises `InputError` when nothing can be compared, and where protocols, examples, parameters or versions differ.
    """
    if Path(a).is_dir() and Path(b).is_dir():
        return _table(a, b, _compare_runs(_cells(Path(a)), _cells(Path(b))))
    cells = _cells(results)
    return _table(a, b, _compare_models(_of_model(a, cells), _of_model(b, cells)))


def compare_cells(label: str, a: CellResult, b: CellResult) -> Comparison:
    """Two cells of the same attack on the same examples. Raises `InputError` naming what differs otherwise."""
    difference = unlike(a, b)
    if difference:
        raise InputError(f"{label} cannot be compared: {difference}")
    ours, theirs = _robust(a), _robust(b)
    return Comparison(label, len(ours), sum(ours) / len(ours), sum(theirs) / len(theirs), paired_difference(ours, theirs))


def _compare_runs(a: Sequence[CellResult], b: Sequence[CellResult]) -> list[Comparison]:
    ours, theirs = _by_key(a), _by_key(b)
    common = [key for key in ours if key in theirs]
    if not common:
        raise InputError("the two folders have no cell (data set, model, attack) in common")
    protocols = {key[0] for key in common}
    return [compare_cells("/".join(key[1:] if len(protocols) == 1 else key), ours[key], theirs[key]) for key in common]


def _compare_models(a: Mapping[str, CellResult], b: Mapping[str, CellResult]) -> list[Comparison]:
    common = [attack for attack in a if attack in b]
    if not common:
        raise InputError("the two models have no attack in common")
    return [compare_cells(attack, a[attack], b[attack]) for attack in common]


def _by_key(cells: Iterable[CellResult]) -> dict[tuple[str, str, str, str], CellResult]:
    return {(cell.protocol.name, cell.dataset.name, cell.model.name, cell.attack.name): cell for cell in cells}


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


def _cells(folder: Path) -> list[CellResult]:
    cells, _ = read_folder(folder)
    if not cells:
        raise InputError(f"there are no results in {folder}: run robustboard run first, or name a folder that has some")
    return cells


def _robust(cell: CellResult) -> list[int]:
    rows = zip(cell.per_example.correct_clean, cell.per_example.fooled, strict=True)
    return [1 if correct and not fooled else 0 for correct, fooled in rows]


def _table(a: str, b: str, comparisons: Sequence[Comparison]) -> str:
    rows = [
        [
            c.label,
            c.n,
            f"{100 * c.a:.1f}",
            f"{100 * c.b:.1f}",
            f"{100 * c.paired.difference:+.1f} [{100 * c.paired.low:+.1f}, {100 * c.paired.high:+.1f}]",
            f"{c.paired.p_value:.2g}",
        ]
        for c in comparisons
    ]
    headers = ["attack", "n", f"A: {a}", f"B: {b}", "B − A [95 %]", "McNemar p"]
    return tabulate(rows, headers=headers, disable_numparse=True) + "\n\nRobust accuracy in %, paired over the same examples.\n"
