"""Runs of one recipe that differ by their seed alone: how far apart they lie, beside what so few examples leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustboard.benchmark.report.board import Row
from robustboard.benchmark.report.ranks.intervals import Ranking
from robustboard.benchmark.statistics import mean_interval, wilson
from robustboard.models.recipe import RecipeError, parse_recipe

CLEAN = "clean"


@dataclass(frozen=True)
class Spread:
    """The accuracies of a recipe's runs in one column. `over_seeds`: Student's 95 % interval of their mean, what other seeds
    would give; `over_examples`: Wilson's interval of that mean on the n examples that all runs share, what other examples
    would give."""

    recipe: str
    column: str
    runs: tuple[str, ...]
    n: int
    accuracies: tuple[float, ...]
    over_seeds: tuple[float, float]
    over_examples: tuple[float, float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def larger(self) -> str:
        """Which of the two intervals is wider: "seeds" or "examples"."""
        widths = [high - low for low, high in (self.over_seeds, self.over_examples)]
        return "seeds" if widths[0] > widths[1] else "examples"


def spreads(rows: Sequence[Row], rankings: Mapping[str, Ranking]) -> list[Spread]:
    """Of every recipe with two runs or more, the spread of the clean accuracy and of each column of `rankings`. Runs whose
    number is marked or not there are left out of that column."""
    found = []
    for recipe, runs in _by_recipe(rows).items():
        for column in (CLEAN, *rankings):
            counted = _clean(runs) if column == CLEAN else _ranked(runs, rankings[column])
            if len(counted) > 1:
                found.append(_spread(recipe, column, counted))
    return found


def _by_recipe(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their recipe without its seed; a model whose name is no recipe is nobody's run."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.model):
        try:
            recipe = str(replace(parse_recipe(row.model), seed=0))
        except RecipeError:
            continue
        found.setdefault(recipe, []).append(row)
    return found


def _clean(runs: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """Run -> its clean accuracy, and of how many examples."""
    outcomes = {row.model: row.any_cell().outcome for row in runs if not row.is_doubted}
    return {model: (outcome.clean_accuracy, outcome.n) for model, outcome in outcomes.items()}


def _ranked(runs: Sequence[Row], ranking: Ranking) -> dict[str, tuple[float, int]]:
    """Run -> its robust accuracy, and of how many examples."""
    return {row.model: (ranking.accuracy[row.model], ranking.n[row.model]) for row in runs if row.model in ranking.n}


def _spread(recipe: str, column: str, counted: Mapping[str, tuple[float, int]]) -> Spread:
    accuracies = tuple(accuracy for accuracy, _ in counted.values())
    n = min(size for _, size in counted.values())
    low, high = mean_interval(accuracies)
    examples = wilson(round(float(np.mean(accuracies)) * n), n)
    return Spread(recipe, column, tuple(counted), n, accuracies, (max(low, 0.0), min(high, 1.0)), examples)
