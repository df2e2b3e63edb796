"""What commands say on the error stream about files that they passed over."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from robustboard.benchmark.report.escaping import for_terminal


def say_left_alone(troubles: Iterable[str]) -> None:
    """A line a file of results that could not be read; a path or a value in it is text."""
    for trouble in troubles:
        print(for_terminal(f"left alone: {trouble}"), file=sys.stderr)
