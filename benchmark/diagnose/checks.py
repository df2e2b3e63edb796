"""The 23 checks by number, and one check made on one model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from robustboard.benchmark.diagnose import behaviour, candidates, contradictions, controls, gradients
from robustboard.benchmark.diagnose.examination import Examination
from robustboard.benchmark.diagnose.observation import Observation
from robustboard.benchmark.diagnose.record import Figure, Finding
from robustboard.benchmark.errors import ModelFaultError, first_line
from robustboard.benchmark.judge import is_out_of_memory

VERSION = 3
"""Raised whenever a check would answer otherwise about the same model and cells."""


@dataclass(frozen=True)
class Check:
    """A check by its number, in a few words, and the function that makes it."""

    number: int
    title: str
    function: Callable[[Examination], Observation]


CHECKS = (
    Check(1, "input gradients are not zero", gradients.zero_gradients),
    Check(2, "cross-entropy and margin agree", gradients.losses_agree),
    Check(3, "scaled and shifted logits change nothing", gradients.scaled),
    Check(4, "outputs are logits", behaviour.outputs),
    Check(5, "the same image has the same answer", behaviour.repeated),
    Check(6, "outputs have a gradient graph", behaviour.graph),
    Check(7, "white-box beats black-box", contradictions.black_box),
    Check(8, "BIM beats FGSM", contradictions.one_step),
    Check(9, "random noise fools no survivor", contradictions.noise),
    Check(10, "transfer fools no survivor", contradictions.transfer),
    Check(11, "more effort fools no survivor", contradictions.more_effort),
    Check(12, "a larger ε fools no fewer", contradictions.monotone),
    Check(13, "an unbounded attack leaves nothing", controls.unbounded),
    Check(14, "ε = 0 is the clean accuracy", controls.no_budget),
    Check(15, "no success is lost", candidates.silent_success),
    Check(16, "the loss rises", gradients.rising_loss),
    Check(17, "the margin is stable", gradients.stable_margin),
    Check(18, "candidates keep the rules", candidates.rules),
    Check(19, "steps reach the edge of the ball", candidates.reach),
    Check(20, "candidates move", candidates.moved),
    Check(21, "judged again, the same verdicts", candidates.judged_again),
    Check(22, "no side effects", behaviour.side_effects),
    Check(23, "the attack breaks an undefended model", controls.positive_control),
)


def observe(check: Check, examination: Examination) -> Finding:
    """A check on a model. What is raised on the way is why it was not made. Raises `ModelFaultError` only when
    memory runs out."""
    started = time.perf_counter()
    try:
        found = check.function(examination)
    except Exception as trouble:
        if is_out_of_memory(trouble):
            raise ModelFaultError(f"memory runs out at check {check.number}: give a smaller --n") from trouble
        found = Observation("not made", f"it could not be made: {type(trouble).__name__}: {first_line(trouble)}")
    seconds = round(time.perf_counter() - started, 2)
    return Finding(
        number=check.number,
        title=check.title,
        verdict=found.verdict,
        reason=found.reason,
        looked_at=found.looked_at,
        figures={name: _plain(figure) for name, figure in found.figures.items()},
        examples=sorted(found.examples),
        seconds=seconds,
    )


def _plain(figure: Figure) -> Figure:
    """A number that a file can hold: what is not finite is a word."""
    return figure if not isinstance(figure, float) or math.isfinite(figure) else str(figure)
