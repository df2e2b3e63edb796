"""How every picture looks: colours that the colour-blind tell apart, lines and markers that differ in grey, text as it is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

Shade = str | tuple[float, float, float]
"""A colour by its name or hash, or as red, green and blue from 0 to 1."""
OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "bluish green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "reddish purple": "#CC79A7",
}
"""Okabe & Ito 2008, "Color universal design"."""
COLOURS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "bluish green", "black", "reddish purple"))
"""Those of them that stand out from white by 3 to 1 or more, which is what WCAG 2.1 asks of lines."""
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
"""As many series as the two have pairs, 44, differ without any colour."""
TEXT, FAINT, RULE = "#000000", "#555555", "#BBBBBB"
SMALL, BODY, HEADING = 7.0, 8.5, 11.0
"""Points."""
LONGEST_NAME = 40
SUSPECT = "▲"

RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": BODY,
    "axes.titlesize": BODY,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": BODY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
}
"""Set while a picture is drawn and while it is saved. SVG keeps text as text; a "$" in a name is a "$"."""
MISSING_GLYPH = r"Glyph .* missing from font"
"""matplotlib's warning: the font lacks some of the world's letters. They are boxes in a PNG, and text in an SVG."""
styled = mpl.rc_context(RC)
"""Decorates a function that draws."""


def colour(place: int) -> str:
    """The colour of the series at `place`; they come again after five, when lines and markers still differ."""
    return COLOURS[place % len(COLOURS)]


def line(place: int) -> str:
    """The line of the series at `place`."""
    return LINES[place % len(LINES)]


def marker(place: int) -> str:
    """The marker of the series at `place`."""
    return MARKERS[place % len(MARKERS)]


def plain(text: str, longest: int = LONGEST_NAME) -> str:
    """A name that can stand in a picture: on one line, what cannot be printed replaced, and where it is longer than `longest`
    characters its middle left out."""
    text = "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def fitted(text: str, width: float, size: float, longest: int = LONGEST_NAME) -> str:
    """The name as `plain` has it, its middle left out until it is no wider than `width` inches at `size` points."""
    shown = plain(text, longest)
    while len(shown) > 5 and _inches(shown, size) > width:
        shown = plain(text, len(shown) - 1)
    return shown


def wrapped(text: str, width: float, size: float) -> list[str]:
    """`text` in lines no wider than `width` inches at `size` points; a longer word has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _inches(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def text_width(text: str, size: float = BODY) -> float:
    """How wide a line of text is, in inches at `size` points."""
    return _inches(text, size)


@cache
def _inches(text: str, size: float) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        width, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(family="DejaVu Sans", size=size), ismath=False
        )
    # Drawn letters are set to whole dots, which takes a little more.
    return 1.05 * width / 72


def luminance(shade: Shade) -> float:
    """Relative luminance (WCAG 2.1) of a colour, from 0 for black to 1 for white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(shade)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Shade, other: Shade) -> float:
    """The contrast (WCAG 2.1) of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def text_on(background: Shade) -> str:
    """Black or white, whichever stands out more from `background`; at least by 4.5 to 1."""
    return max(("#000000", "#FFFFFF"), key=lambda text: contrast(text, background))


def legend(axes: Axes, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """A legend to the right of the axes. matplotlib would leave out names that begin with "_"."""
    if not handles:
        return
    blanks = [f"{place}" for place in range(len(names))]
    made = axes.legend(handles, blanks, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, handlelength=3.2)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)
