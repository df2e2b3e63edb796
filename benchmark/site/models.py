"""A model as its page shows it: every attack, its diagnosis, how it was made, how it is made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustboard.benchmark.diagnose.record import Diagnosis
from robustboard.benchmark.plots.words import attack_words
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.diagnoses import of_model, shown
from robustboard.benchmark.report.rows import ResultRow
from robustboard.benchmark.report.tables import attack_cell
from robustboard.benchmark.site.boards import BoardPage, Line
from robustboard.benchmark.site.parts import Parts, parts
from robustboard.benchmark.site.recipe import Making, making
from robustboard.benchmark.site.reproduce import Reproduction, citation, reproduction
from robustboard.models.registry import ModelCard

HEADLINES = ("rank", "clean", "worst", "certified", "median", "failure")
"""The kinds of columns that stand large at the top of the page."""


@dataclass(frozen=True)
class Attacked:
    """One attack on the model: the record's row, its number as the board has it, the attack with every parameter, and the cell
    (None where there is no result)."""

    row: ResultRow
    number: Parts
    words: str
    cell: CellResult | None


@dataclass(frozen=True)
class ModelPage:
    """A model of a board, its line, its attacks, its diagnosis (None without one that fits), how it was made, and how it is made
    again."""

    page: BoardPage
    line: Line
    attacks: tuple[Attacked, ...]
    diagnosis: Diagnosis | None
    making: Making
    reproduction: Reproduction
    citation: str

    @property
    def model(self) -> str:
        return self.line.model

    @property
    def slug(self) -> str:
        return self.line.slug

    @property
    def figures(self) -> list[tuple[str, Parts]]:
        """The board's columns that stand at the top, and the line's cells of them."""
        columns = zip(self.page.columns, self.line.cells, strict=True)
        return [(column.header, cell) for column, cell in columns if column.kind in HEADLINES]

    @property
    def rivals(self) -> list[Line]:
        """The models to compare with first: the board's first, and those beside it."""
        lines = self.page.lines
        at = lines.index(self.line)
        near = [lines[place] for place in (0, at - 1, at + 1) if 0 <= place < len(lines) and place != at]
        return list({line.slug: line for line in near}.values())


def model_page(
    page: BoardPage, line: Line, diagnoses: Sequence[Diagnosis], cards: Mapping[str, ModelCard], others: Sequence[Board]
) -> ModelPage:
    """The page of a line of the board; `diagnoses` and `cards` are all that there are, `others` boards whose cells it shows."""
    board, row = page.board, line.row
    mine = of_model(diagnoses, board.protocol, board.dataset, row.model)
    rows = [each for each in page.rows if each.model == row.model]
    return ModelPage(
        page,
        line,
        tuple(_attacked(each, row) for each in rows),
        shown(mine, row.cells) if mine else None,
        making(board, row, cards),
        reproduction(board, row, others),
        citation(board, row),
    )


def _attacked(record: ResultRow, row: Row) -> Attacked:
    cell = row.cells.get(record.attack)
    return Attacked(record, parts(attack_cell(cell, row), "attack"), attack_words(cell.attack) if cell else "", cell)
