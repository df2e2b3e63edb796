"""Robust accuracy against ε for each attack on one model, from its cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from robustboard.benchmark.plots.curves import Curve, draw, from_cells
from robustboard.benchmark.plots.picture import About, Picture
from robustboard.benchmark.plots.style import plain
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import BANDS, BOUND, attack_words, mark_notes, marked, name_of, where
from robustboard.benchmark.records import AttackBlock, CellResult

NOTE = (
    f"{BOUND} A curve falls where a candidate of the attack is nearest: exact for minimum-norm attacks; one that was run within "
    "ε (marker with its bar) may fool more at smaller ε than is known, so that its curve is a bound there. Dotted: the "
    f"protocol's ε. {BANDS}"
)


def curves_of(cells: Iterable[CellResult], elsewhere: Iterable[CellResult] = ()) -> list[tuple[Curve, AttackBlock]]:
    """A curve an attack, and what the attack is: the cells take in those `elsewhere` that differ from them in ε alone;
    minimum-norm attacks that are only `elsewhere` come after them."""
    others, found = list(elsewhere), {}
    for cell in cells:
        found[cell.attack.name] = (_shown(cell, [cell, *_at_other_radii(cell, others)]), cell.attack)
    for cell in others:
        if cell.attack.aim == "minimum" and cell.attack.name not in found:
            found[cell.attack.name] = (_shown(cell, [cell]), cell.attack)
    return list(found.values())


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` where it has no cells."""
    row = view.row
    curves = curves_of(view.cells(row), view.elsewhere(row))
    if not curves:
        raise view.lacks(["bim", "cw"])
    notes = (NOTE, *(attack_words(block) for _, block in curves), *mark_notes([row]))
    drawn = [curve for curve, _ in curves]
    about = About("Robust accuracy against ε", where(view.board, [curve.n for curve in drawn], name_of(row)), notes)
    return Picture("epsilon", view.board.dataset, row.model, about, draw(drawn, about))


def _shown(cell: CellResult, cells: list[CellResult]) -> Curve:
    """The curve, its name marked where an attack failed on an example."""
    broken = any(each.outcome.upper_bound_only for each in cells)
    return replace(from_cells(cells), name=marked(plain(cell.attack.name), broken))


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
