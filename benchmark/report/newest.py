"""Of a model's cells those that count: of its newest weights and code, one an attack; and a mark on each that is left out."""

from __future__ import annotations

from collections.abc import Sequence

from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult


def newest(cells: Sequence[CellResult]) -> tuple[dict[str, CellResult], list[str]]:
    """A model's cells by attack, those of its newest weights only, and a mark on each that is left out. Raises `InputError`
    when there are two different results of one cell."""
    current, stale = _of_newest(cells)
    shown: dict[str, CellResult] = {}
    for cell in current:
        there = shown.setdefault(cell.attack.name, cell)
        if there.identity != cell.identity:
            raise InputError(
                f"{cell.model.name}: there are two different results of {cell.attack.name}; report their folders one at a time"
            )
    for name in [name for name in CASCADES if name in shown]:
        gone = [other for other, identity in shown[name].joined.items() if shown.get(other, shown[name]).identity != identity]
        if gone:
            stale.append(f"{name} went on from an older {' and '.join(gone)} and is not counted: run it again")
            del shown[name]
    return shown, stale


def _of_newest(cells: Sequence[CellResult]) -> tuple[list[CellResult], list[str]]:
    """Those of the newest weights and code, and a mark on each of the others."""
    latest = max(cells, key=lambda cell: cell.environment.finished)
    current, stale = [], []
    for cell in cells:
        if _model_of(cell) == _model_of(latest):
            current.append(cell)
            continue
        what = "weights" if cell.model.weights_sha256 != latest.model.weights_sha256 else "code"
        stale.append(f"{cell.attack.name} was run on other {what} and is not shown: run it again")
    return current, stale


def _model_of(cell: CellResult) -> tuple[str, str, str]:
    return cell.model.weights_sha256, cell.model.source, cell.model.code
