"""Every two models of a board, tested on the same examples, for the page that compares them: no test is made in the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.ranks.intervals import columns
from robustboard.benchmark.report.tables import is_bound
from robustboard.benchmark.report.verdicts import jointly_robust_examples
from robustboard.benchmark.statistics import CONFIDENCE, PairedDifference, holm_adjusted, paired_difference

MOST = 100
"""Of more models no pair is tested: their number grows with the square, and so would the page."""
Verdicts = Mapping[int, bool]


@dataclass(frozen=True)
class Side:
    """A model's verdicts in a column, by position in the split, and whether its number is no more than a bound."""

    robust: Verdicts
    is_bound: bool


@dataclass(frozen=True)
class Pair:
    """Two models, A and B, in a column: how many examples both withstand, A alone, B alone, and neither; B − A with Newcombe's
    interval and exact McNemar, and its p-value after Holm's correction over the columns of the two. Where either number is
    a bound nothing is tested, and both are None, as in `robustboard compare`."""

    both: int
    lost: int
    gained: int
    neither: int
    tested: PairedDifference | None
    p_holm: float | None

    @property
    def is_apart(self) -> bool:
        """Whether the test separates the two."""
        return self.p_holm is not None and self.p_holm <= 1 - CONFIDENCE


def sides_of(board: Board) -> list[dict[str, Side]]:
    """Of every row its sides by column: attacks and worst cases."""
    return [{column: side for column in columns(board) if (side := _side(row, column)) is not None} for row in board.rows]


def pairs_of(sides: Sequence[Mapping[str, Side]]) -> dict[tuple[int, int], dict[str, Pair]]:
    """By the places of two rows, A before B, what the columns say that both have on the same examples. Empty for more
    models than `MOST`."""
    if len(sides) > MOST:
        return {}
    return {(a, b): _compared(sides[a], sides[b]) for a, b in combinations(range(len(sides)), 2)}


def _side(row: Row, column: str) -> Side | None:
    if column in CASCADES:
        norm = CASCADES[column]
        worst, cells = row.worst_case(norm), row.of_norm(norm)
        return Side(jointly_robust_examples(cells), is_bound(row, worst, norm)) if worst else None
    cell = row.cells.get(column)
    return Side(jointly_robust_examples([cell]), cell.outcome.upper_bound_only) if cell else None


def _compared(a: Mapping[str, Side], b: Mapping[str, Side]) -> dict[str, Pair]:
    shared = [column for column in a if column in b and a[column].robust.keys() == b[column].robust.keys()]
    tables = {column: _counts(a[column].robust, b[column].robust) for column in shared}
    tested = {column: _tested(*tables[column]) for column in shared if not (a[column].is_bound or b[column].is_bound)}
    adjusted = dict(zip(tested, _adjusted(tuple(each.p_value for each in tested.values())), strict=True))
    return {column: Pair(*tables[column], tested.get(column), adjusted.get(column)) for column in shared}


def _counts(a: Verdicts, b: Verdicts) -> tuple[int, int, int, int]:
    outcomes = [(stands, b[index]) for index, stands in a.items()]
    return (
        outcomes.count((True, True)),
        outcomes.count((True, False)),
        outcomes.count((False, True)),
        outcomes.count((False, False)),
    )


@cache
def _tested(both: int, lost: int, gained: int, neither: int) -> PairedDifference:
    """The paired test of the four counts: it does not look at the order of the examples."""
    a = [1] * both + [1] * lost + [0] * gained + [0] * neither
    b = [1] * both + [0] * lost + [1] * gained + [0] * neither
    return paired_difference(a, b)


@cache
def _adjusted(p_values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(holm_adjusted(p_values)) if p_values else ()
