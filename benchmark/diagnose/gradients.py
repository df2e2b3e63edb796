"""Whether the gradients lead anywhere: where they are zero, what they climb, and whether the climb rises.

Checks 1, 2, 3, 16 and 17.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.attack import logits_and_gradient
from robustboard.attacks.losses import LOSSES, LossName
from robustboard.attacks.pgd import uniform_start
from robustboard.benchmark.canaries.models import Around
from robustboard.benchmark.diagnose.behaviour import missing_graph
from robustboard.benchmark.diagnose.examination import Attempt, Examination
from robustboard.benchmark.diagnose.observation import Observation, counted, differing, named, not_applicable, worst

SCALES = (0.1, 10.0, 100.0)
SHIFTS = (-100.0, 100.0)
DRAWS = 100
NEAR = 4 / 255
UNSTABLE = 0.1


def zero_gradients(examination: Examination) -> Observation:
    """Check 1 (Carlini et al. 2019, section 4.7; AutoAttack's flags, "zero gradient"): input gradients that are all zero, on any
    example, by cross-entropy or by the margin. More than a tenth of the examples fail."""
    missing = missing_graph(examination.network, examination.images[:4], examination.labels[:4])
    if missing:
        return not_applicable(f"{missing}: see check 6")
    by: tuple[LossName, ...] = ("margin", "cross_entropy")
    zero = {name: _zero_rows(examination, name) for name in by}
    rows = max(zero.values(), key=len)
    n = len(examination.labels)
    told = ", ".join(f"{len(found)} of {n} by {name.replace('_', '-')}" for name, found in zero.items())
    figures = {f"zero by {name}": round(len(found) / n, 4) for name, found in zero.items()}
    return Observation(counted(len(rows), n, 10), f"input gradients that are all zero: {told}", figures, rows)


def _zero_rows(examination: Examination, name: LossName) -> list[int]:
    loss = LOSSES[name]
    _, _, gradient = logits_and_gradient(examination.network, examination.images, lambda z: loss(z, examination.labels))
    return examination.positions((~gradient.flatten(1).any(1)).nonzero().flatten())


def losses_agree(examination: Examination) -> Observation:
    """Check 2 (Carlini & Wagner 2017, section V; AutoAttack's flags, "zero gradient"): the same BIM by cross-entropy and by the
    margin, more than 2 points apart."""
    if not len(examination.right):
        return not_applicable("no example is right clean")
    n = len(examination.labels)
    left = {
        "margin": _left(examination.bim),
        "cross-entropy": _left(examination.bim_by_cross_entropy),
    }
    apart = abs(left["margin"] - left["cross-entropy"])
    reason = f"BIM leaves {left['cross-entropy']} of {n} by cross-entropy, {left['margin']} by the margin"
    return Observation(differing(apart, n, 2), reason, {name: round(count / n, 4) for name, count in left.items()})


def scaled(examination: Examination) -> Observation:
    """Check 3 (Croce & Hein 2020a, section 4): BIM told logits that are scaled or shifted, which changes no prediction, comes to
    another robust accuracy: by more than 1 point, or by any for a shift.

    By cross-entropy only a fall counts: it must flatten where logits grow, and a fall shows that it is flat as they are.
    """
    if not len(examination.right):
        return not_applicable("no example is right clean")
    n, base = len(examination.labels), _left(examination.bim)
    scales = {f"× {scale:g}": _changed(examination, scale, 0.0) for scale in SCALES}
    shifts = {f"{shift:+g}": _changed(examination, 1.0, shift) for shift in SHIFTS}
    by_cross_entropy = {f"× {scale:g} by cross-entropy": _changed(examination, scale, 0.0, "cross_entropy") for scale in SCALES}
    start = _left(examination.bim_by_cross_entropy)
    falls = {name: max(0, start - left) for name, left in by_cross_entropy.items()}
    changes = {name: abs(left - base) for name, left in {**scales, **shifts}.items()} | falls
    verdict = worst(
        [
            *(differing(changes[name], n, 1) for name in (*scales, *by_cross_entropy)),
            *(counted(changes[name], n) for name in shifts),
        ]
    )
    largest = max(changes, key=lambda name: changes[name])
    reason = f"logits {largest} move the robust accuracy by {changes[largest]} of {n} examples" if changes[largest] else ""
    told = {"unchanged": base, "unchanged by cross-entropy": start, **scales, **shifts, **by_cross_entropy}
    figures = {name: round(left / n, 4) for name, left in told.items()}
    return Observation(verdict, reason or "scaled and shifted logits leave the robust accuracy as it is", figures)


def _changed(examination: Examination, scale: float, shift: float, loss: LossName = "margin") -> int:
    """How many BIM leaves when it is told scale · Z + shift."""
    told = Around(examination.network, after=lambda logits: scale * logits + shift)
    return _left(examination.attack("bim", through=told, loss=loss))


def _left(attempt: Attempt) -> int:
    return int((~attempt.fooled).sum())


def rising_loss(examination: Examination) -> Observation:
    """Check 16 (Pintor et al. 2022, "incomplete optimization"): the margin of a survivor is no higher at the end than at the
    start, for more than 5 %."""
    left = examination.left_by_bim
    if not len(left.rows):
        return not_applicable("BIM left no example")
    start = examination.margins(examination.images[left.rows], left.rows)
    end = examination.margins(left.images, left.rows)
    stuck = examination.positions(left.rows[end <= start])
    reason = f"BIM did not raise the margin of {len(stuck)} of the {len(left.rows)} it left{named(stuck)}"
    figures = {"left": len(left.rows), "mean rise of the margin": round(float((end - start).mean()), 6)}
    return Observation(counted(len(stuck), len(left.rows), 5), reason, figures, stuck)


def stable_margin(examination: Examination) -> Observation:
    """Check 17 (Pintor et al. 2022, "unstable predictions"): the margin at BIM's last iterates moves by more than a tenth, on
    average over 100 uniform draws within ±4/255.

    The changes and the margins are averaged before one is divided by the other: a survivor close to its boundary would
    otherwise be all that counts.
    """
    left = examination.left_by_bim
    if not len(left.rows):
        return not_applicable("BIM left no example")
    keys = randomness.make_keys(examination.protocol.seed, torch.tensor(examination.positions(left.rows)), "stable margin")
    at = examination.margins(left.images, left.rows)
    moved = torch.stack([_moved(examination, left, keys, draw) - at for draw in range(DRAWS)])
    change = float(moved.abs().mean() / at.abs().mean().clamp_min(1e-30))
    figures = {"mean relative change": round(change, 4), "left": len(left.rows)}
    if not math.isfinite(change):
        return Observation("fail", "the margin of what BIM left is not finite everywhere within ±4/255", figures)
    reason = f"the margin of what BIM left moves by {change:.1%} on average within ±4/255"
    return Observation("fail" if change > UNSTABLE else "pass", reason, figures)


def _moved(examination: Examination, left: Attempt, keys: Tensor, draw: int) -> Tensor:
    """The margins (n,) at one draw."""
    return examination.margins(uniform_start(left.images, randomness.derive(keys, draw), NEAR), left.rows)
