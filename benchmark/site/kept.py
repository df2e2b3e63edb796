"""Pictures that are in the site already: what the same `plots/` and the same libraries drew from the same cells is not drawn
again. Other code that a picture hangs on, the judge's or a network's, is not looked at: after a change of it remove the site."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from robustboard.benchmark.plots.kinds import Kind
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.results import SITE_FILE, write_atomically

LIST = SITE_FILE
"""Names every picture of a site by what it was drawn from."""
_FORMAT = 1
"""Raised whenever the pictures of the same figures would be other files."""
_DRAWN_WITH = ("matplotlib", "numpy", "pillow", "torch")


@dataclass(frozen=True)
class Kept:
    """The pictures of a site that is there, by identity: where each is, its content's sha256, and what else is known of it.
    Beside the site lie those that a build drew which has not come to its end."""

    folder: Path
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def unfinished(self) -> Path:
        """The folder of pictures whose build has not come to its end."""
        return self.folder.with_name(f".{self.folder.name}.drawn")

    def found(self, identity: str) -> tuple[Mapping[str, Any], bytes] | None:
        """What is known of a picture, and its content; None where it is not there as it was written."""
        there = _read(self.folder, self.entries[identity]) if identity in self.entries else None
        if there is not None:
            return there
        try:
            entry = json.loads((self.unfinished / f"{identity}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return _read(self.unfinished, entry) if isinstance(entry, dict) else None

    def keep(self, identity: str, entry: Mapping[str, Any], content: bytes) -> None:
        """Write a picture as soon as it is drawn: pages are written at the end, and a build may be killed before."""
        write_atomically(self.unfinished / str(entry["path"]), content)
        write_atomically(self.unfinished / f"{identity}.json", json.dumps(entry))

    def finish(self) -> None:
        """Forget what was drawn: the site has it."""
        shutil.rmtree(self.unfinished, ignore_errors=True)


def _read(folder: Path, entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes] | None:
    try:
        content = (folder / str(entry["path"])).read_bytes()
        return (entry, content) if hashlib.sha256(content).hexdigest() == entry["sha256"] else None
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
    cells = sorted((name, repr(cell)) for name, cell in row.cells.items())
    return row.model, cells, (*row.missing, *row.unasked), row.marks, row.informing


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
