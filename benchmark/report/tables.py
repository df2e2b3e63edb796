"""Boards as tables: what stands in which column, in words and numbers; `styles.py` and `latex.py` set it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robustboard.benchmark.canaries.grades import Grade, summary, version_of
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.certify.record import CertifiedResult
from robustboard.benchmark.datasets import title as dataset_title
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report import latex, styles
from robustboard.benchmark.report.board import Board, Row, WorstCase
from robustboard.benchmark.report.optimality import optimalities
from robustboard.benchmark.report.ranks.intervals import main_column, rank_rows, rank_text
from robustboard.benchmark.report.setting import budgets
from robustboard.benchmark.report.sheet import Grid, Sheet
from robustboard.benchmark.report.success_fail import of_cell
from robustboard.benchmark.report.verdicts import distances
from robustboard.benchmark.statistics import wilson

ABSENT = "missing"
NEAR = 0.97
"""The optimality below which a minimum-norm attack is said to stay behind."""
Near = Sequence[tuple[Row, Mapping[str, float]]]
"""Rows, and how near each of their minimum-norm attacks comes to the best distances known."""
CASCADE_OF: Mapping[str, str] = {norm: name for name, norm in CASCADES.items()}
ROBUST = (
    "Robust accuracy in %, with Wilson's 95 % interval. **Every robust accuracy is an upper bound**: a stronger attack can only "
    "lower it. "
)
WORST = (
    "Worst case: per example over the attacks of that norm, which jsma (L0) is not among, and the stronger ones that a "
    "worst_case cell sent at the survivors. Rows are sorted by worst L∞; one whose mark puts that number in doubt stands last. "
)
MEDIAN = "The medians are over the examples right clean; jsma counts features, every channel of a pixel is one. "
FAILURE = "max_confidence failure: the share of examples that end wrong with a confidence above ½, high is bad. "
SECONDS = "s/example: all attacks together, on a processor, or where it says so on a GPU: times to compare are on one machine. "
FAR = 0.1
"""By how much an attack's robust accuracy may lie above the worst case of the same examples without a word on it."""
BELOW = (
    f"↓: on the same examples the worst case is more than {100 * FAR:.0f} points lower; by this attack alone the model looks "
    "more robust than it is. A number without it may be as far off: the worst case knows only what was run. "
)
MARKED = "▲, △: see the marks below the table; △ leaves the number that sorts the rows what it is."
RANKED = (
    "rank: the places that a model can have by its worst case, from one more than the models significantly better to all that "
    "are not significantly worse (exact McNemar of every pair on the same examples, Holm's correction over the pairs, 5 %); "
    "models marked ▲ are not tested and stand last. "
)
CERTIFIED = (
    "certified L∞: the share proved robust against every attack within ε, a lower bound; with = it is the robust accuracy, "
    "and where two numbers stand the robust accuracy lies between them. "
)
OPTIMALITY = (
    "Optimality: 1 − (A − A*) / (c·ε₀ − A*), A the mean of min(distance, ε₀), A* that of the best of everything run, c the "
    "clean accuracy, ε₀ the largest best distance, over the examples that several attacks looked at. An attack that does "
    "nothing has 0."
)
GRADED = "Canaries: models with known answers, which an attack that can be believed passes, at its defaults or less. "
ColumnKind = Literal["model", "rank", "parameters", "clean", "attack", "worst", "certified", "median", "failure", "seconds"]


@dataclass(frozen=True)
class Column:
    """A column of a board: its header, and what it holds; `of` is its attack, or the norm of a worst case, "" for the others."""

    header: str
    kind: ColumnKind
    of: str = ""


def render(
    boards: Sequence[Board],
    style: str,
    grades: Sequence[Grade] = (),
    known: Sequence[CellResult] = (),
    shown: Sequence[str] = ("*",),
) -> str:
    """All boards as text; `style` is "terminal", "markdown" or "latex". `grades` of the implementations that ran are each
    table's last row; the distances of `known` cells are among those that optimality is told against; only the models that a
    glob of `shown` names have rows. The legend stands once, below all boards; in LaTeX below each, since tables are taken out."""
    sheets = [sheet(board, grades, known, shown) for board in boards]
    if style == "latex":
        return latex.document(sheets)
    told = [*_legend(boards, grades), *([OPTIMALITY] if any(one.optimality for one in sheets) else [])]
    if style == "markdown":
        legend = ["What the columns and signs say:", "\n".join(f"- {sentence}" for sentence in told)]
        return "\n\n".join([*(styles.markdown(one) for one in sheets), *(legend if told else [])]) + "\n"
    legend = ["\n".join(styles.paragraph(sentence, "terminal") for sentence in told)]
    return "\n\n".join([*(styles.terminal(one) for one in sheets), *(legend if told else [])]) + "\n"


