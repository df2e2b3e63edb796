"""Robust accuracy against ε for each attack on one model, from its cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from robustboard.benchmark.plots.curves import Curve, draw, from_cells
from robustboard.benchmark.plots.picture import About, Picture
from robustboard.benchmark.plots.style import plain
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import BANDS, BOUND, cell_words, mark_notes, marked, name_of, where
from robustboard.benchmark.records import CellResult

NOTE = (
    f"{BOUND} The curve of a minimum-norm attack falls where its candidates are. An attack that is confined to ε is known where "
    "it was run, which is a marker with its bar; at other ε plot sweep runs it. Curves of different n are of different sets of "
    f"examples. Dotted: the protocol's ε. {BANDS}"
)


def cells_by_attack(cells: Iterable[CellResult], elsewhere: Iterable[CellResult] = ()) -> list[list[CellResult]]:
    """The cells of each curve: each of `cells` with those `elsewhere` that differ from it in ε alone; minimum-norm attacks that
    are only `elsewhere` come after them."""
    others = list(elsewhere)
    found = {cell.attack.name: [cell, *_at_other_radii(cell, others)] for cell in cells}
    for cell in others:
        if cell.attack.aim == "minimum":
            found.setdefault(cell.attack.name, [cell])
    return list(found.values())


def curve_of(cells: Sequence[CellResult]) -> Curve:
    """The curve, its name marked where the attack failed on an example."""
    broken = any(cell.outcome.upper_bound_only for cell in cells)
    return replace(from_cells(cells), name=marked(plain(cells[0].attack.name), broken))


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` where it has no cells."""
    row = view.row
    found = cells_by_attack(view.cells(row), view.elsewhere(row))
    if not found:
        raise view.lacks(["bim", "cw"])
    curves = [curve_of(cells) for cells in found]
    notes = (NOTE, *(cell_words(cells, view.board) for cells in found), *mark_notes([row]))
    about = About("Robust accuracy against ε", where(view.board, [curve.n for curve in curves], name_of(row)), notes)
    return Picture("epsilon", view.board.dataset, row.model, about, draw(curves, about))


def _at_other_radii(cell: CellResult, others: Iterable[CellResult]) -> list[CellResult]:
    """Of `others` those that are `cell` but for ε, one a radius."""
    found = {other.attack.eps: other for other in others if _but_for_radius(other) == _but_for_radius(cell)}
    found.pop(cell.attack.eps, None)
    return list(found.values())


def _but_for_radius(cell: CellResult) -> tuple[object, ...]:
    attack = cell.attack
    return (
        (cell.model.weights_sha256, cell.model.code, cell.dataset.fingerprint, cell.dataset.indices, cell.environment.seed),
        (attack.name, attack.implementation, attack.version, attack.norm, attack.aim, sorted(attack.params.items())),
    )
