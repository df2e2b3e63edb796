"""A cell of A beside a cell of B, paired over the same examples: accuracies, tests, flips, distances, what else changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.alike import Difference, differing, question, strength
from robustboard.benchmark.report.compare.sides import Kind, Sides
from robustboard.benchmark.report.verdicts import distances, robust_examples
from robustboard.benchmark.statistics import (
    PairedDifference,
    PairedDistances,
    holm_adjusted,
    paired_bootstrap,
    paired_difference,
    paired_distances,
)

Interval = tuple[float, float]


@dataclass(frozen=True)
class Accuracy:
    """A robust accuracy with Wilson's interval; `is_bound`: the attack failed on some examples, it is an upper bound only."""

    value: float
    ci95: Interval
    is_bound: bool


@dataclass(frozen=True)
class Tested:
    """B − A with Newcombe's interval and exact McNemar, SciPy's paired bootstrap interval, and the p-value as Holm's correction
    over all compared cells leaves it."""

    paired: PairedDifference
    bootstrap: Interval
    p_holm: float


@dataclass(frozen=True)
class Lengths:
    """Distances of a minimum-norm attack over the examples that both sides have right clean: the medians, infinite where more
    than half were never fooled, the paired test of B − A, and its p-value after Holm's correction."""

    a: float
    b: float
    paired: PairedDistances
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """One cell on either side over the same n examples. Robust in A and not in B: `lost`; the other way round: `gained`; both
    by position in the split. Where either accuracy is a bound nothing is tested and `tested` and `lengths` are None, as
    `lengths` is for attacks that seek no minimum. `changes`: in what else the two cells differ."""

    label: str
    n: int
    a: Accuracy
    b: Accuracy
    lost: tuple[int, ...]
    gained: tuple[int, ...]
    tested: Tested | None
    lengths: Lengths | None
    changes: tuple[Difference, ...]


def compare_sides(sides: Sides) -> list[Comparison]:
    """Every shared cell, Holm's correction over all of them, over accuracies and distances apart.

    Raises `InputError` naming the difference where two cells cannot be compared.
    """
    found = [compare_cells(label, sides.a[label], sides.b[label], sides.kind) for label in sides.shared]
    p_values = iter(holm_adjusted([each.tested.paired.p_value for each in found if each.tested]))
    found = [replace(each, tested=replace(each.tested, p_holm=next(p_values))) if each.tested else each for each in found]
    p_values = iter(holm_adjusted([each.lengths.paired.p_value for each in found if each.lengths]))
    return [replace(each, lengths=replace(each.lengths, p_holm=next(p_values))) if each.lengths else each for each in found]


def compare_cells(label: str, a: CellResult, b: CellResult, kind: Kind = "models") -> Comparison:
    """Two cells alone, without correction.

    Raises `InputError` naming what differs where the two ask different questions (protocol, examples, threat model); between
    models also where the answer was sought differently. Between folders and attacks that is what `changes` tells.
    """
    unlike = question(a, b) + (strength(a, b) if kind == "models" else [])
    if unlike:
        raise InputError(f"{label} cannot be compared: {unlike[0]}; name the attacks that can with --attacks")
    ours, theirs = robust_examples(a), robust_examples(b)
    if ours.keys() != theirs.keys():
        raise InputError(f"{label} cannot be compared: example {min(ours.keys() ^ theirs.keys())} is on one side only")
    indices = sorted(ours)
    is_bound = a.outcome.upper_bound_only or b.outcome.upper_bound_only
    return Comparison(
        label,
        len(indices),
        _accuracy(a),
        _accuracy(b),
        lost=tuple(index for index in indices if ours[index] and not theirs[index]),
        gained=tuple(index for index in indices if theirs[index] and not ours[index]),
        tested=None if is_bound else _tested([ours[index] for index in indices], [theirs[index] for index in indices]),
        lengths=None if is_bound or {a.attack.aim, b.attack.aim} != {"minimum"} else _lengths(a, b),
        changes=tuple(_changes(a, b, kind)),
    )


def _accuracy(cell: CellResult) -> Accuracy:
    outcome = cell.outcome
    return Accuracy(outcome.robust_accuracy, outcome.robust_accuracy_ci95, outcome.upper_bound_only)


def _tested(ours: Sequence[bool], theirs: Sequence[bool]) -> Tested:
    paired = paired_difference(ours, theirs)
    return Tested(paired, paired_bootstrap(ours, theirs), paired.p_value)


def _lengths(a: CellResult, b: CellResult) -> Lengths | None:
    first, second = distances(a), distances(b)
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    ours, theirs = np.array([first[index] for index in both]), np.array([second[index] for index in both])
    paired = paired_distances(ours, theirs)
    return Lengths(float(np.median(ours)), float(np.median(theirs)), paired, paired.p_value)


def _changes(a: CellResult, b: CellResult, kind: Kind) -> list[Difference]:
    """What differs besides what is compared: how the answer was sought, which network it was, what it was computed with."""
    told = ("python", "torch", "torchattacks", "foolbox", "robustboard", "processor", "threads")
    first, second = a.environment, b.environment
    return [
        *strength(a, b),
        *(_network(a, b) if kind != "models" else []),
        *differing(
            ("commit", _commit(a), _commit(b)),
            *((name, getattr(first, name), getattr(second, name)) for name in told),
            ("device", a.cost.device, b.cost.device),
        ),
    ]


def _network(a: CellResult, b: CellResult) -> list[Difference]:
    first, second = a.model, b.model
    return differing(
        ("weights", first.weights_sha256[:12], second.weights_sha256[:12]),
        ("network's parameters", first.parameters, second.parameters),
        ("source", first.source, second.source),
        ("code", first.code[:12], second.code[:12]),
        ("head", first.head, second.head),
        ("output", first.output, second.output),
    )


def _commit(cell: CellResult) -> str:
    environment = cell.environment
    return f"{environment.git_commit[:12]}{' with changes' if environment.git_dirty else ''}"
