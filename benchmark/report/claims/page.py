"""The page of the claims: their texts, their order, and the answers of today's cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tabulate import tabulate

from robustboard.attacks.attack import Norm
from robustboard.benchmark.datasets import title
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.claims.answer import Claim, Rows
from robustboard.benchmark.report.claims.networks import (
    carlini_wagner_fools_half,
    fgsm_is_withstood,
    max_fit_helps,
    negatives_resist_confidence,
)
from robustboard.benchmark.report.claims.properties import seeds_agree, smaller_is_more_robust, units_help


def page(boards: Sequence[Board]) -> str:
    """The Markdown page."""
    parts = [INTRODUCTION]
    for number, claim in enumerate(CLAIMS, 1):
        rows = {row.model: row for board in boards if board.dataset == claim.dataset for row in board.rows}
        answer = claim.answer(rows)
        parts.append(f"## {number}. {claim.text}\n\n**Then**: {claim.then}\n")
        if answer.figures:
            table = tabulate(answer.figures, headers=answer.headers, tablefmt="github", disable_numparse=True)
            parts.append(f"**Now**, {title(claim.dataset)}, {_setting(rows)}:\n\n{table}\n")
        parts.append(f"**Verdict**: {answer.verdict}\n")
    return "\n".join([*parts, ELSEWHERE])


def _setting(rows: Rows) -> str:
    """The protocol of the board, its ε, and on how many examples what ran."""
    cells = [cell for row in rows.values() for cell in row.cells.values()]
    sizes: dict[int, set[str]] = {}
    for cell in cells:
        sizes.setdefault(cell.outcome.n, set()).add(cell.attack.name)
    usual = max(sizes, key=lambda n: len(sizes[n]))
    fewer = "".join(f", {' and '.join(sorted(names))} on {n}" for n, names in sorted(sizes.items()) if n != usual)
    radii = {cell.attack.norm: cell.attack.eps for cell in cells}
    told = "".join(f", {sign} ε = {radii[norm]:.4g}" for norm, sign in SIGNS.items() if norm in radii)
    return f"protocol `{cells[0].protocol.name}`{told}, n = {usual}{fewer}"


SIGNS: dict[Norm, str] = {"linf": "L∞", "l2": "L2"}
INTRODUCTION = """# The logs' claims, answered

What the research logs claimed of logic-inspired networks, the number they had, the number the same attack gives here, and
what is left in the worst case. `robustboard claims` makes this page from the cells of `standard`; a claim whose cells are not
run yet says so. FGSM and BIM climb the margin here, the logs' climbed cross-entropy. ▲ or △ behind a name: the marks below the
table of `standard` say why.
"""
ELSEWHERE = """## What `standard` cannot answer

- Who fools whom, across families, sizes and disjoint halves of the training images:
  `robustboard plot transfer mnist/relu mnist/relog mnist/relu-half_1 mnist/relu-half_2`.
- The distortion of L-BFGS: `robustboard run --dataset mnist --models relu --attacks lbfgs --out results`.
- That Adam, clipping by L∞ and inputs below 0 break ReLog, and that elliptical units diverge, is about training:
  [how the registry is trained](../models/README.md).
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
        dataset="cifar10",
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
    Claim(
        "The units help a network that is trained against PGD",
        "not tried; asked here, on equal terms: the same adversary, schedule and size.",
        partial(units_help, plain="relu-pgd_at", other="relog-maxout_4-pgd_at"),
    ),
    Claim(
        "The units help a network of CIFAR-10 that is trained against FGSM with a random start",
        "not tried; asked here, on equal terms: the same adversary, schedule and size.",
        partial(units_help, plain="relu-fast_at", other="relog-maxout_4-fast_at"),
        dataset="cifar10",
    ),
)
