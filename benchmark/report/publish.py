"""Folders of results in, tables out: printed, written to a file in its style, or put between the marks of a README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robustboard.benchmark.canaries.grades import Grade, find_grades
from robustboard.benchmark.certify.record import read_certificates
from robustboard.benchmark.diagnose.record import read_diagnoses
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.rows import rows_of, to_csv
from robustboard.benchmark.report.tables import is_named, render
from robustboard.benchmark.results import read_folder, read_manifests, write_atomically

STYLES = ("terminal", "markdown", "latex", "csv")
_SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".tex": "latex", ".csv": "csv", ".txt": "terminal"}
BEGIN, END = "<!-- leaderboard: begin -->", "<!-- leaderboard: end -->"


@dataclass(frozen=True)
class Published:
    """The tables as text, and one sentence a file that could not be read."""

    text: str
    troubles: list[str]


def publish(
    folders: Sequence[Path],
    style: str,
    write: Path | None = None,
    into: Sequence[Path] = (),
    known: Sequence[Path] = (),
    shown: Sequence[str] = ("*",),
) -> Published:
    """Render everything readable below `folders` in a style of `STYLES`; `write` receives the style of its suffix, `into`
    Markdown. Grades of the attacks' implementations, those kept beside the results or else the package's, are named under the
    tables; distances of the cells below `known` are among those that optimality is told against, its diagnoses stand in for
    missing ones; only models that a glob of `shown` names have rows, in CSV, too.

    Raises `InputError` when there is nothing to report.
    """
    boards, troubles = read_boards(folders, known)
    if not boards:
        told = f" ({'; '.join(troubles)})" if troubles else ""
        raise InputError(f"there is nothing to report in {', '.join(map(str, folders))}{told}")
    if not any(is_named(row, board.dataset, shown) for board in boards for row in board.rows) and any(b.rows for b in boards):
        raise InputError(f"no model in {', '.join(map(str, folders))} is called {', '.join(shown)}")
    try:
        grades = find_grades(folders)
    except InputError as trouble:
        grades = []
        troubles.append(str(trouble))
    others = [cell for folder in known for cell in read_folder(_there(folder))[0]]
    if write is not None:
        write_atomically(write, _rendered(boards, style_of(write, style), grades, others, shown))
    for path in into:
        write_atomically(path, _between_marks(path, render(boards, "markdown", grades, others, shown)))
    return Published(_rendered(boards, style, grades, others, shown), troubles)


def style_of(path: Path, style: str) -> str:
    """The style of a file by its suffix; one without a suffix gets `style`, or Markdown instead of a terminal's. Raises
    `InputError` for any other suffix."""
    if not path.suffix:
        return "markdown" if style == "terminal" else style
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path} has a suffix that tells no style: name a file that ends in {', '.join(_SUFFIXES)}")
    return _SUFFIXES[path.suffix.lower()]


def _rendered(
    boards: Sequence[Board], style: str, grades: Sequence[Grade], known: Sequence[CellResult], shown: Sequence[str]
) -> str:
    if style != "csv":
        return render(boards, style, grades, known, shown)
    named = [replace(board, rows=tuple(row for row in board.rows if is_named(row, board.dataset, shown))) for board in boards]
    return to_csv(rows_of(named, grades, known))


def read_boards(folders: Sequence[Path], known: Sequence[Path] = ()) -> tuple[list[Board], list[str]]:
    """The boards of everything readable below the folders, and one sentence a file that could not be read; diagnoses below
    `known` stand in for those that are missing here. Raises `InputError` for a folder that is not there, and for cells that
    cannot stand in one table."""
    cells, troubles, manifests, certificates, diagnoses = [], [], [], [], []
    for folder in folders:
        found, unread = read_folder(_there(folder))
        cells += found
        troubles += unread
        plans, unread = read_manifests(folder)
        manifests += plans
        troubles += unread
        proofs, unread = read_certificates(folder)
        certificates += proofs
        troubles += unread
        looks, unread = read_diagnoses(folder)
        diagnoses += looks
        troubles += unread
    lent = []
    for folder in known:
        looks, unread = read_diagnoses(_there(folder))
        lent += looks
        troubles += unread
    return make_boards(cells, manifests, certificates, diagnoses, lent), troubles


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: name one that robustboard run wrote")
    return folder


def _between_marks(path: Path, text: str) -> str:
    try:
        old = path.read_text(encoding="utf-8")
    except OSError as trouble:
        raise InputError(f"cannot read {path}: {trouble.strerror}") from trouble
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path} has no marks {BEGIN} … {END} to put the tables between")
    return f"{head}{BEGIN}\n\n{text}\n{END}{tail}"
