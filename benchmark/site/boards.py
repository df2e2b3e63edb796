"""A board as its page shows it: the report's sheet in parts, with names for files, answers, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from robustboard.benchmark.canaries.grades import Grade
from robustboard.benchmark.datasets import title as dataset_title
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.rows import ResultRow, flags_of, rows_of
from robustboard.benchmark.report.sheet import Sheet
from robustboard.benchmark.report.tables import sheet
from robustboard.benchmark.site.answers import Answers, answers
from robustboard.benchmark.site.legend import Explained, explained
from robustboard.benchmark.site.names import slugs
from robustboard.benchmark.site.parts import Parts, parts

PAGES = ("index", "compare", "read", "site")
"""Names that no board's page may have."""


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
class BoardPage:
    """A board, the name of its page, its sheet and its rows as records."""

    board: Board
    slug: str
    sheet: Sheet
    rows: tuple[ResultRow, ...]
    columns: tuple[Explained, ...]
    lines: tuple[Line, ...]
    answers: Answers | None

    @property
    def title(self) -> str:
        return dataset_title(self.board.dataset)

    @property
    def protocol(self) -> str:
        """ "protocol standard v5"."""
        return f"protocol {self.board.protocol} v{self.board.version}"

    @property
    def footer(self) -> tuple[str, ...]:
        """The table's last line, what the attacks did on models with known answers; empty where none was graded."""
        table = self.sheet.table
        return table.rows[-1] if table and len(table.rows) > len(self.board.rows) else ()

    @cached_property
    def slugs(self) -> Mapping[str, str]:
        """Model -> its page."""
        return {line.model: line.slug for line in self.lines}

    def place(self, kind: str) -> int | None:
        """Where the first column of a kind stands."""
        return next((at for at, column in enumerate(self.columns) if column.kind == kind), None)


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
    said, columns = sheet(board, grades, known), explained(board)
    models = slugs(row.model for row in board.rows)
    texts = said.table.rows[: len(board.rows)] if said.table else ()
    lines = [
        Line(
            row,
            models[row.model],
            tuple(parts(cell, column.kind) for cell, column in zip(text, columns, strict=True)),
            flags_of(row),
        )
        for row, text in zip(board.rows, texts, strict=True)
    ]
    return BoardPage(board, slug, said, tuple(rows_of([board], grades, known)), tuple(columns), tuple(lines), answers(board))
