"""Shares with their intervals, for whole curves at once."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from robustboard.benchmark.statistics import wilson

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def wilson_band(counts: Counts, n: int) -> tuple[Values, Values]:
    """Lower and upper ends of Wilson's 95 % interval of each of `counts` (K,) out of `n`: two of (K,). Raises ValueError
    unless all counts are from 0 to n, and n is above 0."""
    distinct, places = np.unique(counts, return_inverse=True)
    ends = np.array([_interval(int(count), n) for count in distinct]).reshape(-1, 2)[places]
    return ends[:, 0], ends[:, 1]


def bars(counts: Counts, n: int) -> Values:
    """How far the interval reaches below and above each share, (2, K), as matplotlib's error bars want it."""
    low, high = wilson_band(counts, n)
    return np.clip(np.stack([counts / n - low, high - counts / n]), 0, None)


_interval = cache(wilson)