def sheet(board: Board, grades: Sequence[Grade] = (), known: Sequence[CellResult] = (), shown: Sequence[str] = ("*",)) -> Sheet:
    """What the board says, as text that no style has touched. Of models that no glob of `shown` names no row, but they count
    among the ranks."""
    sizes = {norm: max(_worst_sizes(board, norm), default=0) for norm in CASCADE_OF}
    ranked = [(row, rank) for row, rank in zip(board.rows, _ranks(board), strict=True) if is_named(row, board.dataset, shown)]
    rows = [_cells(row, rank, board, sizes) for row, rank in ranked]
    rows += [_grade_cells(board, grades, len(rows[0]))] if rows and _graded(board, grades) else []
    near = [(row, optimalities(row.cells, known)) for row, _ in ranked]
    optimality = _optimality(near, board.attacks)
    bullets = [f"{sign} {row.model}: {mark}." for row, _ in ranked for sign, mark in row.told()]
    left = len(board.rows) - len(ranked)
    bullets += [f"{left} more models of this board are not shown; the ranks are those among all."] if left else []
    bullets += _behind(near)
    bullets += [f"not run: {row.model + ': ' if row.model else ''}{row.reason}" for row in board.not_run]
    return Sheet(
        heading=heading(board),
        budgets=extent(board),
        table=Grid(tuple(column.header for column in columns(board)), tuple(map(tuple, rows))) if rows else None,
        legend=" ".join(_legend([board], grades)),
        optimality=optimality,
        optimality_legend=OPTIMALITY if optimality else "",
        bullets=(*bullets, *(f"Data: {note}." for note in board.notes)),
    )


def _legend(boards: Sequence[Board], grades: Sequence[Grade]) -> list[str]:
    """What the columns and signs of the boards mean, nothing where none of them has a row."""
    shown = [board for board in boards if board.rows]
    certified, graded = any(map(_has_certificates, shown)), any(_graded(board, grades) for board in shown)
    told = (
        ROBUST,
        WORST,
        BELOW * any(map(_has_far_above, shown)),
        MEDIAN,
        FAILURE,
        SECONDS,
        RANKED,
        CERTIFIED * certified,
        GRADED * graded,
        MARKED,
    )
    return [sentence.strip() for sentence in told if sentence] if shown else []


def heading(board: Board) -> str:
    """The data set, the protocol and its version."""
    return f"{dataset_title(board.dataset)} · {board.title} · protocol {board.protocol} v{board.version}"


def _ranks(board: Board) -> list[str]:
    """The rows' ranks by the worst case that sorts the board."""
    column = main_column(board)
    if column is None:
        return ["–"] * len(board.rows)
    ranking = rank_rows(board, column)
    return [rank_text(row, column, ranking) for row in board.rows]


def is_named(row: Row, dataset: str, patterns: Sequence[str]) -> bool:
    """Whether one of the globs means the row's model, by its name or with its data set before it."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (row.model, f"{dataset}/{row.model}"))


def _behind(near: Near) -> list[str]:
    """A sentence for each model and minimum-norm attack that stays behind the shortest perturbations known."""
    return [
        f"{marked_name(row)}: {attack} stays behind the shortest perturbations known, its optimality is {share:.3f}: "
        "its distances are too long."
        for row, shares in near
        for attack, share in shares.items()
        if share < NEAR
    ]


def _optimality(near: Near, attacks: Sequence[str]) -> Grid | None:
    """How near each minimum-norm attack comes to the best distances known, where there are several."""
    names = [name for name in attacks if any(name in values for _, values in near)]
    cells = [
        (marked_name(row), *(f"{values[name]:.3f}" if name in values else "–" for name in names))
        for row, values in near
        if values
    ]
    return Grid(("optimality in L2", *names), tuple(cells)) if names else None


def _grade_cells(board: Board, grades: Sequence[Grade], width: int) -> list[str]:
    """The table's last row: under each attack what it did on the models with known answers."""
    graded = _graded(board, grades)
    cells = ["canaries passed", "", "", "", *(graded.get(attack, "–") for attack in board.attacks)]
    return [*cells, *[""] * (width - len(cells))]


