"""Intervals and paired comparisons, by SciPy. Pure functions of counts and 0/1 vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """Mean of b − a over the same examples, its 95 % interval, and McNemar's exact p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share. Raises ValueError unless 0 ≤ successes ≤ n and n > 0."""
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(a: Sequence[int], b: Sequence[int]) -> PairedDifference:
    """Compare two 0/1 outcomes on the same examples: percentile bootstrap over examples (10,000 draws, fixed seed) for
    the interval, exact McNemar (a binomial test of the discordant pairs) for the p-value.

    Raises ValueError when the two do not have the same length or are empty.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired outcomes need the same examples, got {len(a)} and {len(b)}")
    differences = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    p_value = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    # The sum of n draws from {−1, 0, 1} is multinomial, so that the bootstrap needs no resampled vectors.
    shares = np.array([lost, len(differences) - lost - gained, gained]) / len(differences)
    draws = np.random.default_rng(0).multinomial(len(differences), shares, size=10_000)
    low, high = np.quantile((draws[:, 2] - draws[:, 0]) / len(differences), [0.025, 0.975])
    return PairedDifference(float(differences.mean()), float(low), float(high), float(p_value))


def differs_from(successes: int, n: int, expected: float) -> bool:
    """Whether `expected` lies outside the 99.9 % Wilson interval of successes / n."""
    low, high = wilson(successes, n, 0.999)
    return not low <= expected <= high


def is_chance(successes: int, n: int, classes: int) -> bool:
    """Whether an accuracy is within 3 standard errors of guessing, or below it."""
    chance = 1 / classes
    return successes / n <= chance + 3 * float(np.sqrt(chance * (1 - chance) / n))
