"""What a picture is made from: a board, the rows of it that are shown, what other boards know of them, and a bench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.bench import Bench, Setting, setting_of
from robustboard.benchmark.plots.style import SUSPECT, plain
from robustboard.benchmark.plots.words import mark_notes
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row

Scope = Literal["board", "model"]
"""Whether a picture is about a data set's models together, or about one of them."""


@dataclass(frozen=True)
class View:
    """A board and the rows that are shown, one of them for the scope "model". `others`: boards of other protocols, whose cells
    of the same models may add what one protocol does not measure. `attacks`: those asked for, none: the kind's own choice."""

    board: Board
    rows: tuple[Row, ...]
    scope: Scope
    others: tuple[Board, ...] = ()
    attacks: tuple[str, ...] = ()
    bench: Bench = field(default_factory=Bench)

    @property
    def row(self) -> Row:
        """The only row of a picture of one model."""
        (row,) = self.rows
        return row

    @property
    def model(self) -> str:
        """The model that the picture is about, "" for a board's."""
        return self.row.model if self.scope == "model" else ""

    def cells(self, row: Row) -> list[CellResult]:
        """The row's cells of the attacks asked for, all where none were, in the order of the board's plan, worst cases last."""
        order = list(self.attacks or self.board.attacks)
        named = [name for name in row.cells if not self.attacks or name in self.attacks]
        named.sort(key=lambda name: order.index(name) if name in order else len(order))
        return [row.cells[name] for name in named]

    def elsewhere(self, row: Row) -> Iterator[CellResult]:
        """Cells of other boards about the same weights of the same model, of the attacks asked for."""
        known = {(cell.model.weights_sha256, cell.model.code) for cell in row.cells.values()}
        for board in self.others:
            for other in board.rows:
                if board.dataset != self.board.dataset or other.model != row.model:
                    continue
                for cell in self.cells(other):
                    if (cell.model.weights_sha256, cell.model.code) in known:
                        yield cell

    def lacks(self, what: Sequence[str]) -> InputError:
        """The error for a picture without cells: of which attacks (`what`, if none were asked for), and how they are made."""
        wanted, protocol = self.attacks or what, self.board.protocol.partition("@")[0]
        who = f"{self.board.dataset}/{self.model} has no cell" if self.model else f"no row of {self.board.dataset} has a cell"
        command = f"robustboard run --protocol {protocol} --dataset {self.board.dataset}"
        models = f" --models {self.model}" if self.model else ""
        return InputError(
            f"{who} of {' or '.join(wanted)} under protocol {self.board.protocol}: {command}{models} --attacks {','.join(wanted)}"
        )

    def notes(self, rows: Sequence[Row] = ()) -> tuple[str, ...]:
        """The marks of the rows (none: of all), for pictures that run networks: that one is of other weights than its row's
        cells is a mark, too."""
        rows = rows or self.rows
        changed = [row.model for row in rows if row.cells and self.bench.is_other(self.board.dataset, row)]
        text = f"{SUSPECT} {', '.join(map(plain, changed))}: the network here is of other weights than the cells of its row."
        return (*mark_notes(rows), *([text] if changed else []))

    def setting(self, name: str, usual: int) -> Setting:
        """The attack `name` as this board has it, for pictures of `usual` examples."""
        cells = [cell for row in self.board.rows for cell in row.cells.values()]
        return setting_of(name, cells, self.board.protocol, self.bench.examples(self.board.dataset, usual))
