"""How an order of models changes: from attack to attack, between implementations of one, between protocol versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy import stats

from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.ranks.intervals import Ranking


@dataclass(frozen=True)
class Swap:
    """Two models whose order turns round: `ahead` leads in the first order and follows in the second. `beyond_chance`: both
    orders separate them significantly."""

    ahead: str
    behind: str
    beyond_chance: bool


@dataclass(frozen=True)
class Agreement:
    """Two orders of the models that both hold: Kendall's τ-b, in which ties count for neither, None where there is none (an
    order in which all are tied, or fewer than two models), and the pairs that swap."""

    first: str
    second: str
    models: tuple[str, ...]
    tau: float | None
    swaps: tuple[Swap, ...]


def agreement(names: tuple[str, str], first: Ranking, second: Ranking) -> Agreement:
    """Two orders side by side, over the models in both."""
    models = tuple(sorted(first.accuracy.keys() & second.accuracy.keys()))
    swaps = []
    for pair in combinations(models, 2):
        a, b = sorted(pair, key=lambda model: -first.accuracy[model])
        if first.accuracy[a] > first.accuracy[b] and second.accuracy[a] < second.accuracy[b]:
            swaps.append(Swap(a, b, (a, b) in first.better and (b, a) in second.better))
    return Agreement(*names, models, _tau([(first.accuracy[model], second.accuracy[model]) for model in models]), tuple(swaps))


def over_attacks(rankings: Mapping[str, Ranking]) -> list[Agreement]:
    """Every two columns of a board, from its rankings by column."""
    return [agreement((a, b), rankings[a], rankings[b]) for a, b in combinations(rankings, 2)]


def over_implementations(found: Sequence[Agreement]) -> list[Agreement]:
    """Of the agreements those between implementations of the same attack, ours and the libraries'."""
    return [each for each in found if _attack(each.first) == _attack(each.second)]


def between(first: Mapping[str, Ranking], second: Mapping[str, Ranking]) -> list[Agreement]:
    """The same column of two boards, for every column that both have."""
    return [agreement((column, column), first[column], second[column]) for column in first if column in second]


def matching_boards(first: Sequence[Board], second: Sequence[Board]) -> list[tuple[Board, Board]]:
    """Boards of one data set and protocol; of two protocols where either folder has no other of that data set."""
    return [
        (a, b)
        for a, b in product(first, second)
        if a.dataset == b.dataset and (a.protocol == b.protocol or (_is_alone(a, first) and _is_alone(b, second)))
    ]


def _is_alone(board: Board, boards: Sequence[Board]) -> bool:
    return sum(other.dataset == board.dataset for other in boards) == 1


def _attack(column: str) -> str:
    """The attack behind a column, whoever implements it; a worst case is no implementation of another."""
    return column if column in CASCADES else column.rpartition(":")[2]


def _tau(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 2:
        return None
    tau = float(stats.kendalltau(*np.array(pairs).T).statistic)
    return None if np.isnan(tau) else tau
