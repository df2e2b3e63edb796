"""Projected sign-gradient ascent with keep-best and per-example stopping: the loop that BIM, PGD and max-confidence share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, logits_and_gradient, logits_of

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
) -> Ascent:
    """From `starts`, up to `steps` moves of `step` (pixel units) along the gradient's sign, inside the L∞ ball of
    `epsilon` around `origins` and the box. Examples leave the batch when `score` says they are done.

    More steps never give a worse score: every iterate is scored and the best is kept. Costs one pass forward and back
    a step and an example, and one forward for the last iterate.
    """
    best = starts.clone()
    scores = torch.full((len(starts),), -torch.inf, device=starts.device)
    iterations = torch.zeros(len(starts), dtype=torch.int64, device=starts.device)
    finished = torch.zeros(len(starts), dtype=torch.bool, device=starts.device)
    rows = torch.arange(len(starts), device=starts.device)
    current = starts
    for number in range(steps + 1):
        if number < steps:
            logits, _, gradient = logits_and_gradient(model, current, lambda z: climb(z, rows))  # noqa: B023
        else:
            logits, gradient = logits_of(model, current), torch.zeros_like(current)
        values, done = score(logits, rows)
        better = values > scores[rows]
        best[rows[better]] = current[better]
        scores[rows[better]] = values[better]
        finished[rows] = done
        going = ~done
        rows = rows[going]
        if number == steps or not len(rows):
            break
        moved = current[going] + step * gradient[going].sign()
        current = projections.linf(moved, origins[rows], epsilon)
        iterations[rows] += 1
    return Ascent(best, scores, iterations, finished)


def check_reach(step: float, steps: int) -> None:
    """Refuse a schedule that cannot reach the edge of the ball: ValueError when step (relative to ε) · steps < 1."""
    if steps < 1 or step <= 0:
        raise ValueError(f"there must be at least one step of positive length, got {steps} of {step:g} ε")
    if step * steps < 1 - 1e-9:
        raise ValueError(f"{steps} steps of {step:g} ε reach only {step * steps:g} ε: raise steps or step until step · steps ≥ 1")
