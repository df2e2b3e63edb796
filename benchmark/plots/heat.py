"""A matrix as shaded cells with their numbers, the shades in the order of their grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from robustboard.benchmark.plots.bands import Values
from robustboard.benchmark.plots.style import SMALL, text_on

SHADES = mpl.colormaps["Blues"]
"""From white to a dark blue: darker is more, in colour and in grey."""


def matrix(axes: Axes, shares: Values, texts: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Cells (R, C), row 0 on top, shaded by `shares` in [0, 1] (NaN: white), with their texts and names."""
    height, width = shares.shape
    axes.pcolormesh(np.nan_to_num(shares), cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
    size = SMALL if max((len(text) for line in texts for text in line), default=0) < 5 else SMALL - 1
    for row in range(height):
        for column in range(width):
            shade = SHADES(float(np.nan_to_num(shares[row, column])))
            look: dict[str, Any] = {"ha": "center", "va": "center", "size": size, "color": text_on(to_rgb(shade))}
            axes.text(column + 0.5, row + 0.5, texts[row][column], **look)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=np.arange(width) + 0.5, yticks=np.arange(height) + 0.5)
    axes.set_xticklabels(columns)
    axes.set_yticklabels(rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_aspect("equal")
