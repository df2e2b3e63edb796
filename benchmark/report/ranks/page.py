"""A study of orders as text, in the terminal or as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.report.escaping import for_markdown, for_terminal
from robustboard.benchmark.report.ranks.intervals import rank_text
from robustboard.benchmark.report.ranks.stability import Agreement, over_implementations
from robustboard.benchmark.report.ranks.study import BoardStudy, Change, Study
from robustboard.benchmark.report.sheet import Grid
from robustboard.benchmark.report.styles import paragraph
from robustboard.benchmark.report.tables import extent, heading, marked_name

WORST = {"worst_case": "worst L∞", "worst_case_l2": "worst L2"}
SHOWN = 10
"""So many swaps beyond chance are spelled out under a table; all are in the JSON."""
INTRODUCTION = """# How far an order can be believed

The ranks that a model can have by every column of a board, how the order changes from column to column and, where several
implementations of an attack were run, from one to the other, and how far runs that differ by their seed lie apart.
`robustboard ranks` makes this page. ▲ or △ behind a name: the marks below the tables of `robustboard report` say why."""
CHANGES = """# How an order changed

How the order of the models changed from one folder of results to the next, by every column that both have, over the models that
both have. `robustboard ranks FOLDER FOLDER --changes` makes this page."""
RANKS = (
    "The ranks that a model can have by each column: exact McNemar of every pair on the same examples, Holm's correction over "
    "the pairs of a column, 5 %. Models marked ▲ are not tested in the columns that say so."
)
TAU = (
    "Kendall's τ between two orders, in brackets the number of models: 1 is the same order, −1 the reverse; – where an order has "
    "only ties."
)
ALONE = "An order needs at least two models; here is one."
ALONE_IN_BOTH = "An order needs at least two models; the two have fewer in common."
SWAPS = "beyond chance: pairs that both orders separate significantly, the other way round."
SEEDS = (
    "Runs of a recipe that differ by their seed alone: mean and range, Student's interval of the mean over other seeds, and "
    "Wilson's of the mean over other examples. Accuracy in %."
)


def render(found: Study, style: str, *, changes_only: bool = False) -> str:
    """The study as text; `style` is "terminal" or "markdown". `changes_only`: without the boards on their own. Raises
    `InputError` where that leaves nothing."""
    if changes_only and not found.changes:
        raise InputError("there are no changes to tell: name two folders or more that have boards of one data set")
    several = len({each.folder for each in found.boards}) > 1
    parts = [] if changes_only else [_board(each, several, style) for each in found.boards]
    parts += [_change(each, style) for each in found.changes]
    introduction = CHANGES if changes_only else INTRODUCTION
    return "\n\n".join([*([introduction] if style == "markdown" else []), *parts]) + "\n"


def as_json(found: Study, *, changes_only: bool = False) -> dict[str, Any]:
    """Everything, shares as fractions; `changes_only` as for `render`."""
    return {
        "boards": [] if changes_only else [_board_json(each) for each in found.boards],
        "changes": [
            {"from": _name(each.first), "to": _name(each.second), "agreements": [asdict(pair) for pair in each.agreements]}
            for each in found.changes
        ],
        "unread": list(found.troubles),
    }


def _board(each: BoardStudy, several: bool, style: str) -> str:
    title = _title(_named(each) if several else heading(each.board), style)
    if len(each.board.rows) < 2:
        return f"{title}\n\n{ALONE}"
    rows = [
        [marked_name(row), *(rank_text(row, column, ranking) for column, ranking in each.rankings.items())]
        for row in each.board.rows
    ]
    heads = [_column(column) for column in each.rankings]
    parts = [
        title,
        paragraph(extent(each.board), style),
        _table(["rank by", *heads], rows, style),
        paragraph(RANKS, style),
    ]
    if len(each.rankings) > 1:
        parts += [
            _of_grid(taus(each), style),
            paragraph(TAU, style),
            *_swap_lines(each.agreements, _signed(each), style),
        ]
    implementations = over_implementations(each.agreements)
    if implementations:
        parts += [_list("implementations", implementations, style), paragraph(SWAPS, style)]
    if each.spreads:
        parts += [_of_grid(seeds(each), style), paragraph(SEEDS, style)]
    return "\n\n".join(parts)


def _change(change: Change, style: str) -> str:
    title = _title(f"{_named(change.first)} → {_named(change.second)}", style)
    if change.agreements and all(len(pair.models) < 2 for pair in change.agreements):
        return f"{title}\n\n{ALONE_IN_BOTH}"
    return "\n\n".join(
        [
            title,
            _list("order by", change.agreements, style),
            paragraph(f"{TAU} {SWAPS}", style),
            *_swap_lines(change.agreements, {**_signed(change.first), **_signed(change.second)}, style),
        ]
    )


def _named(each: BoardStudy) -> str:
    return f"{heading(each.board)} ({each.folder})"


def _title(text: str, style: str) -> str:
    return f"## {for_markdown(text)}" if style == "markdown" else for_terminal(text)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> str:
    markdown = style == "markdown"
    safe, *lines = [[for_markdown(cell) if markdown else for_terminal(cell) for cell in row] for row in (headers, *rows)]
    return tabulate(lines, headers=safe, tablefmt="github" if markdown else "simple", disable_numparse=True)


def _of_grid(grid: Grid, style: str) -> str:
    return _table(grid.headers, grid.rows, style)


def taus(each: BoardStudy) -> Grid:
    """How the orders of a board agree: the lower triangle, each column against those before it."""
    names = list(each.rankings)
    found = {(pair.first, pair.second): pair for pair in each.agreements}
    rows = [
        (_column(name), *(_tau(found[other, name]) for other in names[:at]), *[""] * (len(names) - 1 - at))
        for at, name in enumerate(names)
        if at
    ]
    return Grid(("Kendall's τ", *map(_column, names[:-1])), tuple(rows))


def _column(name: str) -> str:
    return WORST.get(name, name)


def _tau(pair: Agreement) -> str:
    return f"{'–' if pair.tau is None else f'{pair.tau:+.2f}'} ({len(pair.models)})"


def _list(title: str, agreements: Sequence[Agreement], style: str) -> str:
    """One line an agreement."""
    rows = [
        [_orders(pair), _tau(pair), str(len(pair.swaps)), str(sum(swap.beyond_chance for swap in pair.swaps))]
        for pair in agreements
    ]
    return _table([title, "Kendall's τ (models)", "pairs that swap", "beyond chance"], rows, style)


def _orders(pair: Agreement) -> str:
    return _column(pair.first) if pair.first == pair.second else f"{_column(pair.first)} → {_column(pair.second)}"


def _signed(each: BoardStudy) -> dict[str, str]:
    """Each model's name with its sign."""
    return {row.model: marked_name(row) for row in each.board.rows}


