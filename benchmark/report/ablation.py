"""The logs' ablations as tables of their own: every variant beside the plain network, with what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from robustboard.benchmark.datasets import title
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.setting import setting
from robustboard.benchmark.report.tables import FAR, attack_cell, median_cell, share, worst_cell
from robustboard.benchmark.statistics import wilson
from robustboard.models.plan import ABLATIONS, QUADRATIC
from robustboard.models.registry import ModelCard

HEADERS = [
    "model",
    "parameters",
    "multiply-adds",
    "the log's clean",
    "clean, whole test set",
    "clean",
    "fgsm",
    "bim",
    "worst L∞",
    "cw median L2",
    "worst L2",
]
LOGGED = {
    "cifar10/relu": "87.2–90.8",
    "cifar10/relog": "87.5",
    "cifar10/relog-maxout_4": "87.3",
    "cifar10/relog-minmaxout_2_4": "85.2",
    "cifar10/relog-minmaxout_2_4-max_fit_l2_1": "86.2",
    f"cifar10/{QUADRATIC}": "87.2",
    f"cifar10/{QUADRATIC}-sigmoid_out": "72.8",
    f"cifar10/{QUADRATIC}-sigmoid_out-overlay": "69.0",
    f"cifar10/{QUADRATIC}-sigmoid_out-scrambling": "58.4",
    "cifar10/relog-elliptical-maxout_4": "39–54, falling",
}
"""The clean accuracy that the logs gave, in %, of networks of fifteen million parameters."""
INTRODUCTION = f"""# The ablation

The networks of the logs' ablations, part by part, beside the plain network of their data set, under one schedule of training
and, by narrower layers, with at most a quarter more parameters and multiply-adds. Robust accuracy in % with Wilson's 95 %
interval, each an upper bound, and beside it the clean accuracy over the same examples. The median
is over the examples right clean. ▲ or △ behind a name: the marks below the [table of `standard`](README.md) say why; ↓ behind a
number: on the same examples the worst case is more than {100 * FAR:.0f} points lower. Each line is one run of training;
[how far seeds lie apart](claims.md#6-does-the-seed-of-the-initialisation-matter) is measured for two recipes. The logs gave no
clean accuracy for MNIST, and for CIFAR-10 that of networks of fifteen million parameters.
`robustboard ablation` makes this page from the cells of `standard`.
"""


def page(boards: Sequence[Board], cards: Mapping[str, ModelCard]) -> str:
    """The Markdown page: a table a data set that has an ablation, its variants in the order of the plan."""
    parts = [INTRODUCTION]
    for dataset, names in ABLATIONS.items():
        rows = {row.model: row for board in boards if board.dataset == dataset for row in board.rows}
        lines = [_line(f"{dataset}/{name}", rows.get(name), cards) for name in names]
        table = tabulate(lines, headers=HEADERS, tablefmt="github", disable_numparse=True)
        told = setting(row for name, row in rows.items() if name in names)
        parts += [f"## {title(dataset)}\n", *([f"{told[0].upper()}{told[1:]}.\n"] if told else []), f"{table}\n"]
    return "\n".join(parts)


def _line(name: str, row: Row | None, cards: Mapping[str, ModelCard]) -> list[str]:
    card, short = cards.get(name), name.split("/")[1]
    if card is None:
        return [for_markdown(short), "untrained", "–", LOGGED.get(name, "–"), *["–"] * (len(HEADERS) - 4)]
    counts = [f"{card.parameters:,}", f"{card.multiply_adds:,}", LOGGED.get(name, "–"), f"{100 * card.clean_accuracy:.2f}"]
    if row is None:
        return [for_markdown(short), *counts, *["missing"] * (len(HEADERS) - len(counts) - 1)]
    best = row.any_cell()
    right = round(best.outcome.clean_accuracy * best.outcome.n)
    return [
        for_markdown(f"{short} {row.sign}".rstrip()),
        *counts,
        share(right, best.outcome.n, wilson(right, best.outcome.n)),
        attack_cell(row.cells.get("fgsm"), row),
        attack_cell(row.cells.get("bim"), row),
        worst_cell(row, "linf", best.outcome.n),
        median_cell(row.cells.get("cw"), 3),
        worst_cell(row, "l2", best.outcome.n),
    ]
