"""What every column, sign, check and picture means: the legend of the tables, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustboard.benchmark.plots.words import attack_words
from robustboard.benchmark.report import tables
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.tables import Column, ColumnKind

COLUMNS: Mapping[ColumnKind, str] = {
    "model": "A registry model's name is its recipe: units, architecture, head, training against adversaries.",
    "rank": tables.RANKED,
    "parameters": "Trainable numbers of the network.",
    "clean": "The share of all n examples that the model classifies right, in %, its logit strictly the largest.",
    "attack": tables.ROBUST,
    "worst": tables.WORST,
    "certified": tables.CERTIFIED,
    "median": tables.MEDIAN,
    "failure": tables.FAILURE,
    "seconds": tables.SECONDS,
}
TITLES: Mapping[ColumnKind, str] = {
    "model": "model",
    "rank": "rank",
    "parameters": "parameters",
    "clean": "clean",
    "attack": "an attack's name",
    "worst": "worst L∞, worst L2",
    "certified": "certified L∞",
    "median": "median L2, median features",
    "failure": "failure t=0.5",
    "seconds": "s/example",
}
SIGNS: Mapping[str, str] = {
    "37.6 [34.7–40.6]": "The number, and Wilson's 95 % interval around it: what sampling n examples leaves open. It says nothing "
    "about attacks that were not run.",
    "≤": "No more than an upper bound: the attack failed on some examples, or attacks of the norm are missing or were not asked "
    "for.",
    "≥ in certified L∞": "A lower bound: at least so many are proved robust.",
    "= in certified L∞": "The robust accuracy itself: every example was decided.",
    "76.9–77.1 in certified L∞": "The robust accuracy lies between: all examples but a few were decided.",
    "≥ in failure t=0.5": "At least so many: the attack failed on some examples.",
    "▲": "Distrust this number: the reason stands in the cell's note, below the table and on the model's page. In the column "
    "rank, “last ▲” is not ranked.",
    "△": "A failed check or a note that leaves the number what it is.",
    "↓": tables.BELOW.removeprefix("↓: ").strip(),
    "2–4": "A tie: the places that the model can have. Models whose places overlap may still be apart; the comparison says so.",
    "n=200": "Fewer examples than the rest of the column, or of the board.",
    "missing": "Of the protocol or of the run, without a readable result here; the marks say whether it was asked for.",
    "–": "There is no such number.",
    "≥ half unfooled": "Half or more of the examples were fooled at no distance.",
    "shading": "Darker is more: the share of examples that stand. Shades are in the order of their grey.",
}
"""The signs of the cells."""


@dataclass(frozen=True)
class Explained:
    """A column's header, what it holds and of what, and the text that explains it: its attack's parameters first."""

    header: str
    kind: ColumnKind
    of: str
    text: str


def explained(board: Board) -> list[Explained]:
    """The board's columns."""
    return [Explained(column.header, column.kind, column.of, _text(board, column)) for column in tables.columns(board)]


def _text(board: Board, column: Column) -> str:
    text = COLUMNS[column.kind].strip()
    if column.kind == "attack":
        cell = next((row.cells[column.of] for row in board.rows if column.of in row.cells), None)
        text = f"{attack_words(cell.attack)} {text}" if cell else text
    return text.replace("**", "")
