"""Labels beside points, so that none covers another: places are tried around each point, from near to far; in a crowd some
points stay without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from robustboard.benchmark.plots.style import FAINT, SMALL, TEXT, text_width

Pair = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""
DIRECTIONS, RINGS, FIRST, STEP = 16, 5, 8.0, 6.0
"""A label that is farther away than the last ring is not seen to belong to its point."""
CROSSED, SPARED = 100.0, 30.0
"""What it costs, in points, to cross the line to another label, and to cover a disc or a bar."""


def place_labels(axes: Axes, spots: Sequence[Pair], labels: Sequence[str], inches: Pair, taken: Sequence[Box]) -> None:
    """Write each label that finds room beside its spot (in the axes' units), with a thin line to it, off what is `taken` (boxes
    in the axes' units). `inches`: about how wide and high the axes will be; their limits must be set."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = 72 * inches[0], 72 * inches[1]

    def in_points(x: float, y: float) -> Pair:
        return (x - left) / (right - left) * width, (y - bottom) / (top - bottom) * height

    boxes = [(*in_points(box[0], box[1]), *in_points(box[2], box[3])) for box in taken]
    sizes = [(72 * text_width(label, SMALL) + 2, SMALL + 2) for label in labels]
    found = shifts([in_points(*spot) for spot in spots], sizes, (0.0, 0.0, width, height), boxes)
    for spot, shift, label in zip(spots, found, labels, strict=True):
        if shift is None:
            continue
        line: dict[str, Any] = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        look: dict[str, Any] = {"size": SMALL, "color": TEXT, "ha": "center", "va": "center", "zorder": 4}
        axes.annotate(label, spot, shift, textcoords="offset points", arrowprops=line, **look)


def shifts(points: Sequence[Pair], sizes: Sequence[Pair], bounds: Box, taken: Sequence[Box]) -> list[Pair | None]:
    """How far from its point the middle of each label goes: to the nearest place that covers no point and no label placed before
    it and lies within `bounds`, farther away where that crosses no line to another label and spares what is `taken`; None where
    there is no such place. All in points."""
    occupied = [_box(point, (4.0, 4.0)) for point in points]
    lines: list[tuple[Pair, Pair]] = []
    chosen: list[Pair | None] = []
    for point, size in zip(points, sizes, strict=True):

        def is_free(shift: Pair, at: Pair = point, size: Pair = size) -> bool:
            box = _box((at[0] + shift[0], at[1] + shift[1]), size)
            return _within(box, bounds) and not any(_overlap(box, other) for other in occupied)

        def cost(shift: Pair, at: Pair = point, size: Pair = size) -> float:
            end = (at[0] + shift[0], at[1] + shift[1])
            crossed = sum(_cross((at, end), line) for line in lines)
            spared = sum(_overlap(_box(end, size), other) for other in taken)
            return float(np.hypot(*shift)) + CROSSED * crossed + SPARED * spared

        best = min(filter(is_free, _around()), key=cost, default=None)
        if best is None:
            chosen.append(None)
            continue
        end = (point[0] + best[0], point[1] + best[1])
        occupied.append(_box(end, size))
        lines.append((point, end))
        chosen.append(best)
    return chosen


def _around() -> Iterator[Pair]:
    for ring in range(RINGS):
        for angle in np.linspace(np.pi / 2, np.pi / 2 + 2 * np.pi, DIRECTIONS, endpoint=False):
            radius = FIRST + ring * STEP
            yield float(radius * np.cos(angle)), float(radius * np.sin(angle))


def _box(middle: Pair, size: Pair) -> Box:
    return middle[0] - size[0] / 2, middle[1] - size[1] / 2, middle[0] + size[0] / 2, middle[1] + size[1] / 2


def _within(box: Box, bounds: Box) -> bool:
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]


def _cross(one: tuple[Pair, Pair], other: tuple[Pair, Pair]) -> bool:
    """Whether two lines have a point in common that is no end of either."""
    return _parts(one, other) and _parts(other, one)


def _parts(line: tuple[Pair, Pair], ends: tuple[Pair, Pair]) -> bool:
    """Whether the two ends lie on different sides of the line."""
    (x, y), (to_x, to_y) = line
    one, other = ((to_x - x) * (end[1] - y) - (to_y - y) * (end[0] - x) for end in ends)
    return one * other < 0


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
