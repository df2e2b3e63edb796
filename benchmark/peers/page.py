"""The page: the contests, then three tables that need no peer. Each can be asked for alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.peers import contests, examples, limits, models, run
from robustboard.benchmark.protocols import load_protocol


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
    """What was: a line a contest, rows by the names of `TABLES`, and the code: its commit, as it stood at the beginning."""

    code: str
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
    environment = current_environment()
    code = environment["git_commit"] + (", with changes" if environment["git_dirty"] else "")
    lines = run.run_contests(wanted.contests, data, note)
    return Measured(code, lines, {name: TABLES[name].measure(data, note) for name in wanted.tables})


def terminal(measured: Measured) -> str:
    """The tables as text, those that were measured."""
    parts = [run.render(measured.lines, "simple")] if measured.lines else []
    return "\n".join([*parts, *(_section(name, rows, "simple") for name, rows in measured.tables.items())])


def markdown(measured: Measured) -> str:
    """The committed page, with what was measured."""
    parts = [run.page(measured.lines)] if measured.lines else []
    sections = [f"## {_section(name, rows, 'github')}" for name, rows in measured.tables.items()]
    return "\n".join([*parts, *sections, _measured_with(measured)])


def strengths(of_contests: bool, of_limits: bool) -> list[str]:
    """What of ours is measured today, a line an attack and network: its version and every parameter that is not neutral. A
    committed page that does not hold these lines is out of date."""
    rows: list[tuple[str, str, Mapping[str, Any]]] = []
    if of_contests:
        rows += [(c.ours.attack, c.model, c.ours.parameters) for c in contests.contests()]
    if of_limits:
        protocol = load_protocol("standard")
        rows += [
            (name, model, protocol.parameters(model.split("/")[0], all_cards()[name]))
            for model, names in limits.CHOSEN.items()
            for name in names
        ]
    return list(dict.fromkeys(_strength(*row) for row in rows))


def _strength(attack: str, model: str, given: Mapping[str, Any]) -> str:
    card = all_cards()[attack]
    told = ", ".join(f"{name} {value}" for name, value in card.settings(given).items())
    return f"- {attack}, version {card.version}, on {model}: {told or 'no parameters'}"


def _measured_with(measured: Measured) -> str:
    lines = ["## Measured with", "", f"The code of commit {measured.code}; ours at these strengths:", ""]
    return "\n".join([*lines, *strengths(bool(measured.lines), "limits" in measured.tables), ""])


def as_json(measured: Measured) -> dict[str, object]:
    """Every field of every row: under "contests" and the names of `TABLES`; the commit under "code"."""
    tables = {name: TABLES[name].as_json(rows) for name, rows in measured.tables.items()}
    return {"code": measured.code, "contests": run.as_json(measured.lines), **tables}


def _section(name: str, rows: Sequence[Any], style: str) -> str:
    table = TABLES[name]
    return f"{table.heading}\n\n{table.note}\n\n{table.render(rows, style)}\n\nThreads: {torch.get_num_threads()}.\n"
