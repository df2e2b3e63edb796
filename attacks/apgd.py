"""Auto-PGD: projected ascent with momentum whose step halves, per example, when the loss stops rising. No step size to tune."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.ascent import Ascent, Climb, Score, cascade
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register_linf_and_l2
from robustboard.attacks.bim import climb_and_score
from robustboard.attacks.losses import Loss, dlr, log_odds, targeted_dlr, wrong_classes
from robustboard.attacks.pgd import uniform_start
from robustboard.attacks.projections import BallNorm, into_ball, per_example, steepest

ALGORITHM = "Croce & Hein 2020a, algorithm 1"
MOMENTUM = 0.75
FIRST_STEP = 2.0
"""In units of ε: the whole ball in one step."""
APGD_LOSSES: dict[str, Loss] = {"cross_entropy": log_odds, "dlr": dlr}


def check_rho(rho: float) -> None:
    """Refuse a share of rising steps that is none."""
    if not 0 < rho <= 1:
        raise ValueError(f"rho is the share of the steps that must rise and must be in (0, 1], got {rho:g}")


@register_linf_and_l2("apgd_ce", aim="budget", version=1, source=f"{ALGORITHM}; cross-entropy", check=check_rho)
def apgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    restarts: int = 1,
    rho: float = 0.75,
    loss: Literal["cross_entropy", "dlr"] = "cross_entropy",
    norm: BallNorm = "linf",
) -> Proposal:
    """The best of `restarts` adaptive ascents of the loss from uniform points of the ball; only survivors start again.

    Cross-entropy is climbed by its log-odds: the same directions and the same comparisons, as both rise with each other, but
    on a confident model, where cross-entropy has no gradient left, the margin's. DLR is the margin below three classes.
    Costs a pass forward and back a step. Raises ValueError when ρ is not in (0, 1].
    """
    check_rho(rho)

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        def climb(logits: Tensor, active: Tensor) -> Tensor:
            return APGD_LOSSES[loss](logits, labels[rows][active])

        seeds = randomness.derive(keys[rows], numbers)
        return _from_random_start(model, images[rows], labels[rows], seeds, climb, epsilon, steps, rho, norm)

    best = cascade(Ascent.nothing(images), restarts, attempt)
    return Proposal(best.images, best.iterations)


register_linf_and_l2(
    "apgd_dlr",
    aim="budget",
    version=1,
    source=f"{ALGORITHM}, section 4; difference of logits ratio",
    preset={"loss": "dlr"},
    check=check_rho,
)(apgd)


@register_linf_and_l2("apgd_t", aim="budget", version=1, source=f"{ALGORITHM}, section 4; targeted ratio", check=check_rho)
def apgd_t(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    restarts: int = 1,
    target_classes: int = 9,
    rho: float = 0.75,
    norm: BallNorm = "linf",
) -> Proposal:
    """`restarts` adaptive ascents of the targeted DLR for each of the `target_classes` wrong classes that are most likely on
    the clean image, in that order; survivors only. Any wrong answer is a success.

    Below four classes the loss is Z_t − Z_y. Costs a pass forward and back a step, and a forward pass for the order. Raises
    ValueError when ρ is not in (0, 1].
    """
    check_rho(rho)
    targets = wrong_classes(logits_of(model, images), labels)[:, :target_classes]

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        aims = targets[rows, numbers % targets.shape[1]]

        def climb(logits: Tensor, active: Tensor) -> Tensor:
            return targeted_dlr(logits, labels[rows][active], aims[active])

        seeds = randomness.derive(keys[rows], numbers)
        return _from_random_start(model, images[rows], labels[rows], seeds, climb, epsilon, steps, rho, norm)

    best = cascade(Ascent.nothing(images), restarts * targets.shape[1], attempt)
    return Proposal(best.images, best.iterations)


def _from_random_start(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    climb: Climb,
    epsilon: float,
    steps: int,
    rho: float,
    norm: BallNorm,
) -> Ascent:
    _, score = climb_and_score("margin", labels, None)
    starts = uniform_start(images, keys, epsilon, norm)
    return ascend_adaptively(model, images, starts, climb, score, epsilon=epsilon, steps=steps, rho=rho, norm=norm)


@dataclass(frozen=True)
class Path:
    """Where each active example is on its way: its last two points with the loss and gradient of the last, the best point by
    the loss, the step size; and, since the last checkpoint, how often the loss rose, its best then, and whether the step was
    halved there."""

    current: Tensor
    previous: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    step: Tensor
    rises: Tensor
    best_then: Tensor
    halved: Tensor

    @staticmethod
    def begin(starts: Tensor, gradient: Tensor, value: Tensor, step: float) -> Path:
        """At the starts (n, …), with nothing behind."""
        none = torch.zeros_like(value)
        steps = torch.full_like(value, step)
        return Path(starts, starts, gradient, value, starts, gradient, value, steps, none, value, none.bool())

    def select(self, going: Tensor) -> Path:
        """The examples where `going` (n,) is true."""
        return Path(*(getattr(self, field.name)[going] for field in fields(self)))

    def arrived(self, current: Tensor, gradient: Tensor, value: Tensor) -> Path:
        """One point further."""
        better = value > self.best_value
        wide = per_example(better, current)
        return Path(
            current,
            self.current,
            gradient,
            value,
            torch.where(wide, current, self.best),
            torch.where(wide, gradient, self.best_gradient),
            torch.where(better, value, self.best_value),
            self.step,
            self.rises + (value > self.value),
            self.best_then,
            self.halved,
        )

    def checked(self, interval: int, rho: float) -> Path:
        """At a checkpoint `interval` steps after the last: where the loss rose too seldom, or neither it nor the step has
        changed for the better, the step is halved and the best point is gone back to."""
        stuck = ~self.halved & (self.best_then == self.best_value)
        halve = (self.rises < rho * interval) | stuck
        wide = per_example(halve, self.current)
        return Path(
            torch.where(wide, self.best, self.current),
            self.previous,
            torch.where(wide, self.best_gradient, self.gradient),
            torch.where(halve, self.best_value, self.value),
            self.best,
            self.best_gradient,
            self.best_value,
            torch.where(halve, self.step / 2, self.step),
            torch.zeros_like(self.rises),
            self.best_value,
            halve,
        )


def ascend_adaptively(
    model: Model,
    origins: Tensor,
    starts: Tensor,
    climb: Climb,
    score: Score,
    *,
    epsilon: float,
    steps: int,
    rho: float,
    norm: BallNorm,
) -> Ascent:
    """From `starts`, up to `steps` moves up `climb` inside the ball of `epsilon` around `origins` and the box. Examples leave
    when `score` says they are done; the best by `score` is kept. Croce & Hein 2020a, algorithm 1."""
    best = Ascent.nothing(starts)
    rows = torch.arange(len(starts), device=starts.device)
    current, path = starts, None
    marks = checkpoints(steps)
    for number in range(steps + 1):
        if number == steps:
            logits = logits_of(model, current)
        else:
            logits, value, gradient = logits_and_gradient(model, current, lambda z: climb(z, rows))  # noqa: B023
        wanted, done = score(logits, rows)
        best.keep(rows, current, wanted, done)
        going = ~done
        if number == steps or not bool(going.any()):
            break
        path = (
            Path.begin(current, gradient, value, FIRST_STEP * epsilon) if path is None else path.arrived(current, gradient, value)
        )
        if bool(done.any()):
            rows, path = rows[going], path.select(going)
        if number in marks:
            path = path.checked(number - max((mark for mark in marks if mark < number), default=0), rho)
        current = _next(path, origins[rows], epsilon, norm, first=number == 0)
        best.iterations[rows] += 1
    return best


def _next(path: Path, origins: Tensor, epsilon: float, norm: BallNorm, *, first: bool) -> Tensor:
    """A step up the gradient, then three quarters of it joined with a quarter of the last one."""
    step = per_example(path.step, origins)
    ahead = into_ball(path.current + step * steepest(path.gradient, norm), origins, epsilon, norm)
    if first:
        return ahead
    mixed = path.current + MOMENTUM * (ahead - path.current) + (1 - MOMENTUM) * (path.current - path.previous)
    return into_ball(mixed, origins, epsilon, norm)


def checkpoints(steps: int) -> list[int]:
    """The steps after which progress is looked at: ⌈p_j · steps⌉ with p₁ = 0.22, then ever sooner, at least 0.06 apart.

    Croce & Hein 2020a, section 3.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: sums of hundredths that stand for a whole number must not be taken to the next.
    return sorted({math.ceil(round(share * steps, 6)) for share in shares[1:] if share <= 1})
