"""Robust accuracy against ε, measured: the attacks are run anew at several radii on a few examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.bench import Setting, Sitter, attacked, sitting
from robustboard.benchmark.plots.curves import Curve, draw
from robustboard.benchmark.plots.picture import About, Picture
from robustboard.benchmark.plots.style import plain
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import BANDS, BOUND, attack_words, marked, name_of, where

USUAL_N = 100
ATTACKS = ("fgsm", "bim")
SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5)
"""Of the protocol's ε: the radii that are measured."""
TIMES = ", ".join(f"{share:g}" for share in SHARES)
NOTE = (
    f"Run anew on the first n test examples at {TIMES} times the protocol's ε, which is dotted (markers with their bars); "
    "the lines guide the eye. At 0 it is the clean accuracy; what fell at a smaller ε counts as fallen at a larger. "
    f"{BOUND} {BANDS}"
)


def measure(sitter: Sitter, setting: Setting, radii: Sequence[float]) -> Curve:
    """How many stand when the attack is run at each of `radii`, what fell at a smaller one included."""
    standing = sitter.clean.correct.cpu().numpy().astype(bool)
    counts, failed = [int(standing.sum())], False
    for radius in sorted(radii):
        found = attacked(sitter, setting, radius)
        standing = standing & ~found.fooled.numpy()
        failed = failed or bool(found.failed.any())
        counts.append(int(standing.sum()))
    ends = (0.0, *sorted(radii))
    name = marked(plain(setting.block.name), failed)
    return Curve(
        name, setting.block.norm, np.array(ends), np.array(counts), len(standing), ends, ends[-1], setting.block.eps, steps=False
    )


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` for an attack that is not confined to a radius, and for a network that is
    not to be had."""
    row, dataset = view.row, view.board.dataset
    settings = [view.setting(name, USUAL_N) for name in view.attacks or ATTACKS]
    for setting in settings:
        if setting.block.aim == "minimum":
            raise InputError(f"{setting.block.name} is not confined to a radius: its curve is that of plot epsilon")
    with sitting(view.bench, dataset, row.model, view.bench.examples(dataset, USUAL_N)) as sitter:
        curves = [measure(sitter, each, [share * each.block.eps for share in SHARES]) for each in settings]
    notes = (NOTE, *(attack_words(setting.block) for setting in settings), *view.notes())
    about = About("Robust accuracy against ε, measured", where(view.board, [curve.n for curve in curves], name_of(row)), notes)
    return Picture("sweep", dataset, row.model, about, draw(curves, about))
