"""Why a model's numbers are to be distrusted, as far as its own cells show it."""

from __future__ import annotations

from collections.abc import Mapping

from robustboard.benchmark.datasets import CLASSES
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.verdicts import clean_disagreements
from robustboard.benchmark.statistics import differs_from, is_chance


def marks(cells: Mapping[str, CellResult]) -> list[str]:
    """Why a model's numbers are to be distrusted, one sentence each, from its cells by attack."""
    cell = max(cells.values(), key=lambda cell: cell.outcome.n)
    n, right = cell.outcome.n, round(cell.outcome.clean_accuracy * cell.outcome.n)
    found = []
    if is_chance(n, n, CLASSES):
        found.append(f"n = {n}: too few examples to tell it from a model that guesses")
    elif is_chance(right, n, CLASSES):
        found.append(f"untrained: clean accuracy {right / n:.1%} is no better than chance")
    expected = cell.model.expected_clean_accuracy
    if expected is not None and differs_from(right, n, expected):
        found.append(f"clean accuracy {right / n:.1%} differs from the registry's {expected:.1%}")
    if cell.model.output != "logits":
        found.append(f"outputs are {cell.model.output}, which can hide gradients")
    odd = clean_disagreements(cells.values())
    if odd:
        found.append(f"its cells disagree on whether {len(odd)} of {n} examples are right clean, first {odd[0]}: run them again")
    for name, result in cells.items():
        if result.outcome.upper_bound_only:
            failed, of = result.outcome.n_attack_failures, result.outcome.n
            reasons = "; ".join(result.outcome.failure_reasons)
            found.append(f"{name} failed on {failed} of {of} examples ({reasons}): upper bound only")
    return found
