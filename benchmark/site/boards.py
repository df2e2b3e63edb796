"""A board as its page shows it: the report's sheet in parts, with names for files, answers, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from robustboard.benchmark.canaries.grades import Grade
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.datasets import title as dataset_title
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.ranks.page import seeds, taus
from robustboard.benchmark.report.ranks.study import study_of
from robustboard.benchmark.report.rows import ResultRow, flags_of, rows_of
from robustboard.benchmark.report.sheet import Grid, Sheet
from robustboard.benchmark.report.tables import ColumnKind, sheet
from robustboard.benchmark.site.answers import Answers, answers
from robustboard.benchmark.site.legend import Explained, explained
from robustboard.benchmark.site.names import slugs
from robustboard.benchmark.site.pairs import MOST
from robustboard.benchmark.site.parts import Parts, parts

PAGES = ("index", "compare", "read", "site")
"""Names that no board's page may have."""
AT_ONCE = 50
"""Rows that a board's page shows at once; further ones on further pages of the table."""
_ORDER: tuple[ColumnKind, ...] = ("model", "rank", "worst", "certified", "clean", "attack", "median", "failure")
"""What a screen shows first: the columns that decide; those not named come last."""


@dataclass(frozen=True)
class Line:
    """A row of the table: its model, the page's name, the cells, the sentences on why it is suspect or what is to be known, and
    whether these put it last."""

    row: Row
    slug: str
    cells: tuple[Parts, ...]
    flags: tuple[str, ...]

    @property
    def model(self) -> str:
        return self.row.model

    @property
    def is_suspect(self) -> bool:
        return self.row.is_suspect


@dataclass(frozen=True)
class Orders:
    """How far the order of a board can be believed: how its columns' orders agree, None for a single column, how many pairs
    of models swap from one to another, how many of them beyond chance, and the spread over seeds, None where no recipe has
    several."""

    taus: Grid | None
    swaps: int
    beyond_chance: int
    seeds: Grid | None


@dataclass(frozen=True)
class BoardPage:
    """A board, the name of its page, its sheet, its rows as records, and the table: columns, a line a model, and the last line,
    what the attacks did on models with known answers, which is empty where none was graded. `orders` is None for fewer than two
    models, and for more than are compared."""

    board: Board
    slug: str
    sheet: Sheet
    rows: tuple[ResultRow, ...]
    columns: tuple[Explained, ...]
    lines: tuple[Line, ...]
    footer: tuple[str, ...]
    answers: Answers | None
    orders: Orders | None

    @property
    def title(self) -> str:
        return dataset_title(self.board.dataset)

    @property
    def has_cascade(self) -> bool:
        """Whether a row went on with the cascade of a worst case."""
        return any(name in row.cells for row in self.board.rows for name in CASCADES)

    @property
    def protocol(self) -> str:
        """ "protocol standard v5"."""
        return f"protocol {self.board.protocol} v{self.board.version}"

    @cached_property
    def slugs(self) -> Mapping[str, str]:
        """Model -> its page."""
        return {line.model: line.slug for line in self.lines}


def board_pages(boards: Sequence[Board], grades: Sequence[Grade], known: Sequence[CellResult]) -> list[BoardPage]:
    """A page a board: called by its data set, with the protocol where one has several."""
    several = [board.dataset for board in boards]
    names = [
        board.dataset if several.count(board.dataset) == 1 else f"{board.dataset}-{board.protocol}-v{board.version}"
        for board in boards
    ]
    pages = slugs(names, PAGES)
    return [_page(board, pages[name], grades, known) for board, name in zip(boards, names, strict=True)]


def _page(board: Board, slug: str, grades: Sequence[Grade], known: Sequence[CellResult]) -> BoardPage:
    said, found = sheet(board, grades, known), explained(board)
    order = sorted(range(len(found)), key=lambda at: _ORDER.index(found[at].kind) if found[at].kind in _ORDER else len(_ORDER))
    columns = [found[at] for at in order]
    texts = [[row[at] for at in order] for row in said.table.rows] if said.table else []
    models = slugs(row.model for row in board.rows)
    lines = [
        Line(
            row,
            models[row.model],
            tuple(parts(cell, column.kind) for cell, column in zip(text, columns, strict=True)),
            flags_of(row),
        )
        for row, text in zip(board.rows, texts[: len(board.rows)], strict=True)
    ]
    footer = texts[-1] if len(texts) > len(lines) else []
    rows = rows_of([board], grades, known)
    return BoardPage(board, slug, said, tuple(rows), tuple(columns), tuple(lines), tuple(footer), answers(board), _orders(board))


def _orders(board: Board) -> Orders | None:
    if not 2 <= len(board.rows) <= MOST:
        return None
    found = study_of(board, Path())
    swaps = [swap for pair in found.agreements for swap in pair.swaps]
    return Orders(
        taus(found) if len(found.rankings) > 1 else None,
        len(swaps),
        sum(swap.beyond_chance for swap in swaps),
        seeds(found) if found.spreads else None,
    )
