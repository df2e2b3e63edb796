"""Success-fail curves of the max-confidence attack: what a confidence threshold keeps of the right answers on clean images,
against the wrong ones that it lets pass under attack (Goodfellow, Qin & Berthelot 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustboard.benchmark.plots.bands import Values, bars
from robustboard.benchmark.plots.picture import WIDTH, About, Picture, sheet
from robustboard.benchmark.plots.style import BODY, COLOURS, SMALL, fitted, legend, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import absent_notes, attack_words, mark_notes, name_of, percent, signed, where
from robustboard.benchmark.report.success_fail import HALF, SuccessFail, of_cell
from robustboard.benchmark.statistics import wilson

SHORT_DASHES = (0, (1.2, 1.2))
NOTE = (
    "Covered: confidence above the threshold t. Success: right and covered on clean images; failure: wrong and covered "
    "under attack; t falls from 1 along the curve, and where both rise it goes right first. Dot: t = ½, with Wilson's 95 % "
    "intervals. Solid: t ≥ ½, where a softmax that is sure of a wrong class errs, so that the most confident error is the "
    "worst. Below ½, long dashes: the failures found, a lower bound; short dashes: those and all that was not fooled, an "
    "upper bound. Sigmoid heads are dashed throughout, because their confidences do not sum to 1. Area: under the curve "
    "found, its end prolonged to a failure of 100 %; high is good, and a stronger attack can only lower it."
)


def picture(view: View) -> Picture:
    """The picture of a board, or of one row. Raises `InputError` where no max-confidence attack was run."""
    rows = [(row, cell) for row in view.rows for cell in view.cells(row) if cell.attack.aim == "confidence"]
    if not rows:
        raise view.lacks(["max_confidence"])
    curves = [of_cell(cell, row.sign) for row, cell in rows]
    blocks = {attack_words(cell.attack): None for _, cell in rows}
    shown = [row for row, _ in rows]
    notes = (NOTE, *blocks, *absent_notes(view.rows, shown, ["max_confidence"]), *mark_notes(shown))
    place = where(view.board, [curve.n for curve in curves], name_of(view.row) if view.scope == "model" else "")
    about = About("Success against failure under max-confidence", place, notes)
    return Picture("success_fail", view.board.dataset, view.model, about, draw(curves, about))


@styled
def draw(curves: Sequence[SuccessFail], about: About) -> Figure:
    """A panel a model, all of one scale."""
    columns = 2 if len(curves) == 4 else min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = sheet(about, 3.9 if columns == 1 else 3.0 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, curve in zip(panels.flat, curves, strict=False):
        _panel(axes, curve, (WIDTH - 1) / columns)
    for axes in panels.flat[len(curves) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("success (clean)")
    for column in range(columns):
        last = max(place for place in range(len(curves)) if place % columns == column)
        panels.flat[last].set_xlabel("failure (attacked)")
        panels.flat[last].tick_params(labelbottom=True)
    if columns == 1:
        legend(panels.flat[0], *_keys())
    return figure


def summary(curve: SuccessFail) -> str:
    """Accuracy, and at t = ½ coverage, success and failure with their intervals, and the area, in four lines."""
    success, failure = curve.at_half()
    return (
        f"accuracy {percent(curve.right / curve.n)}; t = ½: coverage {percent(curve.covered_at_half / curve.n)}\n"
        f"success {_share(success, curve.n)}\nfailure {_share(failure, curve.n)}\narea {curve.area:.3f}"
    )


def _panel(axes: Axes, curve: SuccessFail, width: float) -> None:
    sure = int((curve.thresholds > HALF).sum())
    x, y = _staircase(curve.failure / curve.n, curve.success / curve.n)
    half = 2 * sure
    solid = 0 if curve.sigmoid else half
    axes.plot(x[: solid + 1], y[: solid + 1], color=COLOURS[0], linestyle="-")
    axes.plot(x[solid:], y[solid:], color=COLOURS[0], linestyle="--")
    beyond = np.append(x[half], np.minimum(x[half:] + curve.unfooled / curve.n, 1))
    axes.plot(beyond, np.append(y[half], y[half:]), color=COLOURS[1], linestyle=SHORT_DASHES)
    success, failure = curve.at_half()
    axes.errorbar(
        [failure / curve.n],
        [success / curve.n],
        xerr=bars(np.array([failure]), curve.n),
        yerr=bars(np.array([success]), curve.n),
        fmt="o",
        color=COLOURS[3],
        elinewidth=0.9,
        capsize=2,
        zorder=3,
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(signed(fitted(curve.model, width - 0.25, 1.12 * BODY), curve.sign), pad=4 + 4 * 1.3 * SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.annotate(summary(curve), (0, 1), (0, 3), "axes fraction", "offset points", size=SMALL, va="bottom", linespacing=1.25)


def _staircase(failure: Values, success: Values) -> tuple[Values, Values]:
    """From (0, 0), two vertices a threshold: to the right, then up. (2K + 1,)"""
    x, y = np.repeat(failure, 2), np.repeat(success, 2)
    return np.concatenate([[0.0], x]), np.concatenate([[0.0, 0.0], y[:-1]]) if len(y) else np.zeros(1)


def _share(count: int, n: int) -> str:
    low, high = wilson(count, n)
    return f"{percent(count / n)} [{percent(low)}–{percent(high)}]"


def _keys() -> tuple[list[Line2D], list[str]]:
    looks: list[dict[str, Any]] = [
        {"color": COLOURS[0], "linestyle": "-"},
        {"color": COLOURS[0], "linestyle": "--"},
        {"color": COLOURS[1], "linestyle": SHORT_DASHES},
        {"color": COLOURS[3], "linestyle": "none", "marker": "o"},
    ]
    return [Line2D([], [], **look) for look in looks], ["t ≥ ½", "found, a lower bound", "an upper bound", "t = ½"]
