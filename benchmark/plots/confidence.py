"""How sure a model is: histograms of its confidence on clean images, right and wrong, and on those that fooled it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustboard.benchmark.plots.bands import Values
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import COLOURS, SMALL, plain, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import attack_words, mark_notes, marked, name_of, percent, where
from robustboard.benchmark.records import CellResult

EDGES: Values = np.linspace(0, 1, 26)
NOTE = (
    "Confidence: the largest probability, or the largest sigmoid of a sigmoid head. Fooled: right clean, and wrong within ε. "
    "Wrong under an attack on confidence: clean errors that stay errors, too. An attack that stops at the first success leaves "
    "the confidence low; max_confidence does not."
)


@dataclass(frozen=True)
class Confidences:
    """The confidences of one histogram, (K,) in [0, 1], out of n examples."""

    name: str
    values: Values
    n: int

    @property
    def counts(self) -> Values:
        """How many lie in each bin of `EDGES`; 1 lies in the last."""
        return np.histogram(self.values, EDGES)[0].astype(np.float64)


def clean_of(cell: CellResult) -> list[Confidences]:
    """Of the clean images: those right, and those wrong."""
    right = np.array(cell.per_example.correct_clean, dtype=bool)
    values, n = np.array(cell.per_example.clean_confidence), cell.outcome.n
    return [Confidences("clean, right", values[right], n), Confidences("clean, wrong", values[~right], n)]


def attacked_of(cell: CellResult) -> Confidences:
    """Of the images that fooled the model within ε: how sure it was of the wrong class."""
    rows = zip(cell.per_example.fooled, cell.per_example.confidence, strict=True)
    values = [confidence for fooled, confidence in rows if fooled and confidence is not None]
    # An attack on confidence is told of clean errors, too, and none of those was fooled.
    verb = "wrong under" if cell.attack.aim == "confidence" else "fooled by"
    name = marked(f"{verb} {plain(cell.attack.name)}", cell.outcome.upper_bound_only)
    return Confidences(name, np.array(values), cell.outcome.n)


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` where it has no cells."""
    row = view.row
    cells = view.cells(row)
    if not cells:
        raise view.lacks(["max_confidence"])
    largest = max(cells, key=lambda cell: cell.outcome.n)
    shown = [*clean_of(largest), *(attacked_of(cell) for cell in cells)]
    notes = (NOTE, *(attack_words(cell.attack) for cell in cells), *mark_notes([row]))
    about = About("Confidence, clean and attacked", where(view.board, [each.n for each in shown], name_of(row)), notes)
    return Picture("confidence", view.board.dataset, row.model, about, draw(shown, about))


@styled
def draw(shown: Sequence[Confidences], about: About) -> Figure:
    """A small histogram each, one below the other, on one axis."""
    figure = sheet(about, 0.8 * len(shown) + 0.4)
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
    for place, (axes, each) in enumerate(zip(panels, shown, strict=True)):
        _panel(axes, each, COLOURS[0] if place == 0 else COLOURS[1])
    panels[-1].set_xlabel("confidence")
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure


def _panel(axes: Axes, each: Confidences, colour: str) -> None:
    axes.stairs(each.counts, EDGES, fill=True, color=colour, alpha=0.35, linewidth=0)
    axes.stairs(each.counts, EDGES, color=colour, linewidth=0.9)
    axes.set(xlim=(0, 1), ylim=(0, max(1.0, 1.1 * each.counts.max())), yticks=[each.counts.max()] if len(each.values) else [])
    axes.grid(axis="y", visible=False)
    share = f"{len(each.values)} of {each.n}, {percent(len(each.values) / each.n)} %"
    middle = f"; median {percent(float(np.median(each.values)))} %" if len(each.values) else ""
    axes.set_title(f"{each.name}: {share}{middle}", size=SMALL, weight="normal", pad=3)
