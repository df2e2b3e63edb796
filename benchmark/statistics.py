"""Intervals and paired comparisons, by SciPy. Pure functions of counts and 0/1 vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Distances = NDArray[np.float64]

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
    """Compare two 0/1 outcomes on the same examples: Newcombe's score interval for paired shares (Newcombe 1998,
    "Improved confidence intervals for the difference between binomial proportions based on paired data", method 10), which
    is not of width 0 where the two agree everywhere, and exact McNemar (a binomial test of the discordant pairs).

    Raises ValueError when the two do not have the same length or are empty.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired outcomes need the same examples, got {len(a)} and {len(b)}")
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    n, both, neither = len(first), int((first & second).sum()), int((~first & ~second).sum())
    lost, gained = int((first & ~second).sum()), int((~first & second).sum())
    p_value = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    spread = float(np.sqrt(float(both + lost) * (gained + neither) * (both + gained) * (lost + neither)))
    agreement = float(both * neither - lost * gained)
    # Method 10 takes half an example a side off an agreement; it is not on method 8.
    correlation = (max(agreement - n / 2, 0.0) if agreement > 0 else agreement) / spread if spread else 0.0
    p_a, p_b = (both + lost) / n, (both + gained) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + lost, n), wilson(both + gained, n)
    return PairedDifference(
        p_b - p_a,
        p_b - p_a - _joined(p_b - low_b, high_a - p_a, correlation),
        p_b - p_a + _joined(high_b - p_b, p_a - low_a, correlation),
        float(p_value),
    )


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several hypotheses fall at `level` together, after the step-down correction of Holm (1979)."""
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415  (its import takes a second, few need it)

    return [bool(fallen) for fallen in multipletests(p_values, alpha=level, method="holm")[0]]


def _joined(one: float, other: float, correlation: float) -> float:
    """The length of the sum of two error margins with this correlation."""
    return float(np.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2)))


def differs_from(successes: int, n: int, expected: float) -> bool:
    """Whether `expected` lies outside the 99.9 % Wilson interval of successes / n."""
    low, high = wilson(successes, n, 0.999)
    return not low <= expected <= high


def is_chance(successes: int, n: int, classes: int) -> bool:
    """Whether an accuracy is within 3 standard errors of guessing, or below it."""
    chance = 1 / classes
    return successes / n <= chance + 3 * float(np.sqrt(chance * (1 - chance) / n))


def optimality(distances: Distances, best: Distances) -> float:
    """1 − (A − A*) / (c · ε₀ − A*), with A the mean of min(d, ε₀) over all examples, A* that of `best`, ε₀ the largest finite
    best distance and c the share of examples right clean: 1 for an attack that matches the best, 0 for one that does nothing.

    Distances (n,) are 0 for clean errors and infinite where nothing was found. The mean is exact, where an integral of a
    step function by trapezoids would give an attack that does nothing most of the points. Where all that is known lies at one
    distance there is no such scale: 1 for who matches it everywhere, else 0.
    """
    finite = best[np.isfinite(best)]
    largest = float(finite.max()) if len(finite) else 0.0
    clean_accuracy = float((best > 0).mean())
    mean, mean_best = float(np.minimum(distances, largest).mean()), float(np.minimum(best, largest).mean())
    room = clean_accuracy * largest - mean_best
    if room <= 1e-12 * largest:
        return float(bool((distances <= best * (1 + 1e-9)).all()))
    return 1 - (mean - mean_best) / room
