"""What the logs claimed, the number then and the number now, under the same attack and in the worst case, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from tabulate import tabulate

from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.tables import (
    attack_cell,
    failure_cell,
    failures_at_half,
    marked_name,
    median_cell,
    share,
    worst_cell,
)
from robustboard.benchmark.report.verdicts import distances, robust_examples
from robustboard.benchmark.statistics import holm, paired_difference, paired_distances, wilson
from robustboard.models.plan import ABLATIONS, MNIST_BASES, SEEDS, SIZES

Rows = Mapping[str, Row]
"""The rows of a data set's board by the model's name."""


@dataclass(frozen=True)
class Answer:
    """What the cells say now: a table of figures, and the verdict in a sentence; no figures where cells are missing."""

    verdict: str
    headers: Sequence[str] = ()
    figures: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Claim:
    """A claim, the number the log had, and the function of MNIST's rows that answers it."""

    text: str
    then: str
    answer: Callable[[Rows], Answer]


MISSING = Answer("Not answered: the cells that it needs are not here.")


def page(boards: Sequence[Board]) -> str:
    """The Markdown page."""
    rows: Rows = {row.model: row for board in boards if board.dataset == "mnist" for row in board.rows}
    parts = [INTRODUCTION]
    for number, claim in enumerate(CLAIMS, 1):
        answer = claim.answer(rows)
        parts.append(f"## {number}. {claim.text}\n\n**Then**: {claim.then}\n")
        if answer.figures:
            table = tabulate(answer.figures, headers=answer.headers, tablefmt="github", disable_numparse=True)
            parts.append(f"**Now**, MNIST, protocol `standard`:\n\n{table}\n")
        parts.append(f"**Verdict**: {answer.verdict}\n")
    return "\n".join(parts)


def fgsm_is_withstood(rows: Rows) -> Answer:
    """Whether ReLog keeps 60 % under FGSM, and its best companions 90 %, and what is left of that in the worst case."""
    plain, best = rows.get("relog"), _best(rows, "fgsm")
    if plain is None or best is None or not _has(plain, "fgsm"):
        return MISSING
    chosen = [row for row in (rows.get("relu"), plain, best) if row is not None]
    figures = [[_named(r), attack_cell(r.cells.get("fgsm")), attack_cell(r.cells.get("bim")), _worst(r)] for r in chosen]
    reached = [_upper(plain.cells["fgsm"]) >= 0.6, _upper(best.cells["fgsm"]) >= 0.9]
    said = {
        (True, True): "Both numbers are reached under FGSM",
        (True, False): "ReLog's 60 % is reached under FGSM, the 90 % is not",
        (False, True): "ReLog alone does not reach its 60 % under FGSM, the best variant reaches 90 %",
        (False, False): "Neither number is reached even under FGSM",
    }[reached[0], reached[1]]
    worst = best.worst_case("linf")
    left = f"; in the worst case the best variant, {best.model}, keeps {100 * worst.accuracy:.1f} %" if worst else ""
    if "worst_case" in best.missing:
        left = f"; the worst case of the best variant, {best.model}, is not here"
    run = sum(name in rows and _has(rows[name], "fgsm") for name in ABLATIONS["mnist"])
    return Answer(
        f"{said}{left} ({run} of {len(ABLATIONS['mnist'])} variants are run).", ["model", "fgsm", "bim", "worst L∞"], figures
    )


def carlini_wagner_fools_half(rows: Rows) -> Answer:
    """Whether C&W leaves any variant of the ablation that is run unfooled, at any distance."""
    named = [(name, rows[name].cells["cw"]) for name in ABLATIONS["mnist"] if name in rows and _has(rows[name], "cw")]
    if not named:
        return MISSING
    name, cell = max(named, key=lambda pair: pair[1].outcome.unfooled)
    n, found = cell.outcome.n, round((1 - cell.outcome.unfooled) * cell.outcome.n)
    figures = [[_named(rows[name]), str(n), share(found, n, wilson(found, n)), median_cell(cell, 3), attack_cell(cell)]]
    headers = ["least fooled", "n", "fooled at any distance", "median L2", f"robust within L2 {cell.attack.eps:g}"]
    least = wilson(found, n)[0]
    verdict = (
        f"False: of the {len(named)} variants that are run the least fooled is fooled {100 * found / n:.1f} % of the time; "
        "the half that was left had been "
        "left by the attack."
        if least > 0.58
        else f"It stands: of the {len(named)} variants that are run {name} is fooled {100 * found / n:.1f} % of the time."
    )
    return Answer(verdict, headers, figures)


