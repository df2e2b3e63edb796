"""Findings as text for the terminal: a table cell by cell, a sentence a cause, and a last line that says what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate

from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.report.styles import paragraph
from robustboard.benchmark.verify.findings import Finding, Report

NOTHING_SHOWN = "No cell keeps candidates: nothing shows that what is recorded as fooled is fooled (run --keep-adversarials)."
NAMED = 3
"""How many cells of one remark are named; of the others the number is."""


def page(report: Report) -> str:
    """The whole report."""
    rows = [[for_terminal(finding.name), finding.status, *_numbers(finding)] for finding in report.findings]
    headers = ["cell", "", "robust accuracy", "shown", "candidates", "again"]
    lines = [tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", "left", *["right"] * 4)), ""]
    for finding in report.findings:
        lines += [for_terminal(f"FAIL {finding.name}: {cause}.") for cause in finding.causes]
    lines += [for_terminal(f"{_named(names)}: {remark}.") for remark, names in _remarks(report).items()]
    lines += [for_terminal(f"No cells: {sentence}.") for sentence in report.others]
    return "\n".join([*lines, "", *_meaning(report), _sum(report)])


def _numbers(finding: Finding) -> list[str]:
    judged = str(finding.judged) if finding.shown is not None else "–"
    again = "–" if finding.again is None else f"{finding.again} of {finding.robust}"
    return [_share(finding.recorded), _share(finding.shown), judged, again]


def _meaning(report: Report) -> list[str]:
    """What a pass says, and of how much it says nothing."""
    looked_at = [finding for finding in report.findings if finding.again is not None]
    if not looked_at:
        return []
    robust, again = sum(finding.robust for finding in looked_at), sum(finding.again or 0 for finding in looked_at)
    shown = any(finding.shown is not None for finding in report.findings)
    passed = "Of the cells that pass" if report.failed else "pass"
    told = [f"{passed}: what is recorded as fooled is fooled." if shown else NOTHING_SHOWN]
    if robust:
        which = f"{again} (drawn by --seed {report.seed}) {'was' if again == 1 else 'were'}" if again else "none was"
        told.append(f"Of {robust} recorded as robust {which} attacked again.")
    if again < robust:
        told.append(f"{'Of the others' if again else 'For these'} their cells' word is all there is.")
    return [paragraph(" ".join(told), "terminal"), ""]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _remarks(report: Report) -> dict[str, list[str]]:
    """Each remark once, with the cells that it is about."""
    about: dict[str, list[str]] = {}
    for finding in report.findings:
        for remark in finding.remarks:
            about.setdefault(remark, []).append(finding.name)
    return about


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _sum(report: Report) -> str:
    counts = Counter(finding.status for finding in report.findings)
    total = len(report.findings)
    return f"{total} cell{'s' if total > 1 else ''}: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())
