"""A diagnosis as a table for the terminal: every check with its verdict, what was looked at and what was seen."""

from __future__ import annotations

import shutil
from collections import Counter

from tabulate import tabulate

from robustboard.benchmark.diagnose.record import Diagnosis, Finding
from robustboard.benchmark.report.diagnoses import sign_of
from robustboard.benchmark.report.escaping import for_terminal

PASS = "no failure detected"
"""A pass is never told as a proof of robustness."""
NARROWEST = 30


def verdict_text(finding: Finding) -> str:
    """A verdict in words, behind the sign that it gives its model's row on a board: "△ fail"."""
    return PASS if finding.verdict == "pass" else f"{sign_of(finding)} {finding.verdict}".strip()


def render(diagnosis: Diagnosis) -> str:
    """The model, a line a check, and how many of which verdict."""
    rows = [_row(finding) for finding in diagnosis.findings]
    headers = ["#", "check", "verdict", "looked at", "what was seen"]
    taken = 4 * 2 + sum(max(len(row[at]) for row in [headers, *rows]) for at in range(4))
    width = max(NARROWEST, shutil.get_terminal_size((200, 50)).columns - taken)
    table = tabulate(rows, headers=headers, disable_numparse=True, maxcolwidths=[None, None, None, None, width])
    counts = Counter(finding.verdict for finding in diagnosis.findings)
    told = [f"{counts[verdict]} {verdict}" for verdict in ("fail", "warn", "not made", "not applicable") if counts[verdict]]
    seconds = sum(finding.seconds for finding in diagnosis.findings)
    heading = for_terminal(
        f"{diagnosis.dataset.name}/{diagnosis.model.name} · protocol {diagnosis.protocol.name} v{diagnosis.protocol.version} · "
        f"{diagnosis.dataset.n} examples, {len(diagnosis.cells)} cells · {seconds:.0f} s"
    )
    return f"{heading}\n\n{table}\n\n{counts['pass']} checks detected no failure{''.join(f', {text}' for text in told)}.\n"


def _row(finding: Finding) -> list[str]:
    return [str(finding.number), finding.title, verdict_text(finding), finding.looked_at, for_terminal(finding.reason)]