def max_fit_helps(rows: Rows) -> Answer:
    """Each reward against its base, paired by example: distances under C&W, and who stands under FGSM. Holm's correction over
    all of the page's tests of this claim."""
    found = [
        (base, rows[base], rows[name])
        for base in MNIST_BASES
        for name in (f"{base}-max_fit_l1_1", f"{base}-max_fit_l2_1")
        if {base, name} <= set(rows) and all(_has(rows[each], "cw", "fgsm") for each in (base, name))
    ]
    if not found:
        return MISSING
    longer = [_longer(a.cells["cw"], b.cells["cw"]) for _, a, b in found]
    standing = [_standing(a.cells["fgsm"], b.cells["fgsm"]) for _, a, b in found]
    significant = holm([p for _, p in longer] + [p for _, p in standing])
    figures, against = [], {"cw": 0, "fgsm": 0}
    for at, (base, plain, rewarded) in enumerate(found):
        cw, fgsm = significant[at], significant[len(found) + at]
        against["cw"] += cw and longer[at][0] > 0
        against["fgsm"] += fgsm and standing[at][0] > 0
        part = for_markdown(marked_name(rewarded).removeprefix(f"{base}-"))
        figures.append([_named(plain), part, _signed(longer[at][0], 3, cw), _signed(100 * standing[at][0], 1, fgsm)])
    headers = ["base", "with", "cw, median of the differences in L2", "fgsm, points"]
    verdict = (
        f"Of {len(found)} pairs the reward lengthens C&W's distances in {against['cw']} and raises the accuracy under FGSM in "
        f"{against['fgsm']} (▲ or ▼: significant at 5 % after Holm's correction)."
    )
    return Answer(verdict, headers, figures)


def negatives_resist_confidence(rows: Rows) -> Answer:
    """Confident errors of sigmoid heads beside their confidence on clean images."""
    names = [name for name in ABLATIONS["mnist"] if "sigmoid_out" in name or "scrambling" in name or "overlay" in name]
    chosen = [row for name in ("relu", *names) if (row := rows.get(name)) is not None and _has(row, "max_confidence")]
    if len(chosen) < 2:
        return MISSING
    figures, failures = [], {}
    for row in chosen:
        cell = row.cells["max_confidence"]
        n, examples = cell.outcome.n, cell.per_example
        covered = sum(right and sure > 0.5 for right, sure in zip(examples.correct_clean, examples.clean_confidence, strict=True))
        figures.append([_named(row), share(covered, n, wilson(covered, n)), failure_cell(cell)])
        failures[row.model] = 100 * failures_at_half(cell) / n
    best = min(failures, key=lambda name: failures[name])
    verdict = (
        f"The fewest confident errors has {best}, {failures[best]:.1f} %, against {failures['relu']:.1f} % of relu; what its "
        "confidence is worth on clean images stands beside it, as the log came to see."
        if "relu" in failures
        else f"The fewest confident errors has {best}, {failures[best]:.1f} %."
    )
    return Answer(verdict, ["model", "clean: right with confidence above ½", "attacked: wrong with confidence above ½"], figures)


def smaller_is_more_robust(rows: Rows) -> Answer:
    """Parameters against C&W's median distance over the five sizes, by rank."""
    chosen = [rows[name] for name in SIZES if name in rows and _has(rows[name], "cw")]
    if len(chosen) < len(SIZES):
        return MISSING
    sizes = [row.any_cell().model.parameters for row in chosen]
    medians = [_median(row.cells["cw"]) for row in chosen]
    figures = [
        [_named(row), f"{size:,}", attack_cell(row.cells.get("bim")), median_cell(row.cells["cw"], 3), _worst(row)]
        for row, size in zip(chosen, sizes, strict=True)
    ]
    correlation = float(stats.spearmanr(sizes, medians).statistic)
    said = "No: larger networks are farther from their errors" if correlation > 0.5 else "Undecided"
    said = "Yes: smaller networks are farther from their errors" if correlation < -0.5 else said
    headers = ["model", "parameters", "bim", "cw median L2", "worst L∞"]
    return Answer(f"{said} (rank correlation of parameters and median distance {correlation:+.1f}).", headers, figures)


