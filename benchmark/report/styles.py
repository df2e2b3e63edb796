"""Sheets in Markdown, one line a row, and for the terminal, two: the interval under its number, as wide as the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from robustboard.benchmark.report.escaping import for_markdown, for_terminal
from robustboard.benchmark.report.sheet import Grid, Sheet


def markdown(sheet: Sheet) -> str:
    """A sheet as Markdown, without its legends."""
    lines = [f"## {for_markdown(sheet.heading)}", "", *_paragraph(sheet.budgets)]
    if sheet.table is not None:
        lines += [_pipes(sheet.table), ""]
    if sheet.optimality is not None:
        lines += [_pipes(sheet.optimality), ""]
    lines += [f"- {for_markdown(bullet)}" for bullet in sheet.bullets]
    return "\n".join(lines).rstrip()


def terminal(sheet: Sheet) -> str:
    """A sheet for the terminal, without its legends."""
    width = shutil.get_terminal_size((200, 50)).columns
    lines = [for_terminal(sheet.heading), "", *_paragraph(sheet.budgets)]
    if sheet.table is not None:
        lines += [_stacked(_printable(sheet.table), width), ""]
    if sheet.optimality is not None:
        table = _printable(sheet.optimality)
        lines += [tabulate(table.rows, headers=table.headers, disable_numparse=True), ""]
    lines += [f"  {for_terminal(bullet)}" for bullet in sheet.bullets]
    return "\n".join(lines).rstrip()


def paragraph(text: str, style: str) -> str:
    """A paragraph: one line in Markdown, in the terminal as wide as that and without emphasis."""
    if style == "markdown":
        return text
    return textwrap.fill(text.replace("**", ""), shutil.get_terminal_size((200, 50)).columns)


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def _pipes(table: Grid) -> str:
    rows = [[for_markdown(cell) for cell in row] for row in table.rows]
    headers = [for_markdown(header) for header in table.headers]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _printable(table: Grid) -> Grid:
    rows = tuple(tuple(for_terminal(cell) for cell in row) for row in table.rows)
    return Grid(tuple(for_terminal(header) for header in table.headers), rows)


def _stacked(table: Grid, width: int) -> str:
    """A terminal's table, the interval under its number; columns that do not fit into `width` go on below, each part with
    the models in front."""
    tall = [header.replace(" ", "\n").replace("max_", "max_\n") for header in table.headers]
    columns = [[title, *(row[at].replace(" [", "\n[") for row in table.rows)] for at, title in enumerate(tall)]
    columns[0] = [tall[0], *(row[0] for row in table.rows)]
    # tabulate sets columns two apart, each at least two wider than its header.
    widths = [2 + max([_widest(column[0]) + 2, *(_widest(cell) for cell in column[1:])]) for column in columns]
    parts: list[list[int]] = [[0]]
    for at in range(1, len(columns)):
        if len(parts[-1]) > 1 and sum(widths[i] for i in parts[-1]) + widths[at] > width:
            parts.append([0])
        parts[-1].append(at)
    return "\n\n".join(_part(columns, part) for part in parts)


def _part(columns: Sequence[Sequence[str]], part: Sequence[int]) -> str:
    cells = list(zip(*(columns[at] for at in part), strict=True))
    return tabulate(cells[1:], headers=cells[0], tablefmt="simple", disable_numparse=True)


def _widest(text: str) -> int:
    return max((len(line) for line in text.splitlines()), default=0)
