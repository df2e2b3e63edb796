"""Intervals and paired comparisons, by SciPy. Pure functions of counts and 0/1 vectors."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Distances = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 4999


@dataclass(frozen=True)
class PairedDistances:
    """Distances on the same n examples: the median of b − a, None where it is −∞ as well as ∞, and Wilcoxon's p-value."""

    n: int
    difference: float | None
    p_value: float


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
    is not of width 0 where the two agree everywhere, and exact McNemar (a binomial test of the discordant pairs). The interval
    is written out here because SciPy and statsmodels have it for independent shares only.

    Raises ValueError when the two do not have the same length or are empty.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired outcomes need the same examples, got {len(a)} and {len(b)}")
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    n, both, neither = len(first), int((first & second).sum()), int((~first & ~second).sum())
    lost, gained = int((first & ~second).sum()), int((~first & second).sum())
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
        mcnemar(gained, lost),
    )


@cache
def mcnemar(gained: int, lost: int) -> float:
    """Exact McNemar of the discordant pairs: whether as many were gained as lost, by a two-sided binomial test."""
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_bootstrap(a: Sequence[int], b: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of the mean of b − a by SciPy's paired bootstrap: examples drawn anew, both outcomes of each, from a
    fixed seed, percentiles of the means. Examples are sorted first, so that their order changes nothing. Of width 0 where the
    two agree everywhere, unlike `paired_difference`: what is not in the sample cannot be drawn.

    Raises ValueError when the two do not have the same length or are empty.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired outcomes need the same examples, got {len(a)} and {len(b)}")
    first, second = np.array(sorted(zip(a, b, strict=True)), dtype=np.float64).T
    if len(first) == 1:  # SciPy wants two
        return float(second[0] - first[0]), float(second[0] - first[0])
    interval = stats.bootstrap(
        (first, second),
        lambda x, y, axis: y.mean(axis) - x.mean(axis),
        paired=True,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        batch=500,
        rng=0,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_distances(a: Distances, b: Distances) -> PairedDistances:
    """Compare two distances (n,) on the same examples by Wilcoxon's signed-rank test. An infinite distance is longer than any
    other, and two are alike. Nothing differs where there are no examples.

    Raises ValueError when the two do not have the same length.
    """
    if len(a) != len(b):
        raise ValueError(f"paired distances need the same examples, got {len(a)} and {len(b)}")
    with np.errstate(invalid="ignore"):  # ∞ − ∞, here and in the mean of two that stand in the middle
        differences = np.where(a == b, 0.0, b - a)
        if not differences.any():
            return PairedDistances(len(a), 0.0, 1.0)
        median = float(np.median(differences))
    p_value = float(stats.wilcoxon(differences).pvalue)
    return PairedDistances(len(a), None if np.isnan(median) else median, p_value)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean that `values` are drawn around; of width 0 where all are equal.

    Raises ValueError for fewer than two.
    """
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs two values, got {len(values)}")
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Each p-value as Holm's step-down correction (1979) leaves it: at most the level where the hypothesis falls with all
    the others tested."""
    return _holm(p_values, 1 - CONFIDENCE)[1]


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several hypotheses fall at `level` together, after the step-down correction of Holm (1979)."""
    return _holm(p_values, level)[0]


def _holm(p_values: Sequence[float], level: float) -> tuple[list[bool], list[float]]:
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415  (its import takes a second, few need it)

    # It collects garbage at every call, which takes as long as there are objects: a third of a second beside a board's cells,
    # thousands of times for the pairs of a site. What is frozen is not looked through; what the caller froze stays so.
    ours = not gc.get_freeze_count()
    if ours:
        gc.freeze()
    try:
        fallen, adjusted, *_ = multipletests(p_values, alpha=level, method="holm")
    finally:
        if ours:
            gc.unfreeze()
    return [bool(each) for each in fallen], [float(each) for each in adjusted]


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
