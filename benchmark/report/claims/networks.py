"""What the log of the logic-inspired networks claimed: their accuracy under FGSM and C&W, their rewards, their negatives."""

from __future__ import annotations

from collections.abc import Callable

from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.report.claims.answer import MISSING, Answer, Rows, has, longer, named, signed, standing, worst
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.tables import (
    attack_cell,
    failure_cell,
    failures_at_half,
    is_bound,
    marked_name,
    median_cell,
    share,
)
from robustboard.benchmark.statistics import holm, wilson
from robustboard.models.plan import ABLATIONS, MNIST_BASES, QUADRATIC


def fgsm_is_withstood(rows: Rows) -> Answer:
    """Whether ReLog keeps 60 % under FGSM, and its best companions 90 %, and what is left of that in the worst case."""
    plain, best = rows.get("relog"), _best(rows, "fgsm")
    if plain is None or best is None or not has(plain, "fgsm"):
        return MISSING
    chosen = [row for row in (rows.get("relu"), plain, best) if row is not None]
    figures = [[named(r), attack_cell(r.cells.get("fgsm")), attack_cell(r.cells.get("bim")), worst(r)] for r in chosen]
    reached = [_upper(plain.cells["fgsm"]) >= 0.6, _upper(best.cells["fgsm"]) >= 0.9]
    said = {
        (True, True): "Both numbers are reached under FGSM",
        (True, False): "ReLog's 60 % is reached under FGSM, the 90 % is not",
        (False, True): "ReLog alone does not reach its 60 % under FGSM, the best variant reaches 90 %",
        (False, False): "Neither number is reached even under FGSM",
    }[reached[0], reached[1]]
    kept = best.worst_case("linf")
    left = f"; in the worst case the best variant, {named(best)}, keeps {100 * kept.accuracy:.1f} %" if kept else ""
    if "worst_case" in best.missing:
        left = f"; the worst case of the best variant, {named(best)}, is not here"
    run = sum(name in rows and has(rows[name], "fgsm") for name in ABLATIONS["mnist"])
    return Answer(
        f"{said}{left} ({run} of {len(ABLATIONS['mnist'])} variants are run).", ["model", "fgsm", "bim", "worst L∞"], figures
    )


def carlini_wagner_fools_half(rows: Rows) -> Answer:
    """Whether C&W leaves any variant of the ablation that is run unfooled, at any distance."""
    run = [(name, rows[name].cells["cw"]) for name in ABLATIONS["mnist"] if name in rows and has(rows[name], "cw")]
    if not run:
        return MISSING
    name, cell = max(run, key=lambda pair: pair[1].outcome.unfooled)
    n, found = cell.outcome.n, round((1 - cell.outcome.unfooled) * cell.outcome.n)
    figures = [[named(rows[name]), str(n), share(found, n, wilson(found, n)), median_cell(cell, 3), attack_cell(cell)]]
    figures[0].append(worst(rows[name], "l2"))
    headers = ["least fooled", "n", "fooled at any distance", "median L2", f"robust within L2 {cell.attack.eps:g}", "worst L2"]
    least = wilson(found, n)[0]
    verdict = (
        f"False: of the {len(run)} variants that are run the least fooled is fooled {100 * found / n:.1f} % of the time; "
        "the half that was left had been "
        "left by the attack."
        if least > 0.58
        else f"It stands: of the {len(run)} variants that are run {named(rows[name])} is fooled {100 * found / n:.1f} % of the "
        "time."
    )
    return Answer(verdict, headers, figures)


