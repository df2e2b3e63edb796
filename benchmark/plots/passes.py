"""Robust accuracy against the passes spent on an example: the attacks that stop at success as curves, the others as points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustboard.attacks.attack import Norm
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.plots.bands import Counts, Values, bars, wilson_band
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import colour, legend, line, marker, plain, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import BANDS, BOUND, NORMS, attack_words, budget, mark_notes, marked, name_of, where
from robustboard.benchmark.records import CellResult

NOTE = (
    "Passes: rows that went forward or back through the network, for one example. Curves: attacks that stop at the first "
    "success; an example falls at its iterations times the cell's mean of passes an iteration, and the marker stands where "
    "the longest attack ended. Single markers: attacks that go on to find less or surer, at their mean; a worst case costs "
    f"all that it joins, too. {BOUND} {BANDS}"
)


@dataclass(frozen=True)
class Spending:
    """How many of n examples stand once so many passes (K,) were spent on each of those still standing; the last is what the
    attack came to. One K: only that is known."""

    name: str
    norm: Norm
    passes: Values
    robust: Counts
    n: int

    @property
    def is_curve(self) -> bool:
        return len(self.passes) > 1


def passes_of(cell: CellResult) -> float:
    """Forward and backward passes an attacked example, on average."""
    return cell.cost.forwards + cell.cost.backwards


def of_cell(cell: CellResult, joined: Iterable[CellResult] = ()) -> Spending:
    """What the records of a cell say; `joined` are the cells that a worst case takes over."""
    attack, n = cell.attack, cell.outcome.n
    robust = np.array([round(cell.outcome.robust_accuracy * n)])
    name = marked(plain(attack.name), cell.outcome.upper_bound_only)
    if attack.aim != "budget" or attack.name in CASCADES or not any(cell.per_example.iterations):
        total = passes_of(cell) + sum(passes_of(each) for each in joined)
        return Spending(name, attack.norm, np.array([max(total, 1.0)]), robust, n)
    right = np.array(cell.per_example.correct_clean, dtype=bool)
    fooled = np.array(cell.per_example.fooled, dtype=bool) & right
    iterations = np.array(cell.per_example.iterations)
    each = passes_of(cell) * int(right.sum()) / max(1, int(iterations[right].sum()))
    ends = np.unique(np.append(iterations[fooled], iterations.max()))
    standing = int(right.sum()) - np.searchsorted(np.sort(iterations[fooled]), ends, side="right")
    # On a logarithmic axis the clean accuracy stands at one pass: nothing is fooled with less.
    passes = np.concatenate([[1.0], np.maximum(ends * each, 1.0)])
    return Spending(name, attack.norm, passes, np.concatenate([[int(right.sum())], standing]), n)


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` where it has no cells."""
    row = view.row
    cells = view.cells(row)
    if not cells:
        raise view.lacks(["bim", "spsa"])
    spent = [of_cell(cell, [row.cells[name] for name in cell.joined if name in row.cells]) for cell in cells]
    notes = (NOTE, *(attack_words(cell.attack) for cell in cells), *mark_notes([row]))
    about = About("Robust accuracy against passes spent", where(view.board, [each.n for each in spent], name_of(row)), notes)
    budgets = {cell.attack.norm: budget(cell.attack) for cell in cells}
    return Picture("passes", view.board.dataset, row.model, about, draw(spent, budgets, about))


@styled
def draw(spent: Sequence[Spending], budgets: dict[Norm, str], about: About) -> Figure:
    """One panel a norm, at its ε; `budgets` are their headings."""
    norms = [norm for norm in NORMS if any(each.norm == norm for each in spent)]
    heights = [2.3 if any(each.is_curve and each.norm == norm for each in spent) else 1.3 for norm in norms]
    figure = sheet(about, sum(heights) + 0.2)
    panels = figure.subplots(len(norms), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    end = max(float(each.passes[-1]) for each in spent)
    for axes, norm in zip(panels, norms, strict=True):
        _panel(axes, [each for each in spent if each.norm == norm], budgets[norm])
        axes.set_xlim(1, 2 * end)
        axes.tick_params(labelbottom=True)
    panels[-1].set_xlabel("forward and backward passes, one example")
    return figure


def _panel(axes: Axes, spent: Sequence[Spending], heading: str) -> None:
    handles, names = [], []
    sizes = {each.n for each in spent}
    for place, each in enumerate(spent):
        handles.append(_series(axes, each, place))
        names.append(each.name if len(sizes) == 1 else f"{each.name} (n = {each.n})")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set(ylim=(0, 1.02), yticks=[0, 0.5, 1], ylabel="robust", title=heading)
    legend(axes, handles, names)


def _series(axes: Axes, each: Spending, place: int) -> Line2D:
    look: dict[str, Any] = {"color": colour(place), "linestyle": line(place) if each.is_curve else "none"}
    if each.is_curve:
        low, high = wilson_band(each.robust, each.n)
        axes.plot(each.passes, each.robust / each.n, drawstyle="steps-post", **look)
        axes.fill_between(each.passes, low, high, step="post", color=colour(place), alpha=0.15, linewidth=0)
    axes.errorbar(
        each.passes[-1:],
        each.robust[-1:] / each.n,
        bars(each.robust[-1:], each.n),
        fmt=marker(place),
        color=colour(place),
        elinewidth=0.9,
        capsize=2,
        clip_on=False,
    )
    return Line2D([], [], marker=marker(place), **look)
