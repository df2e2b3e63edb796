"""Folders of results in, everything that is told of their orders out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.publish import read_boards
from robustboard.benchmark.report.ranks.intervals import Ranking, columns, rank_rows
from robustboard.benchmark.report.ranks.seeds import Spread, spreads
from robustboard.benchmark.report.ranks.stability import Agreement, between, matching_boards, over_attacks


@dataclass(frozen=True)
class BoardStudy:
    """A board of a folder: its rankings by column, how they agree, and the spread over seeds."""

    folder: Path
    board: Board
    rankings: Mapping[str, Ranking]
    agreements: tuple[Agreement, ...]
    spreads: tuple[Spread, ...]


@dataclass(frozen=True)
class Change:
    """Two boards of one data set, of two folders, and how the orders of their columns agree."""

    first: BoardStudy
    second: BoardStudy
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True)
class Study:
    """All boards, the changes from each folder to the next, and one sentence a file that could not be read."""

    boards: tuple[BoardStudy, ...]
    changes: tuple[Change, ...]
    troubles: tuple[str, ...]


def study(folders: Sequence[Path], chosen: Sequence[str] = (), known: Sequence[Path] = ()) -> Study:
    """The boards of each folder on its own, and each folder against the next. `chosen` columns are attacks, worst_case and
    worst_case_l2; all that a board has by default. Diagnoses below `known` stand in for missing ones.

    Raises `InputError` for a folder without results, for one whose cells cannot stand in one table, and for a column that no
    board has.
    """
    found, troubles = [], []
    for folder in folders:
        boards, unread = read_boards([folder], known)
        troubles += unread
        if not any(board.rows for board in boards):
            raise InputError(f"there are no results in {folder}: run robustboard run first, or name a folder that has some")
        found.append([board for board in boards if board.rows])
    _known([board for boards in found for board in boards], chosen)
    studied = {
        id(board): study_of(board, folder, chosen) for folder, boards in zip(folders, found, strict=True) for board in boards
    }
    changes = [
        _change(studied[id(a)], studied[id(b)]) for first, second in pairwise(found) for a, b in matching_boards(first, second)
    ]
    return Study(tuple(studied.values()), tuple(changes), tuple(troubles))


def _known(boards: Sequence[Board], chosen: Sequence[str]) -> None:
    known = list(dict.fromkeys(column for board in boards for column in columns(board)))
    for column in chosen:
        if column not in known:
            raise InputError(f"there is no column {column!r}{suggest(column, known)}; there are {', '.join(known)}")


def study_of(board: Board, folder: Path, chosen: Sequence[str] = ()) -> BoardStudy:
    """A board on its own, by the `chosen` columns or all."""
    rankings = {column: rank_rows(board, column) for column in columns(board) if column in chosen or not chosen}
    return BoardStudy(folder, board, rankings, tuple(over_attacks(rankings)), tuple(spreads(board.rows, rankings)))


def _change(first: BoardStudy, second: BoardStudy) -> Change:
    return Change(first, second, tuple(between(first.rankings, second.rankings)))
