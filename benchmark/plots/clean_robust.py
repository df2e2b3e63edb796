"""Clean against robust accuracy: the models of a board as points with their intervals, their size as the points' area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robustboard.attacks.attack import Norm
from robustboard.benchmark.plots.bands import Values, bars
from robustboard.benchmark.plots.picture import WIDTH, About, Picture, sheet
from robustboard.benchmark.plots.placing import place_labels
from robustboard.benchmark.plots.style import COLOURS, FAINT, SMALL, TEXT, fitted, styled, text_width
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import (
    BANDS,
    BOUND,
    NORMS,
    absent_notes,
    attack_words,
    mark_notes,
    signed,
    where,
)
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.report.setting import budgets
from robustboard.benchmark.report.tables import is_bound

HEIGHT, KEY_LINE, KEY_GAP, KEY_COLUMNS = 3.4, 0.16, 0.3, 2
"""Inches of a panel, of a line of the key below, and of what is left free around the key."""
FIGURE_SPACE = "\u2007"
LARGEST = 120.0
"""Square points that the largest model's disc takes."""
NOTE = (
    "Robust: the worst case over the attacks of the norm, example by example. Discs: the area is the number of parameters, "
    "which stands in brackets. Numbers as in the key; in a crowd not every disc has room for its own. Hollow: no more than an "
    f"upper bound, because attacks are missing or failed. {BOUND} {BANDS}"
)


@dataclass(frozen=True)
class Point:
    """A model: how many of `clean_n` are right clean and of `n` stand in the worst case, its parameters, and whether its worst
    case is less than it should be (`bound`) or its row is marked (`sign`)."""

    model: str
    clean: int
    clean_n: int
    robust: int
    n: int
    parameters: int
    bound: bool = False
    sign: str = ""

    @property
    def place(self) -> tuple[float, float]:
        """Clean and robust accuracy."""
        return self.clean / self.clean_n, self.robust / self.n

    @property
    def reach(self) -> tuple[Values, Values]:
        """How far the intervals of the two reach, below and above: (2, 1) each."""
        return bars(np.array([self.clean]), self.clean_n), bars(np.array([self.robust]), self.n)


def of_row(row: Row, norm: Norm) -> Point | None:
    """The row's point, None where it has no attack of the norm."""
    worst = row.worst_case(norm) if row.cells else None
    if worst is None:
        return None
    cell = row.any_cell()
    right = round(cell.outcome.clean_accuracy * cell.outcome.n)
    is_bounded = is_bound(row, worst, norm)
    return Point(row.model, right, cell.outcome.n, worst.robust, worst.n, cell.model.parameters, is_bounded, row.sign)


def picture(view: View) -> Picture:
    """The picture of a board. Raises `InputError` where no row has an L∞ or L2 attack."""
    norms: list[Norm] = ["linf", "l2"]
    panels = {norm: [point for row in view.rows if (point := of_row(row, norm)) is not None] for norm in norms}
    panels = {norm: points for norm, points in panels.items() if points}
    if not panels:
        raise view.lacks(["bim", "cw"])
    names = {point.model for points in panels.values() for point in points}
    shown = [row for row in view.rows if row.model in names]
    cells = [cell for row in shown for cell in row.cells.values()]
    within = " · ".join(budgets(cell for cell in cells if cell.attack.norm in panels))
    joined = dict.fromkeys(attack_words(cell.attack) for cell in cells if cell.attack.norm in panels)
    notes = (NOTE, "Joined where they ran:", *joined, *absent_notes(view.rows, shown, ["bim", "cw"]), *mark_notes(shown))
    place = f"{where(view.board, [point.n for points in panels.values() for point in points])} · {within}"
    about = About("Clean against robust accuracy", place, notes)
    return Picture("clean_robust", view.board.dataset, "", about, draw(panels, about))


