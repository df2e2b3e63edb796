"""Successes on clean images against failures under a max-confidence attack, threshold by threshold of the confidence (Goodfellow,
Qin & Berthelot 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustboard.benchmark.records import CellResult

HALF = 0.5


@dataclass(frozen=True)
class SuccessFail:
    """How many of n examples are successes and failures at each threshold (K,), which fall; each counts what has a confidence
    of the threshold or more. `unfooled`: how many the attack left right."""

    model: str
    thresholds: NDArray[np.float64]
    success: NDArray[np.int64]
    failure: NDArray[np.int64]
    n: int
    right: int
    covered_at_half: int
    unfooled: int
    sigmoid: bool
    sign: str = ""

    @property
    def area(self) -> float:
        """Under the staircase, which goes right before it goes up, and on at its last height to a failure of 1."""
        failure, success = (np.append(0, counts) / self.n for counts in (self.failure, self.success))
        return float((np.diff(failure) * success[:-1]).sum() + (1 - failure[-1]) * success[-1])

    def at_half(self) -> tuple[int, int]:
        """Successes and failures at t = ½: what has a confidence above it."""
        above = int((self.thresholds > HALF).sum())
        return (0, 0) if not above else (int(self.success[above - 1]), int(self.failure[above - 1]))


def of_cell(cell: CellResult, sign: str = "") -> SuccessFail:
    """The curve of a max-confidence cell: every confidence that was seen is a threshold, ties together."""
    examples = cell.per_example
    clean = np.array(examples.clean_confidence)
    right, wrong = np.array(examples.correct_clean, dtype=bool), np.array(examples.fooled, dtype=bool)
    attacked = np.array([np.nan if value is None else value for value in examples.confidence])
    good, bad = clean[right], attacked[wrong & np.isfinite(attacked)]
    thresholds = np.unique(np.concatenate([good, bad]))[::-1]
    return SuccessFail(
        model=cell.model.name,
        thresholds=thresholds,
        success=_at_least(good, thresholds),
        failure=_at_least(bad, thresholds),
        n=cell.outcome.n,
        right=int(right.sum()),
        covered_at_half=int((clean > HALF).sum()),
        unfooled=int((~wrong).sum()),
        sigmoid=cell.model.head == "sigmoid",
        sign=sign,
    )


def _at_least(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    return (len(values) - np.searchsorted(np.sort(values), thresholds, side="left")).astype(np.int64)
