"""Results as a table for notebooks: `robustboard.load_results`, pandas, and what Jupyter shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from robustboard.benchmark.canaries.grades import find_grades
from robustboard.benchmark.radii import radius
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.report.publish import read_boards
from robustboard.benchmark.report.rows import ResultRow, rows_of
from robustboard.benchmark.report.tables import share

if TYPE_CHECKING:
    from pandas import DataFrame

_SHOWN = ("dataset", "protocol", "model", "attack", "norm", "ε", "n", "clean", "robust accuracy in %", "passes", "s/example")


@dataclass(frozen=True, repr=False)
class Results:
    """The cells of folders, one row each, and one sentence a file that could not be read. A notebook shows them as a table."""

    rows: tuple[ResultRow, ...]
    troubles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ResultRow]:
        return iter(self.rows)

    def to_pandas(self) -> DataFrame:
        """A DataFrame with a column a field of `ResultRow`: whole numbers as Int64, so that what is missing stays missing."""
        from pandas import DataFrame  # noqa: PLC0415  (its import takes a second, few need it)

        frame = DataFrame(list(self.rows), columns=[field.name for field in fields(ResultRow)])
        whole = {field.name: "Int64" for field in fields(ResultRow) if field.type in ("int", "int | None")}
        share_like = {field.name: "float64" for field in fields(ResultRow) if field.type == "float | None"}
        return frame.astype({**whole, **share_like})

    def __repr__(self) -> str:
        rows = [[for_terminal(cell) for cell in _shown(row)] for row in self.rows]
        lines = [tabulate(rows, headers=_SHOWN, disable_numparse=True), "", *map(for_terminal, self._notes())]
        return "\n".join(lines).rstrip()

    def _repr_html_(self) -> str:
        table = tabulate([_shown(row) for row in self.rows], headers=_SHOWN, tablefmt="html", disable_numparse=True)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self._notes())
        return f"{table}<ul>{notes}</ul>" if notes else str(table)

    def _notes(self) -> list[str]:
        """The marks, a model's once, what could not run, what could not be read."""
        marks = dict.fromkeys(f"{row.sign} {row.dataset}/{row.model}: {flag}." for row in self.rows for flag in row.flags)
        not_run = [f"not run: {row.dataset}/{row.model}: {row.reason}" for row in self.rows if row.state == "not run"]
        return [*marks, *not_run, *(f"left alone: {trouble}" for trouble in self.troubles)]


def load_results(*folders: str | Path) -> Results:
    """Everything below the folders, one row a cell; cells that cannot stand in one table are refused as in a report.

    Raises `InputError` for a folder that is not there, and naming the difference between cells that are unlike.
    """
    places = [Path(folder) for folder in folders]
    boards, troubles = read_boards(places)
    return Results(tuple(rows_of(boards, find_grades(places))), tuple(troubles))


def _shown(row: ResultRow) -> list[str]:
    """The few columns that a person reads first."""
    model = f"{row.model} {row.sign}".rstrip()
    head = [row.dataset, f"{row.protocol} v{row.protocol_version}", model, row.attack]
    if row.n is None or row.robust_accuracy is None or row.clean_accuracy is None or row.eps is None:
        return [*head, "", "", "", "", row.state, "", ""]
    interval = (row.robust_low or 0.0, row.robust_high or 0.0)
    robust = share(round(row.robust_accuracy * row.n), row.n, interval)
    return [
        *head,
        row.norm,
        radius(row.eps),
        str(row.n),
        f"{100 * row.clean_accuracy:.1f}",
        f"≤ {robust} ▲" if row.upper_bound_only else robust,
        f"{(row.forwards or 0) + (row.backwards or 0):.0f}",
        f"{(row.seconds or 0) / row.n:.3f}",
    ]
