"""Ranks as intervals: models stand apart only where a paired test on the same examples separates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.verdicts import jointly_robust_examples
from robustboard.benchmark.statistics import holm, mcnemar

Verdicts = Mapping[int, bool]
"""Example -> right clean and not fooled."""


@dataclass(frozen=True)
class RankInterval:
    """The ranks that a model can have, the best is 1; spelled "2" or "2–4"."""

    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


@dataclass(frozen=True)
class Ranking:
    """Models by their robust accuracy in one column, each over its n examples. `better` holds (winner, loser) of each pair that
    a test separates."""

    accuracy: Mapping[str, float]
    n: Mapping[str, int]
    better: frozenset[tuple[str, str]]

    def interval(self, model: str) -> RankInterval:
        """From one more than the models significantly better to all that are not significantly worse."""
        ahead = sum(loser == model for _, loser in self.better)
        behind = sum(winner == model for winner, _ in self.better)
        return RankInterval(1 + ahead, len(self.accuracy) - behind)


def rank(models: Mapping[str, Verdicts]) -> Ranking:
    """Every pair of models that shares examples is tested on those by exact McNemar (two-sided); Holm's correction over all
    these pairs keeps the chance that any two alike are ranked apart below 5 %. A pair without shared examples is not
    separated. Where all models have the same examples, an interval contains the rank by the accuracies alone.
    """
    indices = sorted(set().union(*models.values()))
    verdicts = {
        model: np.array([robust.get(index, np.nan) for index in indices], dtype=np.float64) for model, robust in models.items()
    }
    pairs, p_values = [], []
    for first, second in combinations(models, 2):
        differences = verdicts[second] - verdicts[first]  # not a number where either did not look
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        if np.isfinite(differences).any():
            pairs.append((first, second) if lost > gained else (second, first))
            p_values.append(mcnemar(gained, lost))
    better = frozenset(pair for pair, is_apart in zip(pairs, holm(p_values), strict=True) if is_apart)
    n = {model: len(robust) for model, robust in models.items()}
    return Ranking({model: sum(robust.values()) / n[model] for model, robust in models.items()}, n, better)


def columns(board: Board) -> list[str]:
    """What the rows of a board can be ranked by: its attacks, and the worst case of each norm that has one."""
    worst = [name for name, norm in CASCADES.items() if any(row.of_norm(norm) for row in board.rows)]
    return [*board.attacks, *worst]


def rank_rows(board: Board, column: str) -> Ranking:
    """The ranking, in one of the board's columns, of the rows that `is_ranked` there."""
    return rank({row.model: jointly_robust_examples(_cells(row, column)) for row in board.rows if is_ranked(row, column)})


def is_ranked(row: Row, column: str) -> bool:
    """Whether the row's number in the column is measured and not in doubt; a worst case wants every planned cell of its norm."""
    return bool(_cells(row, column)) and not row.is_doubted and not (column in CASCADES and row.lacks(CASCADES[column]))


def rank_text(row: Row, column: str, ranking: Ranking) -> str:
    """A row's rank in a column: "2–4", "last ▲" where it has a number that is not ranked, "–" where it has none."""
    if row.model in ranking.n:
        return str(ranking.interval(row.model))
    return "last ▲" if _cells(row, column) else "–"


def main_column(board: Board) -> str | None:
    """The worst case that a board is ranked by: in L∞ where any row has one, else in L2, None without either."""
    return next((name for name in CASCADES if name in columns(board)), None)


def _cells(row: Row, column: str) -> list[CellResult]:
    if column in CASCADES:
        return row.of_norm(CASCADES[column])
    return [row.cells[column]] if column in row.cells else []
