"""What cells say of each example: whether it was robust, and how far away its nearest error was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustboard.benchmark.records import CellResult


def robust_examples(cell: CellResult) -> dict[int, bool]:
    """Example -> whether it is right clean and was not fooled within ε."""
    rows = zip(cell.per_example.index, cell.per_example.correct_clean, cell.per_example.fooled, strict=True)
    return {index: bool(right) and not fooled for index, right, fooled in rows}


def jointly_robust_examples(cells: Sequence[CellResult]) -> dict[int, bool]:
    """Every example that any of one model's cells covers -> right clean in all that cover it and fooled by none of them."""
    robust: dict[int, bool] = {}
    for cell in cells:
        for index, stands in robust_examples(cell).items():
            robust[index] = robust.get(index, True) and stands
    return robust


def clean_disagreements(cells: Iterable[CellResult]) -> list[int]:
    """The examples that one of a model's cells has right clean and another wrong, in order: the model is no function of its
    image, or the cells were computed on machines that round differently."""
    right: dict[int, int] = {}
    odd = set()
    for cell in cells:
        for index, correct in zip(cell.per_example.index, cell.per_example.correct_clean, strict=True):
            if right.setdefault(index, correct) != correct:
                odd.add(index)
    return sorted(odd)


def distances(cell: CellResult) -> dict[int, float]:
    """Example -> size of the perturbation found, infinite where none was; clean errors are left out."""
    examples = cell.per_example
    rows = zip(examples.index, examples.correct_clean, examples.found, examples.distance, strict=True)
    return {
        index: distance if found and distance is not None else float("inf") for index, right, found, distance in rows if right
    }
