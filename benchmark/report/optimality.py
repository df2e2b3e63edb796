"""How near minimum-norm attacks come to the shortest perturbations known: their distances against the best of everything run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from robustboard.benchmark.records import CellResult
from robustboard.benchmark.statistics import Distances, optimality


def optimalities(cells: Mapping[str, CellResult], known: Iterable[CellResult] = (), norm: str = "l2") -> dict[str, float]:
    """By name, the optimality of a model's minimum-norm attacks of `norm` among `cells`, against the best of every cell of that
    norm and of those cells of `known` that are of the same weights and data. Only examples count that all of these attacks
    cover, and of which another one, of `cells` or `known`, has looked for the minimum too. Empty where there is no other.
    """
    graded = {name: cell for name, cell in cells.items() if _seeks_minimum(cell, norm)}
    others = [cell for cell in known if any(_is_of_the_same(cell, mine) for mine in graded.values())]
    rivals = [*graded.values(), *(cell for cell in others if _seeks_minimum(cell, norm))]
    if not graded or len(rivals) < 2:
        return {}
    looked = [set(cell.per_example.index) for cell in rivals]
    covered = set.intersection(*(set(cell.per_example.index) for cell in graded.values()))
    shared = sorted(index for index in covered if sum(index in each for each in looked) > 1)
    measured = [cell for cell in (*cells.values(), *others) if cell.attack.norm == norm]
    best = np.stack([_distances(cell, shared) for cell in measured]).min(axis=0)
    return {name: optimality(_distances(cell, shared), best) for name, cell in graded.items()} if shared else {}


def _seeks_minimum(cell: CellResult, norm: str) -> bool:
    return cell.attack.norm == norm and cell.attack.aim == "minimum"


def _is_of_the_same(cell: CellResult, mine: CellResult) -> bool:
    """Whether the two are about the same network and data set, but are not the same cell."""
    what = [(each.model.weights_sha256, each.model.code, each.dataset.name, each.dataset.split) for each in (cell, mine)]
    return what[0] == what[1] and cell.identity != mine.identity


def _distances(cell: CellResult, indices: Sequence[int]) -> Distances:
    """What the cell found for each of `indices`: 0 for clean errors, infinite where it found nothing or did not look."""
    rows = cell.per_example
    found = {
        index: 0.0 if not right else distance if there and distance is not None else np.inf
        for index, right, there, distance in zip(rows.index, rows.correct_clean, rows.found, rows.distance, strict=True)
    }
    return np.array([found.get(index, np.inf) for index in indices])
