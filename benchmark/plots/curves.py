"""Robust accuracy against ε as data, and how such curves are drawn, a panel a norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustboard.attacks.attack import Norm
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.plots.bands import Counts, Values, bars, wilson_band
from robustboard.benchmark.plots.picture import About, sheet
from robustboard.benchmark.plots.style import FAINT, colour, legend, line, marker, styled
from robustboard.benchmark.plots.words import NORMS, UNITS
from robustboard.benchmark.records import CellResult


@dataclass(frozen=True)
class Curve:
    """How many of n examples stand at each radius (K,), the first of which is 0. `measured`: the radii that the attack was run
    at; `last`: the largest of which anything is known; `reported`: the protocol's. `steps`: the count falls at the radii and
    nowhere else; otherwise it is known at the radii only. `is_bound`: but for `measured` it is no more than a bound, which is
    not drawn."""

    name: str
    norm: Norm
    radii: Values
    robust: Counts
    n: int
    measured: tuple[float, ...]
    last: float
    reported: float
    steps: bool = True
    is_bound: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for radii that fall and for counts that rise."""
        if self.radii.shape != self.robust.shape or np.any(np.diff(self.radii) < 0) or np.any(np.diff(self.robust) > 0):
            raise ValueError(f"{self.name}: robust accuracy cannot rise with ε")

    @property
    def accuracy(self) -> Values:
        return self.robust / self.n

    def at(self, radius: float) -> int:
        """How many stand at `radius`, or at the last radius known before it."""
        return int(self.robust[np.searchsorted(self.radii, radius, side="right") - 1])


def from_cells(cells: Sequence[CellResult]) -> Curve:
    """The curve of one attack from its cells, of the same examples at one or several ε: an example right clean stands below the
    smallest distance at which a candidate fooled it. So it is for minimum-norm attacks; of one that is confined to ε this is no
    more than a bound between the ε that it was run at: within less it would have looked elsewhere, and fooled more."""
    fallen = np.min([_distances(cell) for cell in cells], axis=0)
    right = np.array(cells[0].per_example.correct_clean, dtype=bool)
    reached = np.sort(fallen[right & np.isfinite(fallen)])
    attack = cells[0].attack
    measured = tuple(sorted(cell.attack.eps for cell in cells))
    radii = np.unique([0.0, *reached])
    robust = int(right.sum()) - np.searchsorted(reached, radii, side="right")
    return Curve(
        attack.name,
        attack.norm,
        radii,
        robust.astype(np.int64),
        cells[0].outcome.n,
        measured,
        last=measured[-1] if Threat(attack.norm, measured[-1], attack.aim).is_bound else np.inf,
        reported=attack.eps,
        is_bound=attack.aim != "minimum",
    )


@styled
def draw(curves: Sequence[Curve], about: About) -> Figure:
    """One panel a norm, one line an attack, with its band."""
    norms = [norm for norm in NORMS if any(curve.norm == norm for curve in curves)]
    figure = sheet(about, 2.4 * len(norms))
    panels = figure.subplots(len(norms), 1, squeeze=False)[:, 0]
    for axes, norm in zip(panels, norms, strict=True):
        _panel(axes, [curve for curve in curves if curve.norm == norm], norm)
    return figure


def _distances(cell: CellResult) -> Values:
    """At what radius each example fell, infinite where it never did. Records round distances to four digits, the flags know on
    which side of the cell's ε they were."""
    examples, epsilon = cell.per_example, cell.attack.eps
    beyond = float(np.nextafter(epsilon, np.inf))
    rows = zip(examples.fooled, examples.found, examples.distance, strict=True)
    return np.array(
        [
            np.inf if not found or distance is None else min(distance, epsilon) if fooled else max(distance, beyond)
            for fooled, found, distance in rows
        ]
    )


def _panel(axes: Axes, curves: Sequence[Curve], norm: Norm) -> None:
    largest = max(max(float(curve.radii[-1]), *curve.measured) for curve in curves)
    end = 1.05 * largest if largest else 1.0
    sizes = {curve.n for curve in curves}
    handles = [_line(axes, curve, place, end) for place, curve in enumerate(curves)]
    names = [curve.name if len(sizes) == 1 else f"{curve.name} (n = {curve.n})" for curve in curves]
    for radius in sorted({curve.reported for curve in curves}):
        axes.axvline(radius, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.5)
    axes.set(xlim=(0, end), ylim=(0, 1.02), xlabel=f"ε ({UNITS[norm]})", ylabel="robust accuracy", title=NORMS[norm])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    legend(axes, handles, names)


def _line(axes: Axes, curve: Curve, place: int, end: float) -> Line2D:
    """The curve with its band, as far as it is known and no bound, and a marker with its bar where the attack was run."""
    low, high = wilson_band(curve.robust, curve.n)
    radii, accuracy = curve.radii, curve.accuracy
    if curve.steps:
        radii = np.append(radii, max(min(end, curve.last), float(radii[-1])))
        low, high, accuracy = (np.append(values, values[-1]) for values in (low, high, accuracy))
    look: dict[str, Any] = {"color": colour(place), "linestyle": "none" if curve.is_bound else line(place)}
    if not curve.is_bound:
        axes.plot(radii, accuracy, drawstyle="steps-post" if curve.steps else "default", **look)
        axes.fill_between(radii, low, high, step="post" if curve.steps else None, color=colour(place), alpha=0.15, linewidth=0)
    counts = np.array([curve.at(radius) for radius in curve.measured])
    axes.errorbar(
        curve.measured,
        counts / curve.n,
        bars(counts, curve.n),
        fmt=marker(place),
        color=colour(place),
        elinewidth=0.9,
        capsize=2,
        clip_on=False,
    )
    return Line2D([], [], marker=marker(place), **look)