def _graded(board: Board, grades: Sequence[Grade]) -> dict[str, str]:
    """attack -> "22/22" or "8/22 ▲", of the board's attacks whose implementation and version were graded."""
    used = {cell.attack.name: cell.attack for row in board.rows for cell in row.cells.values()}
    found = {name: summary(grades, name, version_of(block.implementation, block.version)) for name, block in used.items()}
    return {name: text for name, text in found.items() if text is not None and name in board.attacks}


def extent(board: Board) -> str:
    """How many examples, and within what: "n = 1000 · L∞ ε = 0.3 · L2 ε = 2 · L0 ≤ 113 features"."""
    cells = [cell for row in board.rows for cell in row.cells.values()]
    if not cells:
        return ""
    radii = {cell.attack.norm: cell.attack.eps for cell in cells}
    parts = [f"n = {max(cell.outcome.n for cell in cells)}"]
    parts += budgets(cells)
    parts += [f"L0 ≤ {radii['l0']:g} features"] if "l0" in radii else []
    return " · ".join(parts)


def columns(board: Board) -> list[Column]:
    """What stands in the board's table, from left to right."""
    found = [Column("model", "model"), Column("rank", "rank"), Column("parameters", "parameters"), Column("clean", "clean")]
    found += [Column(_header(board, attack), "attack", attack) for attack in board.attacks]
    found.append(Column(_worst_header(board, "linf", "worst L∞"), "worst", "linf"))
    found += [Column("certified L∞", "certified")] if _has_certificates(board) else []
    found.append(Column(_worst_header(board, "l2", "worst L2"), "worst", "l2"))
    found += [Column(f"{attack} median L2", "median", attack) for attack in _of_kind(board, "cw")]
    found += [Column(f"{attack} median features", "median", attack) for attack in _of_kind(board, "jsma")]
    found += [Column(f"{attack} failure t=0.5", "failure", attack) for attack in _of_kind(board, "max_confidence")]
    return [*found, Column("s/example", "seconds")]


def _of_kind(board: Board, name: str) -> list[str]:
    """The board's attacks that are `name`, here or in a library."""
    return [attack for attack in board.attacks if attack.rpartition(":")[2] == name]


def _header(board: Board, attack: str) -> str:
    """The attack, with its n where that is less than the board's largest."""
    return _with_size(board, attack, {row.cells[attack].outcome.n for row in board.rows if attack in row.cells})


def _worst_header(board: Board, norm: str, title: str) -> str:
    """The worst case over a norm, with its n where that is less than the board's largest."""
    return _with_size(board, title, _worst_sizes(board, norm))


def _with_size(board: Board, title: str, sizes: set[int]) -> str:
    largest = max((cell.outcome.n for row in board.rows for cell in row.cells.values()), default=0)
    return title if not sizes or max(sizes) == largest else f"{title} (n={max(sizes)})"


def _cells(row: Row, rank: str, board: Board, sizes: Mapping[str, int]) -> list[str]:
    """A row's texts; `sizes`: of each norm's worst cases the largest n."""
    best = row.any_cell()
    right = round(best.outcome.clean_accuracy * best.outcome.n)
    columns = [
        marked_name(row),
        rank,
        f"{best.model.parameters:,}",
        share(right, best.outcome.n, wilson(right, best.outcome.n)),
    ]
    columns += [attack_cell(row.cells.get(attack), row) for attack in board.attacks]
    columns.append(worst_cell(row, "linf", sizes["linf"]))
    if _has_certificates(board):
        columns.append(_certified_cell(row.certificate))
    columns.append(worst_cell(row, "l2", sizes["l2"]))
    columns += [median_cell(row.cells.get(attack), 3) for attack in _of_kind(board, "cw")]
    columns += [median_cell(row.cells.get(attack), 0) for attack in _of_kind(board, "jsma")]
    columns += [failure_cell(row.cells.get(attack)) for attack in _of_kind(board, "max_confidence")]
    return [*columns, _seconds_cell(list(row.cells.values()))]


