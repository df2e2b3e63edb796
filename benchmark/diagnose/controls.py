"""Where the answer is known beforehand: no budget, all the budget there is, and a network that has no defence.

Checks 13, 14 and 23.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import torch

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.cells import build
from robustboard.benchmark.diagnose.examination import Attempt, Examination, outcomes
from robustboard.benchmark.diagnose.observation import Observation, counted, differing, named, not_applicable, worst
from robustboard.benchmark.judge import look_clean, prepared
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.statistics import is_chance
from robustboard.benchmark.subjects import Subject

LARGE = (0.5, 1.0)
"""At ½ every image can be made grey, at 1 into any other."""
INFEASIBLE_L2 = {"mnist": 9.0}
"""A median distance that no model can have: images of other digits are nearer."""


def unbounded(examination: Examination) -> Observation:
    """Check 13 (Carlini et al. 2019, section 5.2): BIM with L∞ ε = 0.5, then 1, leaves more than chance and 3 standard errors; or
    the median distance of every minimum-norm L2 attack in the cells is infinite, or on MNIST 9 or more. Where one of several
    attacks gets nearer, the model is not at fault."""
    if not len(examination.right):
        return not_applicable("no example is right clean")
    left, n = examination.right, len(examination.labels)
    counts = {}
    for epsilon in LARGE:
        attempt = examination.attack("bim", left, epsilon=epsilon)
        left = left[~attempt.fooled]
        counts[f"left at ε = {epsilon:g}"] = len(left)
    medians = {name: median for name, cell in examination.cells.items() if (median := _median(cell)) is not None}
    limit = INFEASIBLE_L2.get(examination.examples.name, float("inf"))
    far = [*medians] if medians and min(medians.values()) >= limit else []
    verdicts = [counted(0 if is_chance(len(left), n, examination.classes) else len(left), n), counted(len(far), 1)]
    reason = f"with L∞ ε = 1 BIM leaves {len(left)} of {n}{named(examination.positions(left))}"
    reason += "".join(f"; {name}'s median distance of {medians[name]:.3g} is infeasible" for name in far)
    figures = {**counts, **{f"{name} median L2": round(value, 4) for name, value in medians.items() if value < float("inf")}}
    return Observation(worst(verdicts), reason, figures, examination.positions(left))


def _median(cell: CellResult) -> float | None:
    """The median distance over the examples right clean of a minimum-norm L2 attack's cell, infinite where half were never
    fooled. Candidates from a file are no attack that looked for the nearest."""
    if (cell.attack.norm, cell.attack.aim) != ("l2", "minimum") or cell.attack.name not in all_cards():
        return None
    rows = zip(cell.per_example.correct_clean, cell.per_example.distance, strict=True)
    distances = [float("inf") if distance is None else distance for right, distance in rows if right]
    return statistics.median_low(distances) if distances else None


def no_budget(examination: Examination) -> Observation:
    """Check 14 (a bound that holds by definition): with ε = 0 the robust accuracy is another than the clean accuracy."""
    if not len(examination.right):
        return not_applicable("no example is right clean")
    attempt = examination.attack("bim", epsilon=0.0)
    fooled = attempt.rows[attempt.fooled]
    positions = examination.positions(fooled)
    reason = f"with ε = 0 BIM fools {len(positions)} of {len(attempt.rows)} that are right clean{named(positions)}"
    return Observation(counted(len(positions), len(attempt.rows)), reason, {"fooled": len(positions)}, positions)


def positive_control(examination: Examination) -> Observation:
    """Check 23 (Carlini et al. 2019, section 4.13): the protocol's BIM leaves more than 1 % of an undefended model's examples:
    the attack is at fault, whatever model is looked at. From that model's cell, if it is there."""
    control, cell = examination.control, examination.control_cell
    if control is None:
        return not_applicable("the registry has no undefended model of this data set")
    full = load_protocol("standard").datasets.get(examination.examples.name, examination.plan).linf
    if examination.plan.linf < full:
        return not_applicable(
            f"within ε = {examination.plan.linf:g}, less than standard's {full:g}, an undefended model may stand"
        )
    if cell is not None:
        left, n = [index for index, fooled in outcomes(cell).items() if not fooled], cell.outcome.n
    else:
        attempt = _on_control(examination, control)
        left, n = examination.positions(attempt.rows[~attempt.fooled]), len(examination.labels)
    reason = f"BIM leaves {len(left)} of {n} on the undefended {control.name}{named(left)}"
    return Observation(differing(len(left), n, 1), reason, {"n": n, "left": len(left)}, left, "cells" if cell else "model")


def _on_control(examination: Examination, control: Subject) -> Attempt:
    with prepared(build(control).network, torch.device("cpu")) as network:
        clean = look_clean(network, examination.images, examination.labels, control.head)
        return replace(examination, network=network, clean=clean).bim
