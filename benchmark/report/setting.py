"""What the numbers of several rows were measured with, in one line."""

from __future__ import annotations

from collections.abc import Iterable

from robustboard.attacks.attack import Norm
from robustboard.benchmark.radii import radius
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row

SIGNS: dict[Norm, str] = {"linf": "L∞", "l2": "L2"}


def setting(rows: Iterable[Row]) -> str:
    """The protocol and its version, ε, and on how many examples what ran; "" of rows without cells."""
    cells = [cell for row in rows for cell in row.cells.values()]
    if not cells:
        return ""
    sizes: dict[int, set[str]] = {}
    for cell in cells:
        sizes.setdefault(cell.outcome.n, set()).add(cell.attack.name)
    usual = max(sizes, key=lambda n: len(sizes[n]))
    fewer = "".join(f", {_listed(sorted(names))} on {n}" for n, names in sorted(sizes.items()) if n != usual)
    protocol = cells[0].protocol
    return f"protocol `{protocol.name}` v{protocol.version}, {', '.join([*budgets(cells), f'n = {usual}'])}{fewer}"


def budgets(cells: Iterable[CellResult]) -> list[str]:
    """ "L∞ ε = 0.3", "L2 ε = 2", of the norms that were asked for."""
    radii = {cell.attack.norm: cell.attack.eps for cell in cells}
    return [f"{sign} ε = {radius(radii[norm])}" for norm, sign in SIGNS.items() if norm in radii]


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]
