"""Whether a worst case says of its examples what the cells say that it joined; no model is asked, and no candidate needed."""

from __future__ import annotations

from pathlib import Path

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.verdicts import robust_examples
from robustboard.benchmark.verify.agreement import Causes
from robustboard.benchmark.verify.gathering import joined_cell


def check_joined(cell: CellResult, path: Path, causes: Causes) -> None:
    """Add every example that the cell in the file `path` calls robust although one that it joined fooled it, and which of those
    that it joined could not be asked."""
    robust, gone = robust_examples(cell), []
    for attack in cell.joined:
        try:
            _, other = joined_cell(cell, path, attack)
        except InputError:
            gone.append(attack)
            continue
        rows = zip(other.per_example.index, other.per_example.correct_clean, other.per_example.fooled, strict=True)
        for index in (index for index, right, fooled in rows if right and fooled):
            if robust.get(index, False):
                causes.blame(index, f"joined {attack}", f"it is recorded as robust, but {attack}, which it joined, fooled it")
    if gone:
        causes.remark(f"{', '.join(gone)}, which it joined, is not beside it as it was: whom that fooled was not compared")
