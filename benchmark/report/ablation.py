"""The logs' ablations as tables of their own: every variant beside the plain network, with what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from robustboard.benchmark.datasets import title
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.escaping import for_markdown
from robustboard.benchmark.report.tables import attack_cell, median_cell, share, worst_cell
from robustboard.benchmark.statistics import wilson
from robustboard.models.plan import ABLATIONS
from robustboard.models.registry import ModelCard

HEADERS = [
    "model",
    "parameters",
    "multiply-adds",
    "clean",
    "fgsm",
    "bim",
    "worst L∞",
    "cw median L2",
    "worst L2",
]
INTRODUCTION = """# The ablation

Every unit, head, reward and negative of the logic-inspired networks beside the plain network of its data set, under one
schedule of training and, by narrower layers, with at most a quarter more parameters and multiply-adds. Robust accuracy in %
with Wilson's 95 % interval, each an upper bound; *missing* has no result here. `robustboard ablation` makes this page from the
cells of `standard`.
"""


def page(boards: Sequence[Board], cards: Mapping[str, ModelCard]) -> str:
    """The Markdown page: a table a data set that has an ablation, its variants in the order of the plan."""
    parts = [INTRODUCTION]
    for dataset, names in ABLATIONS.items():
        rows = {row.model: row for board in boards if board.dataset == dataset for row in board.rows}
        lines = [_line(f"{dataset}/{name}", rows.get(name), cards) for name in names]
        table = tabulate(lines, headers=HEADERS, tablefmt="github", disable_numparse=True)
        parts.append(f"## {title(dataset)}\n\n{table}\n")
    return "\n".join(parts)


def _line(name: str, row: Row | None, cards: Mapping[str, ModelCard]) -> list[str]:
    card, short = cards.get(name), name.split("/")[1]
    if card is None:
        return [for_markdown(short), "untrained", *["–"] * (len(HEADERS) - 2)]
    counts = [f"{card.parameters:,}", f"{card.multiply_adds:,}"]
    if row is None:
        return [for_markdown(short), *counts, f"{100 * card.clean_accuracy:.1f}", *["missing"] * (len(HEADERS) - 4)]
    best = row.any_cell()
    right = round(best.outcome.clean_accuracy * best.outcome.n)
    return [
        for_markdown(f"{short} {row.sign}".rstrip()),
        *counts,
        share(right, best.outcome.n, wilson(right, best.outcome.n)),
        attack_cell(row.cells.get("fgsm")),
        attack_cell(row.cells.get("bim")),
        worst_cell(row, "linf", best.outcome.n),
        median_cell(row.cells.get("cw"), 3),
        worst_cell(row, "l2", best.outcome.n),
    ]