def seeds_agree(rows: Rows) -> Answer:
    """How far five runs of a recipe lie apart."""
    figures = []
    for base in (name for name in SEEDS if "-seed_" not in name):
        runs = [rows[name] for name in SEEDS if name.split("-seed_")[0] == base and name in rows]
        if len(runs) < 5 or not all(_has(run, "fgsm", "cw") for run in runs):
            return MISSING
        clean = [100 * run.any_cell().outcome.clean_accuracy for run in runs]
        fgsm = [100 * run.cells["fgsm"].outcome.robust_accuracy for run in runs]
        medians = [_median(run.cells["cw"]) for run in runs]
        figures.append([for_markdown(base), _range(clean, 1), _range(fgsm, 1), _range(medians, 3)])
    verdict = "The columns say how large a difference between two recipes must be before one run of each can tell them apart."
    return Answer(verdict, ["recipe, five seeds", "clean, %", "fgsm, %", "cw median L2"], figures)


def _has(row: Row, *attacks: str) -> bool:
    """Whether the row has these cells whole: where an attack failed the number is a bound, which answers nothing."""
    return all(name in row.cells and not row.cells[name].outcome.upper_bound_only for name in attacks)


def _named(row: Row) -> str:
    return for_markdown(marked_name(row))


def _best(rows: Rows, attack: str) -> Row | None:
    named = [rows[name] for name in ABLATIONS["mnist"] if name in rows and _has(rows[name], attack)]
    return max(named, key=lambda row: row.cells[attack].outcome.robust_accuracy, default=None)


def _worst(row: Row) -> str:
    return worst_cell(row, "linf", row.any_cell().outcome.n)


def _upper(cell: CellResult) -> float:
    return cell.outcome.robust_accuracy_ci95[1]


def _median(cell: CellResult) -> float:
    return float(np.median(list(distances(cell).values())))


def _longer(a: CellResult, b: CellResult) -> tuple[float, float]:
    """The median of b − a over the examples both have right, and the p-value of Wilcoxon's signed-rank test."""
    first, second = distances(a), distances(b)
    both = [index for index in first if index in second]
    found = paired_distances(np.array([first[index] for index in both]), np.array([second[index] for index in both]))
    return float("nan") if found.difference is None else found.difference, found.p_value


def _standing(a: CellResult, b: CellResult) -> tuple[float, float]:
    """The difference of the robust accuracies b − a over the same examples, and McNemar's exact p-value."""
    first, second = robust_examples(a), robust_examples(b)
    both = [index for index in first if index in second]
    found = paired_difference([first[index] for index in both], [second[index] for index in both])
    return found.difference, found.p_value


def _signed(value: float, digits: int, significant: bool) -> str:
    return f"{value:+.{digits}f}{(' ▲' if value > 0 else ' ▼') if significant else ''}"


def _range(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f}–{max(values):.{digits}f}"


INTRODUCTION = """# The logs' claims, answered

What the research logs claimed of logic-inspired networks, the number they had, the number the same attack gives here, and
what is left in the worst case. `robustboard claims` makes this page from the cells of `standard`; a claim whose cells are not
run yet says so. ▲ behind a name: the marks below the table of `standard` say why.
"""
CLAIMS = (
    Claim(
        "ReLog and its companions withstand FGSM",
        "60 % of the digits right under FGSM with ReLog, 90 % with the best of the tricks.",
        fgsm_is_withstood,
    ),
    Claim(
        "C&W fools the best MNIST model only half of the time",
        "50 to 58 % fooled.",
        carlini_wagner_fools_half,
    ),
    Claim(
        "max_fit helps against C&W, not against FGSM",
        "a higher accuracy under C&W, the same under FGSM.",
        max_fit_helps,
    ),
    Claim(
        "Sigmoid heads with negatives resist max-confidence",
        "few confident errors; later withdrawn, because their confidence is low on clean images, too.",
        negatives_resist_confidence,
    ),
    Claim(
        "Smaller networks are more robust",
        "a question on a tiny network of about 96 %.",
        smaller_is_more_robust,
    ),
    Claim(
        "The initialisation's seed matters little",
        "a question.",
        seeds_agree,
    ),
)