def _seconds_cell(cells: Sequence[CellResult]) -> str:
    """Seconds an example, all cells together, and whether a GPU took them."""
    on_gpu = {cell.cost.device.startswith("cuda") for cell in cells}
    where = " GPU" if on_gpu == {True} else " partly GPU" if True in on_gpu else ""
    return f"{sum(cell.cost.seconds / cell.outcome.n for cell in cells):.3f}{where}"


def marked_name(row: Row) -> str:
    """The model's name, with its sign where something is marked or missing."""
    return f"{row.model} {row.sign}".rstrip()


def attack_cell(cell: CellResult | None, row: Row) -> str:
    """Robust accuracy in % with its interval, ≤ and ▲ where it is no more than a bound, ↓ where it is `far_above`."""
    if cell is None:
        return ABSENT
    outcome = cell.outcome
    text = share(round(outcome.robust_accuracy * outcome.n), outcome.n, outcome.robust_accuracy_ci95)
    text = f"≤ {text} ▲" if outcome.upper_bound_only else text
    return f"{text} ↓" if far_above(cell, row) else text


def far_above(cell: CellResult, row: Row) -> float:
    """By what share the worst case of the row is lower on the cell's examples; 0 where that is no more than `FAR`."""
    above = row.above_worst_case(cell)
    return above if above is not None and above > FAR else 0.0


def _has_far_above(board: Board) -> bool:
    return any(far_above(row.cells[attack], row) for row in board.rows for attack in board.attacks if attack in row.cells)


def worst_cell(row: Row, norm: str, n: int) -> str:
    """The worst case over a norm, – where there is none; no more than a bound where not all attacks of the norm are run, and
    with its own n where that is not the column's `n`."""
    worst = row.worst_case(norm)
    if worst is None:
        return "–"
    text = share(worst.robust, worst.n, worst.interval)
    text += f" n={worst.n}" if worst.n != n else ""
    return f"≤ {text} ▲" if is_bound(row, worst, norm) else text


def is_bound(row: Row, worst: WorstCase, norm: str) -> bool:
    """Whether a row's worst case is no more than an upper bound: an attack failed, or not all of the norm were run."""
    return worst.upper_bound_only or row.lacks(norm)


def _worst_sizes(board: Board, norm: str) -> set[int]:
    return {worst.n for worst in (row.worst_case(norm) for row in board.rows) if worst is not None}


def _has_certificates(board: Board) -> bool:
    return any(row.certificate is not None for row in board.rows)


def _certified_cell(certificate: CertifiedResult | None) -> str:
    if certificate is None:
        return "–"
    outcome, robust = certificate.outcome, len(certificate.robust)
    if certificate.method.name == "exact" and outcome.undecided:
        # All others are proved robust, fooled by an image that the judge confirmed, or misclassified.
        low, high = outcome.certified_accuracy_ci95[0], wilson(robust + outcome.undecided, outcome.n)[1]
        between = f"{100 * robust / outcome.n:.1f}–{100 * (robust + outcome.undecided) / outcome.n:.1f}"
        return f"{between} [{100 * low:.1f}–{100 * high:.1f}]"
    return f"{'=' if certificate.is_exact else '≥'} {share(robust, outcome.n, outcome.certified_accuracy_ci95)}"


def share(count: int, n: int, interval: tuple[float, float]) -> str:
    """ "89.5 [87.4–91.3]", in %."""
    return f"{100 * count / n:.1f} [{100 * interval[0]:.1f}–{100 * interval[1]:.1f}]"


def median_cell(cell: CellResult | None, digits: int) -> str:
    """The median distance over the examples right clean; "≥ half unfooled" where half or more were never fooled."""
    if cell is None:
        return ABSENT
    reached = list(distances(cell).values())
    if not reached:
        return "–"
    middle = float(np.median(reached))
    text = "≥ half unfooled" if middle == float("inf") else f"{middle:.{digits}f}"
    return f"≤ {text} ▲" if cell.outcome.upper_bound_only else text


def failure_cell(cell: CellResult | None) -> str:
    """The share that ended wrong with a confidence above ½, in % with its interval, ≥ and ▲ where it is no more than a bound."""
    if cell is None:
        return ABSENT
    _, failures = of_cell(cell).at_half()
    text = share(failures, cell.outcome.n, wilson(failures, cell.outcome.n))
    return f"≥ {text} ▲" if cell.outcome.upper_bound_only else text
