"""The page of the claims: their texts, their order, and the answers of today's cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tabulate import tabulate

from robustboard.benchmark.datasets import title
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.claims.answer import Claim
from robustboard.benchmark.report.claims.networks import (
    carlini_wagner_fools_half,
    fgsm_is_withstood,
    max_fit_helps,
    negatives_resist_confidence,
)
from robustboard.benchmark.report.claims.properties import seeds_agree, smaller_is_more_robust, units_help
from robustboard.benchmark.report.setting import setting
from robustboard.benchmark.report.tables import FAR


def page(boards: Sequence[Board]) -> str:
    """The Markdown page."""
    parts = [INTRODUCTION]
    for number, claim in enumerate(CLAIMS, 1):
        rows = {row.model: row for board in boards if board.dataset == claim.dataset for row in board.rows}
        answer = claim.answer(rows)
        parts.append(f"## {number}. {claim.text}\n\n**Then**: {claim.then}\n")
        if answer.figures:
            table = tabulate(answer.figures, headers=answer.headers, tablefmt="github", disable_numparse=True)
            parts.append(f"**Now**, {title(claim.dataset)}, {setting(rows.values())}:\n\n{table}\n")
        parts.append(f"**Verdict**: {answer.verdict}\n")
    return "\n".join([*parts, ELSEWHERE])


INTRODUCTION = f"""# The logs' claims, answered

What the research logs claimed of logic-inspired networks, the number they had, the number the same attack gives here, and
what is left in the worst case. `robustboard claims` makes this page from the cells of `standard`; a claim whose cells are not
run yet says so. The logs gave no ε. FGSM and BIM climb the margin here, not cross-entropy, whose gradient is lost where
it underflows. ▲ or △ behind a name: the marks below the [table of `standard`](README.md) say why;
↓ behind a number: on the same examples the worst case is more than {100 * FAR:.0f} points lower.
"""
ELSEWHERE = """## What `standard` cannot answer

- Who fools whom, across families, sizes and disjoint halves of the training images:
  `robustboard plot transfer mnist/relu mnist/relog mnist/relu-half_1 mnist/relu-half_2`.
- The distortion of L-BFGS: `robustboard run --dataset mnist --models relu --attacks lbfgs --out results`.
- That Adam, clipping by L∞ and inputs below 0 break ReLog: not tested here, the registry is trained without them.
- That elliptical units diverge: those here do not, see [how they are trained](../models/README.md).
"""
CLAIMS = (
    Claim(
        "ReLog and its companions withstand FGSM",
        "from 60 to 90 % of the digits right under FGSM, by ReLog and tricks.",
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
        "Does the seed of the initialisation matter?",
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
