"""What the notes on the properties of networks asked: sizes, seeds; and whether the units help on equal terms."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from robustboard.benchmark.report.board import Row
from robustboard.benchmark.report.claims.answer import MISSING, Answer, Rows, has, median, named, points, worst
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.tables import attack_cell, is_bound, median_cell, share
from robustboard.benchmark.report.verdicts import jointly_robust_examples
from robustboard.benchmark.statistics import paired_difference, wilson
from robustboard.models.plan import SEEDS, SIZES


def smaller_is_more_robust(rows: Rows) -> Answer:
    """Parameters against C&W's median distance over the five sizes, by rank."""
    chosen = [rows[name] for name in SIZES if name in rows and has(rows[name], "cw")]
    if len(chosen) < len(SIZES):
        return MISSING
    sizes = [row.any_cell().model.parameters for row in chosen]
    medians = [median(row.cells["cw"]) for row in chosen]
    figures = [
        [
            named(row),
            f"{size:,}",
            _clean(row),
            attack_cell(row.cells.get("bim"), row),
            median_cell(row.cells["cw"], 3),
            worst(row),
        ]
        for row, size in zip(chosen, sizes, strict=True)
    ]
    correlation = float(stats.spearmanr(sizes, medians).statistic)
    said = "No: larger networks are farther from their errors" if correlation > 0.5 else "Undecided"
    said = "Yes: smaller networks are farther from their errors" if correlation < -0.5 else said
    headers = ["model", "parameters", "clean", "bim", "cw median L2", "worst L∞"]
    told = f"rank correlation of parameters and median distance {correlation:+.1f}, one run each"
    return Answer(f"{said} ({told}).", headers, figures)


def seeds_agree(rows: Rows) -> Answer:
    """How far five runs of a recipe lie apart; under FGSM beyond chance where the extremes' intervals do not meet."""
    figures, apart, told = [], [], []
    for base in (name for name in SEEDS if "-seed_" not in name):
        runs = [rows[name] for name in SEEDS if name.split("-seed_")[0] == base and name in rows]
        if len(runs) < 5 or not all(has(run, "fgsm", "cw") for run in runs):
            return MISSING
        kept = [100 * found.accuracy for run in runs if (found := run.worst_case("linf"))]
        clean = [100 * run.any_cell().outcome.clean_accuracy for run in runs]
        fgsm = [100 * run.cells["fgsm"].outcome.robust_accuracy for run in runs]
        medians = [median(run.cells["cw"]) for run in runs]
        sign = max((run.sign for run in runs), key=("", "△", "▲").index)
        figures.append(
            [for_markdown(f"{base} {sign}".rstrip()), _range(clean, 1), _range(fgsm, 1), _range(medians, 3), _range(kept, 1)]
        )
        apart.append([max(clean) - min(clean), max(fgsm) - min(fgsm), 100 * (max(medians) / min(medians) - 1)])
        intervals = [run.cells["fgsm"].outcome.robust_accuracy_ci95 for run in runs]
        if max(low for low, _ in intervals) > min(high for _, high in intervals):
            told.append(base)
    largest = [max(column) for column in zip(*apart, strict=True)]
    said = f"Yes, under FGSM that of {' and '.join(told)}" if told else "Not beyond chance under FGSM"
    verdict = (
        f"{said}. Five runs lie at most {largest[0]:.1f} points apart on clean images, {largest[1]:.1f} under FGSM and "
        f"{largest[2]:.0f} % in C&W's median distance: of two single runs that differ by less, the seed may be the reason."
    )
    return Answer(verdict, ["recipe, five seeds", "clean, %", "fgsm, %", "cw median L2", "worst L∞, %"], figures)


def units_help(rows: Rows, *, plain: str, other: str) -> Answer:
    """Two models of the same adversarial training, without and with the units: who stands in the worst case under L∞, paired
    by example."""
    if not all(name in rows and has(rows[name], "bim", "worst_case") for name in (plain, other)):
        return MISSING
    pair = rows[plain], rows[other]
    if any((worst_case := row.worst_case("linf")) is None or is_bound(row, worst_case, "linf") for row in pair):
        return MISSING
    first, second = (jointly_robust_examples(row.of_norm("linf")) for row in pair)
    both = sorted(first.keys() & second.keys())
    found = paired_difference([first[index] for index in both], [second[index] for index in both])
    said = "Yes" if found.difference > 0 else "No, they cost it"
    said = said if found.p_value < 0.05 else "Not beyond chance"
    figures = [_line(row) for row in pair]
    headers = ["model", "parameters", "clean", "bim", "worst L∞"]
    verdict = (
        f"{said}: in the worst case {named(rows[other])} keeps {abs(100 * found.difference):.1f} points "
        f"{'less' if found.difference < 0 else 'more'} than {named(rows[plain])} ({points(found)}, p = {found.p_value:.2g}; one "
        "run each: how far seeds lie apart in adversarial training was not tried)."
    )
    return Answer(verdict, headers, figures)


def _line(row: Row) -> list[str]:
    return [named(row), f"{row.any_cell().model.parameters:,}", _clean(row), attack_cell(row.cells["bim"], row), worst(row)]


def _clean(row: Row) -> str:
    """Over all examples of the board."""
    outcome = row.any_cell().outcome
    right = round(outcome.clean_accuracy * outcome.n)
    return share(right, outcome.n, wilson(right, outcome.n))


def _range(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f}–{max(values):.{digits}f}"
