"""How near minimum-norm attacks come to the shortest perturbations known: their distances against the best of everything run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robustboard.benchmark.records import CellResult
from robustboard.benchmark.statistics import Distances, optimality


def optimalities(cells: Mapping[str, CellResult], norm: str = "l2") -> dict[str, float]:
    """By name, the optimality of a model's minimum-norm attacks of `norm`, on the examples that all of them cover, against the
    best of every cell of that norm. Empty where there are fewer than two."""
    measured = {name: cell for name, cell in cells.items() if cell.attack.norm == norm}
    graded = {name: cell for name, cell in measured.items() if cell.attack.aim == "minimum"}
    if len(graded) < 2:
        return {}
    shared = sorted(set.intersection(*(set(cell.per_example.index) for cell in graded.values())))
    known = np.stack([_distances(cell, shared) for cell in measured.values()])
    best = known.min(axis=0)
    return {name: optimality(_distances(cell, shared), best) for name, cell in graded.items()}


def _distances(cell: CellResult, indices: Sequence[int]) -> Distances:
    """What the cell found for each of `indices`: 0 for clean errors, infinite where it found nothing or did not look."""
    rows = cell.per_example
    found = {
        index: 0.0 if not right else distance if there and distance is not None else np.inf
        for index, right, there, distance in zip(rows.index, rows.correct_clean, rows.found, rows.distance, strict=True)
    }
    return np.array([found.get(index, np.inf) for index in indices])
