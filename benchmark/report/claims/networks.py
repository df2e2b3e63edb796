"""What the log of the logic-inspired networks claimed: their accuracy under FGSM and C&W, their rewards, their negatives."""

from __future__ import annotations

from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.report.claims.answer import MISSING, Answer, Rows, has, longer, named, signed, standing, worst
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.tables import attack_cell, failure_cell, failures_at_half, marked_name, median_cell, share
from robustboard.benchmark.statistics import holm, wilson
from robustboard.models.plan import ABLATIONS, MNIST_BASES


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
    headers = ["least fooled", "n", "fooled at any distance", "median L2", f"robust within L2 {cell.attack.eps:g}"]
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
    significant = holm([p for _, p in grown] + [p for _, p in left])
    figures, against = [], {"cw": 0, "fgsm": 0}
    for at, (base, plain, rewarded) in enumerate(found):
        cw, fgsm = significant[at], significant[len(found) + at]
        against["cw"] += cw and grown[at][0] > 0
        against["fgsm"] += fgsm and left[at][0] > 0
        part = for_markdown(marked_name(rewarded).removeprefix(f"{base}-"))
        figures.append([named(plain), part, signed(grown[at][0], 3, cw), signed(100 * left[at][0], 1, fgsm)])
    headers = ["base", "with", "cw, median of the differences in L2", "fgsm, points"]
    verdict = (
        f"Of {len(found)} pairs the reward lengthens C&W's distances in {against['cw']} and raises the accuracy under FGSM in "
        f"{against['fgsm']} (▲ or ▼: significant at 5 % after Holm's correction)."
    )
    return Answer(verdict, headers, figures)


def negatives_resist_confidence(rows: Rows) -> Answer:
    """Confident errors of sigmoid heads beside their confidence on clean images."""
    names = [name for name in ABLATIONS["mnist"] if "sigmoid_out" in name or "scrambling" in name or "overlay" in name]
    chosen = [row for name in ("relu", *names) if (row := rows.get(name)) is not None and has(row, "max_confidence")]
    if len(chosen) < 2:
        return MISSING
    figures, failures = [], {}
    for row in chosen:
        cell = row.cells["max_confidence"]
        n, examples = cell.outcome.n, cell.per_example
        covered = sum(right and sure > 0.5 for right, sure in zip(examples.correct_clean, examples.clean_confidence, strict=True))
        figures.append([named(row), share(covered, n, wilson(covered, n)), failure_cell(cell)])
        failures[row.model] = 100 * failures_at_half(cell) / n
    best = min(failures, key=lambda name: failures[name])
    verdict = (
        f"The fewest confident errors has {named(rows[best])}, {failures[best]:.1f} %, against {failures['relu']:.1f} % of "
        f"{named(rows['relu'])}; what its "
        "confidence is worth on clean images stands beside it, as the log came to see."
        if "relu" in failures
        else f"The fewest confident errors has {named(rows[best])}, {failures[best]:.1f} %."
    )
    return Answer(verdict, ["model", "clean: right with confidence above ½", "attacked: wrong with confidence above ½"], figures)


def _best(rows: Rows, attack: str) -> Row | None:
    run = [rows[name] for name in ABLATIONS["mnist"] if name in rows and has(rows[name], attack)]
    return max(run, key=lambda row: row.cells[attack].outcome.robust_accuracy, default=None)


def _upper(cell: CellResult) -> float:
    return cell.outcome.robust_accuracy_ci95[1]