@styled
def draw(panels: dict[Norm, list[Point]], about: About) -> Figure:
    """A panel a norm, the models numbered, and a key to the numbers."""
    models = list(dict.fromkeys(point.model for points in panels.values() for point in points))
    numbers = {model: f"{place}" for place, model in enumerate(models, 1)}
    lines = -(-len(models) // KEY_COLUMNS)
    figure = sheet(about, HEIGHT + lines * KEY_LINE + KEY_GAP)
    grid = figure.add_gridspec(2, len(panels), height_ratios=[HEIGHT, lines * KEY_LINE + KEY_GAP])
    everyone = [point for points in panels.values() for point in points]
    for column, (norm, points) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[0, column])
        _panel(axes, points, numbers, max(point.parameters for point in everyone), WIDTH / len(panels))
        axes.set(xlabel="clean accuracy", ylabel="robust accuracy", title=f"worst {NORMS[norm]}")
    _key(figure.add_subplot(grid[1, :]), {point.model: point for point in everyone}, numbers, lines)
    return figure


def area(parameters: int, largest: int) -> float:
    """Square points of the disc of a model with so many parameters."""
    return LARGEST * parameters / largest


def _panel(axes: Axes, points: Sequence[Point], numbers: dict[str, str], largest: int, width: float) -> None:
    # The largest lie below.
    for point in sorted(points, key=lambda point: -point.parameters):
        (x, y), (across, up) = point.place, point.reach
        axes.errorbar([x], [y], yerr=up, xerr=across, fmt="none", ecolor=FAINT, elinewidth=0.8, capsize=1.5, zorder=2)
        face = "none" if point.bound else to_rgba(COLOURS[0], 0.35)
        axes.scatter([x], [y], s=area(point.parameters, largest), facecolor=face, edgecolor=COLOURS[0], linewidth=1.1, zorder=3)
    _scale(axes, points)
    inches = (width - 0.9, HEIGHT - 0.6)
    taken = [box for point in points for box in _taken(axes, point, area(point.parameters, largest), inches)]
    place_labels(axes, [point.place for point in points], [numbers[point.model] for point in points], inches, taken)


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    """Clean accuracy as far as the intervals reach, robust accuracy whole."""
    low = min(point.place[0] - float(point.reach[0][0, 0]) for point in points)
    high = max(point.place[0] + float(point.reach[0][1, 0]) for point in points)
    room = max(0.015, 0.08 * (high - low))
    axes.set(xlim=(low - room, high + room), ylim=(-0.12, 1.04), yticks=np.linspace(0, 1, 6))
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_xticks([tick for tick in ticks if low - room <= tick <= min(1 + 1e-9, high + room)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _taken(axes: Axes, point: Point, disc: float, inches: tuple[float, float]) -> list[tuple[float, float, float, float]]:
    """The boxes, in the axes' units, of a point's disc and its two bars."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    dot_x, dot_y = (right - left) / (72 * inches[0]), (top - bottom) / (72 * inches[1])
    (x, y), (across, up), radius = point.place, point.reach, disc**0.5 / 2
    return [
        (x - radius * dot_x, y - radius * dot_y, x + radius * dot_x, y + radius * dot_y),
        (x - float(across[0, 0]), y - 2 * dot_y, x + float(across[1, 0]), y + 2 * dot_y),
        (x - 2 * dot_x, y - float(up[0, 0]), x + 2 * dot_x, y + float(up[1, 0])),
    ]


def _key(axes: Axes, points: dict[str, Point], numbers: dict[str, str], lines: int) -> None:
    """Number, name, parameters of every model, in columns."""
    axes.set_axis_off()
    for place, (model, point) in enumerate(points.items()):
        size = f"  ({point.parameters:,})"
        name = fitted(model, WIDTH / KEY_COLUMNS - 0.8 - text_width(size, SMALL), SMALL)
        text = f"{numbers[model].rjust(2, FIGURE_SPACE)}  {signed(name, point.sign)}{size}"
        corner = (place // lines / KEY_COLUMNS, 1.0)
        down = (0, -72 * KEY_LINE * (place % lines))
        axes.annotate(text, corner, down, "axes fraction", "offset points", size=SMALL, va="top", color=TEXT)