def _swap_lines(agreements: Sequence[Agreement], signed: Mapping[str, str], style: str) -> list[str]:
    """How many pairs swap, and the first of those that do so beyond chance; the models as they are `signed`."""
    told = for_markdown if style == "markdown" else for_terminal
    swaps = [(pair, swap) for pair in agreements for swap in pair.swaps]
    certain = [(pair, swap) for pair, swap in swaps if swap.beyond_chance]
    lines = [f"{len(swaps)} swaps of a pair, {len(certain)} of them beyond chance{':' if certain else '.'}"]
    lines += [
        f"- {told(_orders(pair))}: {told(signed[swap.ahead])} falls behind {told(signed[swap.behind])}"
        for pair, swap in certain[:SHOWN]
    ]
    lines += [f"- … and {len(certain) - SHOWN} more: --json has them all"] if len(certain) > SHOWN else []
    return ["\n".join(lines)]


def seeds(each: BoardStudy) -> Grid:
    """How far the runs of a recipe lie apart, a line a recipe and column."""
    rows = [
        (
            spread.recipe,
            _column(spread.column),
            str(len(spread.runs)),
            f"{100 * spread.mean:.1f}",
            f"{100 * min(spread.accuracies):.1f}–{100 * max(spread.accuracies):.1f}",
            _interval(spread.over_seeds),
            f"{_interval(spread.over_examples)} n={spread.n}",
            spread.larger,
        )
        for spread in each.spreads
    ]
    return Grid(("recipe", "column", "runs", "mean", "range", "over seeds", "over examples", "the larger"), tuple(rows))


def _interval(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:.1f}–{100 * interval[1]:.1f}]"


def _name(each: BoardStudy) -> dict[str, Any]:
    board = each.board
    return {"folder": str(each.folder), "protocol": board.protocol, "version": board.version, "dataset": board.dataset}


def _board_json(each: BoardStudy) -> dict[str, Any]:
    ranks = {
        column: {
            model: {"accuracy": accuracy, "n": ranking.n[model], **asdict(ranking.interval(model))}
            for model, accuracy in ranking.accuracy.items()
        }
        for column, ranking in each.rankings.items()
    }
    spreads = [{**asdict(spread), "mean": spread.mean, "larger": spread.larger} for spread in each.spreads]
    marks = {row.model: [f"{sign} {mark}" for sign, mark in row.told()] for row in each.board.rows if row.sign}
    return {
        **_name(each),
        "marks": marks,
        "ranks": ranks,
        "agreements": [asdict(pair) for pair in each.agreements],
        "spreads": spreads,
    }
