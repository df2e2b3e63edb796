"""What an answer is, and what every answer is made of: cells that are whole, names with their marks, paired comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustboard.attacks.attack import Norm
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.tables import marked_name, worst_cell
from robustboard.benchmark.report.verdicts import distances, robust_examples
from robustboard.benchmark.statistics import PairedDifference, paired_difference, paired_distances

Rows = Mapping[str, Row]
"""The rows of a data set's board by the model's name."""


@dataclass(frozen=True)
class Answer:
    """What the cells say now: a table of figures, and the verdict in a sentence; no figures where cells are missing."""

    verdict: str
    headers: Sequence[str] = ()
    figures: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Claim:
    """A claim, the number the log had, and the function of a data set's rows that answers it."""

    text: str
    then: str
    answer: Callable[[Rows], Answer]
    dataset: str = "mnist"


MISSING = Answer("Not answered: the cells that it needs are not here.")


def has(row: Row, *attacks: str) -> bool:
    """Whether the row has these cells whole: where an attack failed the number is a bound, which answers nothing."""
    return all(name in row.cells and not row.cells[name].outcome.upper_bound_only for name in attacks)


def named(row: Row) -> str:
    return for_markdown(marked_name(row))


def worst(row: Row, norm: Norm = "linf") -> str:
    return worst_cell(row, norm, row.any_cell().outcome.n)


def median(cell: CellResult) -> float:
    return float(np.median(list(distances(cell).values())))


def longer(a: CellResult, b: CellResult) -> tuple[float, float]:
    """The median of b − a over the examples both have right, and the p-value of Wilcoxon's signed-rank test."""
    first, second = distances(a), distances(b)
    both = [index for index in first if index in second]
    found = paired_distances(np.array([first[index] for index in both]), np.array([second[index] for index in both]))
    return float("nan") if found.difference is None else found.difference, found.p_value


def standing(a: CellResult, b: CellResult) -> PairedDifference:
    """The robust accuracies b − a over the same examples."""
    first, second = robust_examples(a), robust_examples(b)
    both = [index for index in first if index in second]
    return paired_difference([first[index] for index in both], [second[index] for index in both])


def signed(value: float, digits: int) -> str:
    """With its sign, which nothing that rounds to 0 has."""
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def points(found: PairedDifference) -> str:
    """A difference of accuracies in points with its 95 % interval."""
    return f"{signed(100 * found.difference, 1)} [{signed(100 * found.low, 1)}, {signed(100 * found.high, 1)}]"


def star(significant: bool) -> str:
    return " *" if significant else ""
