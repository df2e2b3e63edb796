"""A comparison as text in the terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from robustboard.benchmark.report.compare.differences import Accuracy, Comparison, Interval, Lengths
from robustboard.benchmark.report.compare.sides import Sides
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.report.styles import paragraph
from robustboard.benchmark.report.tables import share

SHOWN = 8
"""So many examples, or cells, are spelled out; all are in the JSON."""
ACCURACIES = (
    "Robust accuracy in % with Wilson's 95 % interval, paired over the same examples. B − A in points with Newcombe's interval "
    "for paired shares, beside it the one by bootstrap. p: exact McNemar, then after Holm's correction over these rows; a "
    "board's ranks correct over all pairs of its models, and may tie what a row here tells apart, or the other way round. lost: "
    "examples robust in A and not in B; gained: the other way round."
)
LENGTHS = (
    "Median distances over the examples right clean on both sides, and the median of B − A; one that was never fooled is "
    "farther than any other. p: Wilcoxon's signed-rank test, then after Holm's correction over these rows."
)


def render(a: str, b: str, sides: Sides, comparisons: Sequence[Comparison], folder: Path) -> str:
    """The tables, which examples flipped, what else changed, and what was left out or is marked. `folder` is where the cells of
    models come from."""
    place = "" if sides.kind == "folders" else f"\nfrom {for_terminal(str(folder))}"
    blocks = [f"A: {for_terminal(a)}\nB: {for_terminal(b)}{place}", _accuracies(comparisons), paragraph(ACCURACIES, "terminal")]
    if any(each.lengths for each in comparisons):
        blocks += [_lengths(comparisons), paragraph(LENGTHS, "terminal")]
    blocks += [_section("Flips", [line for each in comparisons for line in _flips(each)])]
    blocks += [_section("Also changed", _changes(comparisons))]
    blocks += [_section("Left out or marked", _notes(sides))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_json(a: str, b: str, sides: Sides, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Everything, shares as fractions, every flipped example; what is not finite is null."""
    return {
        "a": a,
        "b": b,
        "kind": sides.kind,
        "cells": [_finite(asdict(each)) for each in comparisons],
        "only_in_a": [label for label in sides.a if label not in sides.b],
        "only_in_b": [label for label in sides.b if label not in sides.a],
        "marks": {
            "a": [f"{sign} {mark}" for sign, mark in sides.marks_a],
            "b": [f"{sign} {mark}" for sign, mark in sides.marks_b],
        },
        "unread": sides.unread,
    }


def _accuracies(comparisons: Sequence[Comparison]) -> str:
    rows = [
        [for_terminal(each.label), each.n, _accuracy(each.a, each.n), _accuracy(each.b, each.n), *_tested(each)]
        for each in comparisons
    ]
    headers = ["attack", "n", "A", "B", "B − A [95 %]", "bootstrap", "p", "Holm", "lost", "gained"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _accuracy(accuracy: Accuracy, n: int) -> str:
    text = share(round(accuracy.value * n), n, accuracy.ci95)
    return f"≤ {text} ▲" if accuracy.is_bound else text


def _tested(each: Comparison) -> list[str]:
    flips = [str(len(each.lost)), str(len(each.gained))]
    if each.tested is None:
        return ["the attack failed", "–", "–", "–", *flips]
    paired = each.tested.paired
    interval, bootstrap = _points((paired.low, paired.high)), _points(each.tested.bootstrap)
    difference = f"{100 * paired.difference:+.1f} {interval}"
    return [difference, bootstrap, f"{paired.p_value:.2g}", f"{each.tested.p_holm:.2g}", *flips]


def _points(interval: Interval) -> str:
    return f"[{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def _lengths(comparisons: Sequence[Comparison]) -> str:
    rows = [[for_terminal(each.label), *_length(each.lengths)] for each in comparisons if each.lengths]
    headers = ["distances", "examples", "median A", "median B", "median of B − A", "p", "Holm"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _length(found: Lengths) -> list[str]:
    paired = found.paired
    medians = ["≥ half unfooled" if math.isinf(median) else f"{median:.4g}" for median in (found.a, found.b)]
    difference = "–" if paired.difference is None else f"{paired.difference:+.3g}".replace("inf", "∞")
    return [str(paired.n), *medians, difference, f"{paired.p_value:.2g}", f"{found.p_holm:.2g}"]


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else ""


def _flips(each: Comparison) -> list[str]:
    sides = [f"{name} {_first(indices)}" for name, indices in (("lost", each.lost), ("gained", each.gained)) if indices]
    return [f"{for_terminal(each.label)}: {'; '.join(sides)}"] if sides else []


def _changes(comparisons: Sequence[Comparison]) -> list[str]:
    """Each change once, with the cells that it is in."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for each in comparisons:
        for change in each.changes:
            key = for_terminal(change.what), for_terminal(str(change.first)), for_terminal(str(change.second))
            found.setdefault(key, []).append(for_terminal(each.label))
    everywhere = len(comparisons)
    return [
        f"{what}: {first} → {second}{'' if len(cells) == everywhere else f' ({_first(cells)})'}"
        for (what, first, second), cells in found.items()
    ]


def _first(items: Sequence[object]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(str(item) for item in items[:SHOWN]) + more


def _notes(sides: Sides) -> list[str]:
    return [
        *(f"left alone: {for_terminal(trouble)}" for trouble in sides.unread),
        *(f"only in A: {for_terminal(label)}" for label in sides.a if label not in sides.b),
        *(f"only in B: {for_terminal(label)}" for label in sides.b if label not in sides.a),
        *(f"{sign} A: {for_terminal(mark)}." for sign, mark in sides.marks_a),
        *(f"{sign} B: {for_terminal(mark)}." for sign, mark in sides.marks_b),
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
