"""Projected gradient ascent with keep-best and per-example stopping, the loop that BIM, PGD and max-confidence share; and the
attempts, one after the other on the survivors, of every attack with restarts or several targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustboard.attacks.attack import Model, logits_and_gradient, logits_of
from robustboard.attacks.projections import BallNorm, into_ball, steepest

Climb = Callable[[Tensor, Tensor], Tensor]
"""(logits of the active examples, their rows in the batch) -> the loss (n,) to climb."""
Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(logits, rows) -> how good each iterate is (n,), and whether its example is done (n,) bool."""


@dataclass(frozen=True)
class Ascent:
    """The best iterate of every example (N, C, H, W), its score (N,), the steps taken (N,), and who got done (N,) bool."""

    images: Tensor
    scores: Tensor
    iterations: Tensor
    done: Tensor

    @staticmethod
    def nothing(starts: Tensor) -> Ascent:
        """Nothing looked at yet: a copy of the starts, at a score of −∞."""
        count, device = len(starts), starts.device
        return Ascent(
            starts.clone(),
            starts.new_full((count,), -torch.inf),
            torch.zeros(count, dtype=torch.int64, device=device),
            torch.zeros(count, dtype=torch.bool, device=device),
        )

    def keep(self, rows: Tensor, images: Tensor, scores: Tensor, done: Tensor) -> None:
        """Take in, in place, what `rows` (n,) of the batch have come to: the better images, and who is done."""
        better = scores > self.scores[rows]
        self.images[rows[better]] = images[better]
        self.scores[rows[better]] = scores[better]
        self.done[rows[done]] = True


Attempt = Callable[[Tensor, Tensor], Ascent]
"""(number of the attempt (n,), rows (n,) of the batch) -> what it comes to on each of those rows."""
QUARTER, FEW = 4, 4
"""Attempts are made side by side until a quarter of the batch is filled, or few rows: a smaller batch costs more a row than
is lost on attempts that a success made needless, and on a processor fewer rows than four are filled up to four."""


def cascade(best: Ascent, attempts: int, attempt: Attempt, *, side_by_side: bool = True) -> Ascent:
    """Improve `best` (in place) by several attempts at each example; each counts for those that none before it finished.

    One more attempt never gives a worse score. When few examples are left, several attempts are made at once, if they may
    stand `side_by_side`; what comes out is that of one after the other, whatever the batch.
    """
    number = 0
    while number < attempts:
        rows = (~best.done).nonzero().squeeze(1)
        if not len(rows):
            break
        room = max(FEW, len(best.done) // QUARTER) if side_by_side else 0
        together = min(attempts - number, max(1, room // len(rows)))
        try:
            numbers, reached = _several(attempt, rows, number, together)
        except Exception:
            if together == 1:
                raise
            # One attempt's trouble (a model that answers NaN on its path) must not cost the others.
            together = 1
            numbers, reached = _several(attempt, rows, number, together)
        for part in torch.arange(len(numbers), device=rows.device).split(len(rows)):
            still, there = rows[~best.done[rows]], part[~best.done[rows]]
            best.keep(still, reached.images[there], reached.scores[there], reached.done[there])
            best.iterations[still] += reached.iterations[there]
        number += together
    return best


def _several(attempt: Attempt, rows: Tensor, first: int, together: int) -> tuple[Tensor, Ascent]:
    """The attempts from `first` on at once, each on all `rows`: their numbers, and what they come to."""
    numbers = torch.arange(first, first + together, device=rows.device).repeat_interleave(len(rows))
    return numbers, attempt(numbers, rows.repeat(together))


def ascend(
    model: Model,
    origins: Tensor,
    starts: Tensor,
    climb: Climb,
    score: Score,
    *,
    epsilon: float,
    step: float,
    steps: int,
    norm: BallNorm = "linf",
    falling: bool = False,
) -> Ascent:
    """From `starts`, up to `steps` moves of `step` (in units of `norm`) along the steepest direction, inside the ball of
    `epsilon` around `origins` and the box. Examples leave the batch when `score` says they are done. A `falling` step is
    `step` at first and falls along a line, to `step` / `steps` at last.

    Every iterate is scored and the best is kept: more steps of one length never give a worse score. Costs one pass forward
    and back a step and an example, and one forward for the last iterate.
    """
    best = Ascent.nothing(starts)
    rows = torch.arange(len(starts), device=starts.device)
    current = starts
    for number in range(steps + 1):
        if number < steps:
            logits, _, gradient = logits_and_gradient(model, current, lambda z: climb(z, rows))  # noqa: B023
        else:
            logits, gradient = logits_of(model, current), torch.zeros_like(current)
        values, done = score(logits, rows)
        best.keep(rows, current, values, done)
        going = ~done
        rows = rows[going]
        if number == steps or not len(rows):
            break
        length = step * (1 - number / steps) if falling else step
        moved = current[going] + length * steepest(gradient[going], norm)
        current = into_ball(moved, origins[rows], epsilon, norm)
        best.iterations[rows] += 1
    return best


def check_reach(step: float, steps: int) -> None:
    """Refuse a schedule that cannot reach the edge of the ball: ValueError when step (relative to ε) · steps < 1."""
    _check_positive(step, steps)
    if step * steps < 1 - 1e-9:
        raise ValueError(f"{steps} steps of {step:g} ε reach only {step * steps:g} ε: raise steps or step until step · steps ≥ 1")


def check_falling_reach(step: float, steps: int) -> None:
    """Refuse a schedule whose falling steps together cannot reach the edge of the ball: ValueError when their sum,
    step (relative to ε) · (steps + 1) / 2, is below 1."""
    _check_positive(step, steps)
    reach = step * (steps + 1) / 2
    if reach < 1 - 1e-9:
        raise ValueError(f"{steps} steps falling from {step:g} ε reach only {reach:g} ε in all: raise steps or the first step")


def _check_positive(step: float, steps: int) -> None:
    if steps < 1 or step <= 0:
        raise ValueError(f"there must be at least one step of positive length, got {steps} of {step:g} ε")
