"""What a board says, in words and numbers as text, before it is set in Markdown, LaTeX or for the terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table: headers, rows of as many cells, the first of which names what the row is about."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Sheet:
    """A board as text, nothing in it escaped. `table` is None where no model was run; `legend` has its bold words between **;
    `bullets` are the marks, what is missing or not run, and the notes on the data."""

    heading: str
    budgets: str
    table: Grid | None
    legend: str
    optimality: Grid | None
    optimality_legend: str
    bullets: tuple[str, ...]
