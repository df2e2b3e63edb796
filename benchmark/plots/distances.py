"""How far minimum-norm attacks had to go: the distribution of the distances found, a row a model, or a row an attack."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustboard.attacks.attack import Norm
from robustboard.benchmark.plots.bands import Values
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import COLOURS, FAINT, SMALL, TEXT, plain, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import (
    NORMS,
    UNITS,
    absent_notes,
    cell_words,
    mark_notes,
    name_of,
    signed,
    where,
)
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row

BINS = 48
_ROW = 0.42
NOTE = (
    "Hills: how many of the examples right clean lie at which distance; line: from the first to the third quartile; "
    "diamond: the median, where those never fooled count as infinitely far; unfooled: how many of those right clean were "
    "fooled at no distance; →: how many lie beyond the axis. The shortest distances found: the true ones are no longer. "
    "Dotted: the protocol's ε."
)
SHARED = (
    "Of each norm the examples that all of its attacks saw, where there are any: a median can differ from the table's, which is "
    "over all examples of its attack."
)


@dataclass(frozen=True)
class Distances:
    """What an attack found for one model: the distances (K,) of the examples right clean and found, how many were right and
    never found, and n, clean errors included."""

    model: str
    attack: str
    norm: Norm
    found: Values
    unfooled: int
    n: int
    epsilon: float
    sign: str = ""

    def quantile(self, share: float) -> float:
        """The distance within which `share` of the examples right clean are fooled, infinite where it is not reached."""
        count = int(np.ceil(share * (len(self.found) + self.unfooled)))
        return float(np.sort(self.found)[max(count, 1) - 1]) if max(count, 1) <= len(self.found) else float("inf")


def of_cell(cell: CellResult, sign: str = "", among: Collection[int] | None = None) -> Distances:
    """The distances in the cell of a minimum-norm attack, on the examples of the data set that are `among` these, or on all."""
    examples, indices = cell.per_example, cell.dataset.indices
    rows = [
        (right, distance if hit else None)
        for index, right, hit, distance in zip(indices, examples.correct_clean, examples.found, examples.distance, strict=True)
        if among is None or index in among
    ]
    right = [distance for right, distance in rows if right]
    found = np.array([distance for distance in right if distance is not None])
    attack = cell.attack
    return Distances(cell.model.name, attack.name, attack.norm, found, len(right) - len(found), len(rows), attack.eps, sign)


def shared(cells: Sequence[CellResult]) -> dict[Norm, frozenset[int]]:
    """Of each norm the examples that all of its cells saw: medians over others are not to be compared."""
    found: dict[Norm, frozenset[int]] = {}
    for cell in cells:
        seen = frozenset(cell.dataset.indices)
        found[cell.attack.norm] = found.get(cell.attack.norm, seen) & seen
    return found


def picture(view: View) -> Picture:
    """The picture of a board, or of one row. Raises `InputError` where no minimum-norm attack was run."""
    found = [(row, cell) for row in view.rows for cell in _cells(view, row)]
    if not found:
        raise view.lacks(["cw", "jsma"])
    order = list(dict.fromkeys([*view.board.attacks, *(cell.attack.name for _, cell in found)]))
    found.sort(key=lambda pair: order.index(pair[1].attack.name))
    there = [row for row in view.rows if any(row is owner for owner, _ in found)]
    is_alone = len(there) == 1
    attacks = dict.fromkeys(cell_words([cell], view.board) for _, cell in found)
    notes = (NOTE, *([SHARED] if is_alone else []), *attacks, *absent_notes(view.rows, there, ["cw", "jsma"]), *mark_notes(there))
    among = shared([cell for _, cell in found]) if is_alone else {}
    shown = [of_cell(cell, row.sign, among.get(cell.attack.norm) or None) for row, cell in found]
    model = name_of(view.row) if view.scope == "model" else ""
    about = About("Distances of minimum-norm attacks", where(view.board, [each.n for each in shown], model), notes)
    return Picture("distances", view.board.dataset, view.model, about, draw(shown, about))


@styled
def draw(shown: Sequence[Distances], about: About) -> Figure:
    """A panel an attack with a row a model; of one model a panel a norm with a row an attack."""
    alone = len({each.model for each in shown}) == 1
    keys = [each.norm if alone else f"{plain(each.attack)} (n = {each.n})" for each in shown]
    panels: dict[str, list[Distances]] = {}
    for key, each in zip(keys, shown, strict=True):
        panels.setdefault(key, []).append(each)
    heights = [_ROW * len(rows) + 0.75 for rows in panels.values()]
    figure = sheet(about, sum(heights))
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (heading, rows) in zip(axes, panels.items(), strict=True):
        panel.set_title(NORMS[rows[0].norm] if alone else heading)
        names = [f"{plain(each.attack)} (n = {each.n})" if alone else plain(each.model) for each in rows]
        _panel(panel, rows, [signed(name, each.sign) for name, each in zip(names, rows, strict=True)])
    return figure


def _panel(axes: Axes, rows: Sequence[Distances], names: Sequence[str]) -> None:
    end = _end(rows)
    edges = _edges(rows[0].norm, end)
    for place, each in enumerate(reversed(rows)):
        _hill(axes, each, place, edges)
        beyond = int((each.found > end).sum())
        text = f"{each.unfooled} unfooled" + (f", {beyond} →" if beyond else "")
        axes.annotate(text, (1.01, place + 0.25), xycoords=("axes fraction", "data"), size=SMALL, color=FAINT)
    for epsilon in sorted({each.epsilon for each in rows}):
        axes.axvline(epsilon, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.5)
    axes.set(xlim=(0, end), ylim=(-0.25, len(rows)), yticks=np.arange(len(rows)) + 0.2, yticklabels=list(reversed(names)))
    axes.set_xlabel(UNITS[rows[0].norm])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _end(rows: Sequence[Distances]) -> float:
    """Where the axis ends: at the largest distance, or where a few that lie far out would leave the others no room, before
    them."""
    inner = [each.quantile(0.75) for each in rows]
    wanted = [3 * value for value in inner if np.isfinite(value)]
    largest = max((float(each.found.max()) for each in rows if len(each.found)), default=0.0)
    epsilon = max(each.epsilon for each in rows)
    return 1.05 * max(min(largest, max(wanted, default=largest)), epsilon) or 1.0


def _hill(axes: Axes, each: Distances, place: int, edges: Values) -> None:
    counts = np.histogram(each.found, edges)[0].astype(np.float64)
    heights = 0.85 * counts / counts.max() if counts.max(initial=0) else counts
    axes.stairs(place + heights, edges, baseline=place, fill=True, color=COLOURS[0], alpha=0.35, linewidth=0)
    axes.stairs(place + heights, edges, baseline=place, color=COLOURS[0], linewidth=0.8)
    low, middle, high = (each.quantile(share) for share in (0.25, 0.5, 0.75))
    if np.isfinite(low):
        axes.plot([low, min(high, float(edges[-1]))], [place - 0.1] * 2, color=TEXT, linewidth=2.0, solid_capstyle="butt")
    if np.isfinite(middle):
        axes.plot([middle], [place - 0.1], marker="D", color="white", markeredgecolor=TEXT, markersize=5)


def _edges(norm: Norm, end: float) -> Values:
    """The bins' ends. JSMA changes features in pairs: bins of whole pairs, around even numbers."""
    if norm != "l0":
        return np.linspace(0, end, BINS + 1)
    pairs = int(np.ceil(end / 2 / BINS))
    return np.arange(-1.0, end + 2 * pairs, 2 * pairs)


def _cells(view: View, row: Row) -> list[CellResult]:
    """The row's cells of minimum-norm attacks; for a picture of one model those that only other boards have, too."""
    cells = [*view.cells(row), *(view.elsewhere(row) if view.scope == "model" else ())]
    named: dict[str, CellResult] = {}
    for cell in cells:
        if cell.attack.aim == "minimum":
            named.setdefault(cell.attack.name, cell)
    return list(named.values())
