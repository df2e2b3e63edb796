"""A cell of a board's table in parts: the text that the report wrote, what it is sorted by, how dark it is shaded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from robustboard.benchmark.report.tables import ColumnKind

SHARES: frozenset[ColumnKind] = frozenset({"clean", "attack", "worst", "certified"})
"""The columns that hold shares of examples that stand: these are shaded."""
SHADES = 10
_PARTS = re.compile(r"(?P<number>[^\[]*?)(?: (?P<interval>\[[^\]]*\]))?(?P<rest>(?<=\]).*)?")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Parts:
    """ "≤ 37.6", "[34.7–40.6]" and "n=100 ▲"; `order`: the number that the column is sorted and filtered by, None where the cell
    holds none; `shade`: from 0 to 10, None where the column is not shaded."""

    number: str
    interval: str = ""
    rest: str = ""
    order: float | None = None
    shade: int | None = None


def parts(text: str, kind: ColumnKind) -> Parts:
    """The parts of a cell's text in a column of this kind. A rank is sorted by the best that it can be."""
    if kind == "model":
        return Parts(text)
    found = _PARTS.fullmatch(text)
    number, interval, rest = (found["number"], found["interval"] or "", found["rest"] or "") if found else (text, "", "")
    order = _order(number, kind)
    shade = round(SHADES * min(order, 100) / 100) if order is not None and kind in SHARES else None
    return Parts(number.strip(), interval, rest.strip(), order, shade)


def _order(number: str, kind: ColumnKind) -> float | None:
    if kind == "median" and number.startswith("≥ half"):
        return float("inf")
    found = _NUMBER.search(number)
    return float(found[0].replace(",", "")) if found else None
