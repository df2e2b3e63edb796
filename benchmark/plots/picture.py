"""A picture: a figure with what it shows above it and what has to be known about it below; and its files."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import matplotlib as mpl
from matplotlib.figure import Figure

from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.plots.style import BODY, FAINT, HEADING, MISSING_GLYPH, RC, SMALL, TEXT, wrapped

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
WIDTH = 7.6
"""Inches."""
MARGIN = 0.15
_LEADING = 1.35


@dataclass(frozen=True)
class About:
    """What stands around a picture: a heading, where the numbers come from (data set, model, protocol and version, n), and
    notes: how to read it, the attacks with their parameters, the marks of its rows."""

    heading: str
    where: str
    notes: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """All of it as one text."""
        parts = (self.heading, self.where, *self.notes)
        return " ".join(part if part.endswith((".", ":", "▲")) else f"{part}." for part in parts)


@dataclass(frozen=True)
class Picture:
    """A finished picture of a `kind`, of a data set's board or, where `model` is not "", of one model."""

    kind: str
    dataset: str
    model: str
    about: About
    figure: Figure = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """ "mnist/relu/gallery" or "mnist/transfer": its file without the ending, whatever the model is called."""
        return "/".join(file_name(part) for part in (self.dataset, self.model, self.kind) if part)


def sheet(about: About, body: float, width: float = WIDTH) -> Figure:
    """An empty figure, `width` inches wide, with `about` around a body of `body` inches height, in which axes lay themselves
    out."""
    room = width - 2 * MARGIN
    above = [(line, HEADING, "bold", TEXT) for line in wrapped(about.heading, room, HEADING * 1.12)]
    above += [(line, BODY, "normal", FAINT) for line in wrapped(about.where, room, BODY)]
    below = [line for note in about.notes for line in wrapped(note, room, SMALL)]
    head = sum(_height(size) for _, size, _, _ in above) + MARGIN
    foot = len(below) * _height(SMALL) + MARGIN
    height = head + body + foot
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    engine = figure.get_layout_engine()
    assert engine is not None
    across = MARGIN / width
    engine.set(rect=(across, foot / height, 1 - 2 * across, body / height), w_pad=0.03, h_pad=0.03)  # type: ignore[call-arg]
    at = height - MARGIN / 2
    for line, size, weight, colour in above:
        figure.text(across, at / height, line, size=size, weight=weight, color=colour, va="top", ha="left")
        at -= _height(size)
    at = foot - MARGIN / 2
    for line in below:
        figure.text(across, at / height, line, size=SMALL, color=FAINT, va="top", ha="left")
        at -= _height(SMALL)
    return figure


def rendered(picture: Picture, form: Format, dpi: float = RC["savefig.dpi"]) -> bytes:
    """The picture as a file's bytes, a PNG of `dpi` dots an inch. The same picture gives the same bytes: no dates, no random
    ids."""
    target = io.BytesIO()
    metadata: dict[str, str | None] = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    with mpl.rc_context({**RC, "svg.hashsalt": picture.name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        _lay_out(picture.figure)
        picture.figure.savefig(target, format=form, metadata=metadata, facecolor="white", dpi=dpi)
    return target.getvalue()


def save(picture: Picture, folder: Path, formats: Sequence[Format] = FORMATS) -> list[Path]:
    """Write the picture below `folder` in each of the formats, and return where. Raises `InputError` when that fails."""
    written = []
    for form in formats:
        path = folder / f"{picture.name}.{form}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rendered(picture, form))
        except OSError as trouble:
            raise InputError(f"cannot write {path}: {trouble.strerror}; choose another folder with --out") from trouble
        written.append(path)
    return written


def parsed_formats(text: str) -> list[Format]:
    """The formats of "svg,png". Raises `InputError` for others."""
    chosen: list[Format] = []
    for word in dict.fromkeys(part.strip() for part in text.split(",") if part.strip()):
        found = [form for form in FORMATS if form == word]
        if not found:
            raise InputError(f"there is no format {word!r}{suggest(word, FORMATS)}; the formats are {', '.join(FORMATS)}")
        chosen += found
    if not chosen:
        raise InputError(f"--format names no format; the formats are {', '.join(FORMATS)}")
    return chosen


def file_name(text: str) -> str:
    """A name as part of a path: itself where it is of harmless letters, else those of it and a hash of it."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}", text):
        return text
    harmless = re.sub(r"[^A-Za-z0-9_]+", "_", text)[:60].strip("_")
    return f"{harmless or 'model'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _lay_out(figure: Figure) -> None:
    """Lay the figure out once: every further time would move the axes a little. The solver's last digits are not the same
    every time, and SVG's ids are made of them: they are left out."""
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(edge, 6) for edge in axes.get_position(original=True).bounds])  # type: ignore[arg-type]


def _height(size: float) -> float:
    return size * _LEADING / 72
