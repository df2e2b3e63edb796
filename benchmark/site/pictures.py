"""The pictures of the pages: drawn by `plots/`, kept as WebP without loss, or a reason why there is none."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from PIL import Image

from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.plots.kinds import KINDS, Kind, Missing, attempt, views_of
from robustboard.benchmark.plots.picture import Picture, rendered
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.site.kept import Kept, identity_of

Chosen = Literal["all", "cells", "none"]
CHOICES: tuple[Chosen, ...] = get_args(Chosen)
"""All pictures; those alone that are made from results; or none."""
_ORDER = (
    "gallery",
    "epsilon",
    "sweep",
    "clean_robust",
    "distances",
    "success_fail",
    "passes",
    "transfer",
    "confusion",
    "confidence",
    "filters",
    "gradients",
    "training",
)
_IMAGES = frozenset({"gallery", "filters", "gradients"})
DPI = 120
COLOURS = 64
"""Of the pictures that show no images: enough for lines, bands and letters, and a quarter smaller."""


@dataclass(frozen=True)
class Shown:
    """A picture as a file: a hash of all that decides it, its kind, its heading and its whole text, its size in pixels and its
    bytes. `is_photo`: it shows images, whose greys are what they are on a dark page, too."""

    identity: str
    kind: str
    heading: str
    text: str
    width: int
    height: int
    content: bytes

    @property
    def is_photo(self) -> bool:
        return self.kind in _IMAGES

    def entry(self, path: str) -> dict[str, Any]:
        """What a site keeps of it beside its content."""
        known = {name: getattr(self, name) for name in ("kind", "heading", "text", "width", "height")}
        return {**known, "path": path, "sha256": hashlib.sha256(self.content).hexdigest()}


Drawn = Shown | Missing


def drawn(
    board: Board, others: Sequence[Board], bench: Bench, chosen: Chosen, kept: Kept, tell: Callable[[], object] = lambda: None
) -> dict[str, list[Drawn]]:
    """By model, "" for the board's own, its pictures and what could not be drawn, in the order of the pages; those that are
    `kept` are not drawn again. `tell` is called after each."""
    found: dict[str, list[Drawn]] = {}
    for kind, view in views(board, others, bench):
        found.setdefault(view.model, []).append(_draw(kind, view, chosen, kept))
        tell()
    return found


def views(board: Board, others: Sequence[Board], bench: Bench) -> Iterator[tuple[Kind, View]]:
    """Every picture that a board and its models can have."""
    if not board.rows:
        return
    for kind in sorted(KINDS.values(), key=lambda kind: _ORDER.index(kind.name) if kind.name in _ORDER else len(_ORDER)):
        for view in views_of(kind, board, others, bench):
            yield kind, view


def _draw(kind: Kind, view: View, chosen: Chosen, kept: Kept) -> Drawn:
    if chosen == "none" or (chosen == "cells" and kind.needs == "network"):
        reason = f"left out by --pictures {chosen}: robustboard site without it draws it, where the data is"
        return Missing(kind.name, view.board.dataset, view.model, reason)
    identity = identity_of(kind, view)
    there = kept.found(identity)
    if there is not None:
        entry, content = there
        return Shown(identity, kind.name, entry["heading"], entry["text"], entry["width"], entry["height"], content)
    picture = attempt(kind, view)
    if isinstance(picture, Missing):
        return picture
    shown = _shown(picture, identity)
    kept.keep(identity, shown.entry(f"{identity}.webp"), shown.content)
    return shown


def _shown(picture: Picture, identity: str) -> Shown:
    with Image.open(io.BytesIO(rendered(picture, "png", DPI))) as image:
        opaque = image.convert("RGB")
    if picture.kind not in _IMAGES:
        opaque = opaque.quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
    target = io.BytesIO()
    opaque.save(target, "WEBP", lossless=True, quality=100, method=4)
    about = picture.about
    return Shown(identity, picture.kind, about.heading, about.caption, *opaque.size, target.getvalue())
