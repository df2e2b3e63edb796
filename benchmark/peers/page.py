"""The page: the contests, then three tables that need no peer. Each can be asked for alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.peers import contests, examples, limits, models, run


@dataclass(frozen=True)
class Table:
    """One of the tables without peers: how to measure its rows, tell them, and record them."""

    heading: str
    note: str
    measure: Callable[[Path | None, Callable[[str], None]], Sequence[Any]]
    render: Callable[[Any, str], str]
    as_json: Callable[[Any], list[dict[str, object]]]


TABLES: Mapping[str, Table] = {
    "limits": Table(limits.HEADING, limits.NOTE, limits.measure_limits, limits.render, limits.as_json),
    "examples": Table(examples.HEADING, examples.NOTE, examples.measure_examples, examples.render, examples.as_json),
    "models": Table(models.HEADING, models.NOTE, models.measure_models, models.render, models.as_json),
}


@dataclass(frozen=True)
class Wanted:
    """What is to be measured: contests, and names of `TABLES`."""

    contests: Sequence[contests.Contest]
    tables: Sequence[str]


@dataclass(frozen=True)
class Measured:
    """What was: a line a contest, and rows by the names of `TABLES`."""

    lines: Sequence[run.Line]
    tables: Mapping[str, Sequence[Any]]


def chosen(names: Sequence[str]) -> Wanted:
    """The contests and tables of these names, all where none is named. Raises `InputError` for a name that does not exist."""
    known = [*dict.fromkeys(contest.line for contest in contests.contests()), *TABLES]
    for name in names:
        if name not in known:
            raise InputError(f"there is no contest or table {name!r}{suggest(name, known)}; there are {', '.join(known)}")
    lines = [name for name in names if name not in TABLES]
    tables = [name for name in TABLES if name in names or not names]
    return Wanted(run.chosen_contests(lines) if lines or not names else [], tables)


def measure(wanted: Wanted, data: Path | None, note: Callable[[str], None]) -> Measured:
    """All of it, one after the other; `note` is told about each row when it is done. Raises `InputError` where data lack."""
    lines = run.run_contests(wanted.contests, data, note)
    return Measured(lines, {name: TABLES[name].measure(data, note) for name in wanted.tables})


def terminal(measured: Measured) -> str:
    """The tables as text, those that were measured."""
    parts = [run.render(measured.lines, "simple")] if measured.lines else []
    return "\n".join([*parts, *(_section(name, rows, "simple") for name, rows in measured.tables.items())])


def markdown(measured: Measured) -> str:
    """The committed page, with what was measured."""
    parts = [run.page(measured.lines)] if measured.lines else []
    return "\n".join([*parts, *(f"## {_section(name, rows, 'github')}" for name, rows in measured.tables.items())])


def as_json(measured: Measured) -> dict[str, list[dict[str, object]]]:
    """Every field of every row: under "contests", and under the names of `TABLES`."""
    tables = {name: TABLES[name].as_json(rows) for name, rows in measured.tables.items()}
    return {"contests": run.as_json(measured.lines), **tables}


def _section(name: str, rows: Sequence[Any], style: str) -> str:
    table = TABLES[name]
    return f"{table.heading}\n\n{table.note}\n\n{table.render(rows, style)}\n\nThreads: {torch.get_num_threads()}.\n"