def max_fit_helps(rows: Rows) -> Answer:
    """Each reward against its base, paired by example: distances under C&W, and who stands under FGSM. Holm's correction over
    all of the page's tests of this claim."""
    found = [
        (base, rows[base], rows[name])
        for base in MNIST_BASES
        for name in (f"{base}-max_fit_l1_1", f"{base}-max_fit_l2_1")
        if {base, name} <= set(rows) and all(has(rows[each], "cw", "fgsm") for each in (base, name))
    ]
    if not found:
        return MISSING
    grown = [longer(a.cells["cw"], b.cells["cw"]) for _, a, b in found]
    left = [standing(a.cells["fgsm"], b.cells["fgsm"]) for _, a, b in found]
    significant = holm([p for _, p in grown] + [each.p_value for each in left])
    cw, fgsm = significant[: len(found)], significant[len(found) :]
    figures = [
        [
            named(plain),
            for_markdown(marked_name(rewarded).removeprefix(f"{base}-")),
            _both(plain, rewarded, lambda row: median_cell(row.cells["cw"], 3)),
            signed(grown[at][0], 3, cw[at]),
            _both(plain, rewarded, lambda row: f"{100 * row.cells['fgsm'].outcome.robust_accuracy:.1f}"),
            f"{signed(100 * left[at].difference, 1, fgsm[at])} [{100 * left[at].low:+.1f}, {100 * left[at].high:+.1f}]",
            _both(plain, rewarded, _worst_l2),
        ]
        for at, (base, plain, rewarded) in enumerate(found)
    ]
    headers = ["base", "with", "cw median L2", "median of the differences", "fgsm, %", "points", "worst L2, %"]
    longer_by = sum(told and grown[at][0] > 0 for at, told in enumerate(cw))
    better = sum(told and left[at].difference > 0 for at, told in enumerate(fgsm))
    said = "It stands" if longer_by == len(found) and not better else "False" if not longer_by else "In part"
    verdict = (
        f"{said}: of {len(found)} pairs the reward lengthens C&W's distances in {longer_by} and raises the accuracy under FGSM "
        f"in {better} (▲ or ▼: significant at 5 % after Holm's correction)."
    )
    return Answer(verdict, headers, figures)


def negatives_resist_confidence(rows: Rows) -> Answer:
    """Confident errors of sigmoid heads that were trained with negatives, beside those of the head alone and of the plain
    network, and beside their confidence on clean images."""
    asked = [f"{QUADRATIC}-sigmoid_out-{negative}" for negative in ("overlay", "scrambling")]
    names = ["relu", f"{QUADRATIC}-sigmoid_out", *asked]
    if not all(name in rows and has(rows[name], "max_confidence") for name in names):
        return MISSING
    figures, failures = [], {}
    for row in (rows[name] for name in names):
        cell = row.cells["max_confidence"]
        n, examples = cell.outcome.n, cell.per_example
        covered = sum(right and sure > 0.5 for right, sure in zip(examples.correct_clean, examples.clean_confidence, strict=True))
        figures.append([named(row), share(covered, n, wilson(covered, n)), failure_cell(cell), worst(row)])
        failures[row.model] = wilson(failures_at_half(cell), n)
    headers = ["model", "clean: right with confidence above ½", "attacked: wrong with confidence above ½", "worst L∞"]
    resist = [name for name in asked if failures[name][1] < 0.5]
    said = "It stands" if resist == asked else "In part" if resist else "False"
    verdict = (
        f"{said}: of the {len(asked)} networks with a sigmoid head and negatives {len(resist)} are wrong with a confidence above "
        "½ on fewer than half of the attacked examples."
    )
    return Answer(verdict, headers, figures)


def _both(plain: Row, rewarded: Row, figure: Callable[[Row], str]) -> str:
    return f"{figure(plain)} → {figure(rewarded)}"


def _worst_l2(row: Row) -> str:
    found = row.worst_case("l2")
    return f"{'≤ ' * is_bound(row, found, 'l2')}{100 * found.accuracy:.1f}" if found else "–"


def _best(rows: Rows, attack: str) -> Row | None:
    run = [rows[name] for name in ABLATIONS["mnist"] if name in rows and has(rows[name], attack)]
    return max(run, key=lambda row: row.cells[attack].outcome.robust_accuracy, default=None)


def _upper(cell: CellResult) -> float:
    return cell.outcome.robust_accuracy_ci95[1]
