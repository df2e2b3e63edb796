"""Whether B is worse than is allowed: what decides the exit code in continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.report.compare.differences import Comparison
from robustboard.benchmark.report.compare.sides import Sides

Measure = Literal["difference", "interval"]


NAMED = 8
"""So many cells, or files, that keep the gate from judging are named; of the others the number is."""


def refuse_gaps(sides: Sides) -> None:
    """Raise `InputError` where B lacks a cell that A has, or a file of either side does not read: what is not there was compared
    with nothing. What only B has is no reason."""
    gone = [label for label in sides.a if label not in sides.b]
    reasons = [f"B has no result that counts of {_named(gone, ', ')}"] if gone else []
    reasons += [f"not everything reads ({_named(sides.unread, '; ')})"] if sides.unread else []
    if reasons:
        others = ", or name the attacks that count with --attacks" if gone else ""
        raise InputError(f"whether B is worse cannot be told: {', and '.join(reasons)}; run again{others}")


def _named(items: Sequence[str], separator: str) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return separator.join(items[:NAMED]) + more


def worse_cells(comparisons: Sequence[Comparison], points: float, by: Measure) -> list[str]:
    """The labels of the cells in which B's robust accuracy is more than `points` percentage points below A's.

    By "difference" the difference on these examples decides: it is exact for them, and a loss does not hide behind a small n.
    By "interval" the whole 95 % paired interval has to lie below −`points`: evidence for other examples, too, few false alarms.
    Raises `InputError` where an attack failed on either side, since a bound cannot say that nothing was lost.
    """
    bounds = [each.label for each in comparisons if each.tested is None]
    if bounds:
        raise InputError(
            f"whether B is worse cannot be told: {', '.join(bounds)} failed on some examples; run again, or name the attacks "
            "that count with --attacks"
        )
    return [each.label for each in comparisons if _is_worse(each, points, by)]


def _is_worse(each: Comparison, points: float, by: Measure) -> bool:
    if by == "interval" and each.tested is not None:
        return 100 * each.tested.paired.high < -points
    # In whole examples: ten of a thousand are not more than 1.0 points, whatever a quotient of floats is.
    return len(each.lost) - len(each.gained) > points * each.n / 100 * (1 + 1e-12)
