"""Pictures that are in the site already: what was drawn from the same cells by the same code is not drawn again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from robustboard.benchmark.plots.kinds import Kind
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.report.board import Row

LIST = "pictures.json"
"""Names every picture of a site by what it was drawn from."""
_FORMAT = 1
"""Raised whenever the pictures of the same figures would be other files."""
_DRAWN_WITH = ("matplotlib", "numpy", "pillow", "torch")


@dataclass(frozen=True)
class Kept:
    """The pictures of a site that is there, by identity: where each is, its content's sha256, and what else is known of it."""

    folder: Path
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def found(self, identity: str) -> tuple[Mapping[str, Any], bytes] | None:
        """What is known of a picture, and its content; None where it is not there as it was written."""
        entry = self.entries.get(identity)
        try:
            content = (self.folder / str(entry["path"])).read_bytes() if entry else b""
            return (entry, content) if entry and hashlib.sha256(content).hexdigest() == entry["sha256"] else None
        except (OSError, KeyError):
            return None


def read_kept(folder: Path) -> Kept:
    """The pictures of the site in a folder; none where there is no list that reads."""
    try:
        entries = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Kept(folder)
    sound = isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values())
    return Kept(folder, entries if sound else {})


def identity_of(kind: Kind, view: View) -> str:
    """A hash of all that decides a picture: kind, cells, marks, the attacks' settings on the board, and what draws it."""
    board = view.board
    settings = {(cell.attack.name, repr(cell.attack), cell.environment.seed) for row in board.rows for cell in row.cells.values()}
    decisive = (
        kind.name,
        (board.title, board.protocol, board.version, board.dataset, board.attacks, len(board.rows)),
        view.scope,
        view.attacks,
        view.bench.n,
        [_content(row) for row in view.rows],
        sorted(_elsewhere(view)),
        sorted(settings) if kind.needs == "network" else [],
        (_FORMAT, _drawn_by()),
    )
    return hashlib.sha256(repr(decisive).encode()).hexdigest()


def _content(row: Row) -> tuple[object, ...]:
    return row.model, sorted((name, repr(cell)) for name, cell in row.cells.items()), row.missing, row.marks, row.informing


def _elsewhere(view: View) -> Iterator[str]:
    return (repr(cell) for row in view.rows for cell in view.elsewhere(row))


@cache
def _drawn_by() -> str:
    """A hash of the code in `plots/` and the versions of the libraries that draw and that run networks."""
    folder = resources.files("robustboard.benchmark") / "plots"
    digest = hashlib.sha256(" ".join(f"{name} {metadata.version(name)}" for name in _DRAWN_WITH).encode())
    for name in sorted(each.name for each in folder.iterdir() if each.name.endswith(".py")):
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()
