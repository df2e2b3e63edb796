"""What cells say of each example: whether it was robust, and how far away its nearest error was found."""

from __future__ import annotations

from collections.abc import Sequence

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult


def robust_examples(cell: CellResult) -> dict[int, bool]:
    """Example -> whether it is right clean and was not fooled within ε."""
    rows = zip(cell.per_example.index, cell.per_example.correct_clean, cell.per_example.fooled, strict=True)
    return {index: bool(right) and not fooled for index, right, fooled in rows}


def jointly_robust_examples(cells: Sequence[CellResult]) -> dict[int, bool]:
    """Every example that any of one model's cells covers -> right clean and fooled by none that covers it.

    Raises `InputError` where the cells disagree on an example clean.
    """
    robust: dict[int, bool] = {}
    right: dict[int, bool] = {}
    for cell in cells:
        for index, correct in zip(cell.per_example.index, cell.per_example.correct_clean, strict=True):
            if right.setdefault(index, bool(correct)) != bool(correct):
                raise InputError(
                    f"{cell.dataset.name}/{cell.model.name}: its cells disagree on example {index} clean; run them again"
                )
        for index, stands in robust_examples(cell).items():
            robust[index] = robust.get(index, True) and stands
    return robust


def distances(cell: CellResult) -> dict[int, float]:
    """Example -> size of the perturbation found, infinite where none was; clean errors are left out."""
    examples = cell.per_example
    rows = zip(examples.index, examples.correct_clean, examples.found, examples.distance, strict=True)
    return {
        index: distance if found and distance is not None else float("inf") for index, right, found, distance in rows if right
    }
