"""What is asked of the parameters an attack takes, and of what it is handed: targets, κ, θ, the cap on rows, the box."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustboard.attacks.losses import success_margin
from robustboard.benchmark.canaries.checks import Outcome
from robustboard.benchmark.canaries.contender import Contender
from robustboard.benchmark.canaries.models import Around
from robustboard.benchmark.canaries.problems import Problem, linear_problem

KAPPA = 5.0
"""The lead that is asked for: several times the least lead clean, so that a step across the boundary is not enough."""

ROW_CAP = 64
"""Four rows for each of the images; an untargeted attack on ten classes has more than twice as many."""


def targets(contender: Contender) -> Outcome | None:
    """Where an attack takes targets: those are reached that a step along the target's own weights reaches with much less.
    What estimates its gradient gets 50 iterations for it."""
    if not contender.takes("targets"):
        return None
    problem = linear_problem(3, 0.35, 0.65)
    epsilon = {"linf": 0.2, "l2": 2.0, "l0": 24.0}[contender.card.norm]
    aims = (problem.labels + 2) % 3
    kept = _certified(problem, aims, 0.1)
    images, labels, aims = problem.images[kept], problem.labels[kept], aims[kept]
    strong = contender.told(iterations=50) if contender.takes("directions") else contender
    candidates, verdict = strong.candidates(problem.network, images, labels, epsilon, targets=aims)
    broken = next((failure for failure in verdict.failures if failure), "")
    with torch.no_grad():
        share = float((problem.network(candidates).argmax(1) == aims).float().mean())
    passed = not broken and share >= 0.9
    return Outcome(passed, share, "" if passed else broken or f"{share:.0%} of the targets reached")


def kappa(contender: Contender) -> Outcome | None:
    """Where an attack takes κ: every success leads by it, and at least nine of ten examples succeed, as all can."""
    if not contender.takes("kappa"):
        return None
    problem = linear_problem(2, 0.35, 0.65)
    budget = problem.budget(contender.card.norm)
    candidates, verdict = contender.candidates(problem.network, problem.images, problem.labels, budget, kappa=KAPPA)
    with torch.no_grad():
        leads = success_margin(problem.network(candidates), problem.labels, None)
    moved = (candidates != problem.images).flatten(1).any(1)
    share = float((verdict.adversarial & (leads >= 0.999 * KAPPA)).float().mean())
    short = float(leads[verdict.adversarial & moved].min()) if bool((verdict.adversarial & moved).any()) else 0.0
    if share < 0.9:
        return Outcome(False, share, f"{share:.0%} found with the lead of {KAPPA:g} that was asked for")
    passed = short >= 0.999 * KAPPA
    return Outcome(passed, share, "" if passed else f"asked for a lead of {KAPPA:g}, a success leads by {short:.2g}")


def negative_theta(contender: Contender) -> Outcome | None:
    """Where an attack takes θ, below 0: examples fall that lowering half as many features as it may makes fall."""
    if not contender.takes("theta"):
        return None
    problem = linear_problem(2, 0.35, 0.65)
    budget = problem.budget(contender.card.norm)
    must = _falls_by_lowering(problem, int(budget) // 2)
    aimed: dict[str, Any] = {"targets": 1 - problem.labels} if contender.takes("targets") else {}
    theta = -contender.card.parameters()["theta"]
    _, verdict = contender.candidates(problem.network, problem.images, problem.labels, budget, theta=theta, **aimed)
    broken = next((failure for failure in verdict.failures if failure), "")
    share = float(verdict.adversarial[must].float().mean())
    passed = not broken and share == 1
    return Outcome(passed, share, "" if passed else broken or f"{share:.0%} of the examples found that are known to be in reach")


def row_cap(contender: Contender) -> Outcome | None:
    """Where an attack takes a cap on the rows in the model at once: it is for the batch and not for each image."""
    if not contender.takes("row_cap"):
        return None
    problem = linear_problem(10, 0.35, 0.65)
    seen: list[int] = []

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images

    budget = problem.budget(contender.card.norm)
    contender.candidates(Around(problem.linear, counted), problem.images, problem.labels, budget, row_cap=ROW_CAP)
    passed = max(seen) <= ROW_CAP
    return Outcome(passed, reason="" if passed else f"{max(seen)} rows at once where {ROW_CAP} were allowed")


def outside_the_box(contender: Contender) -> Outcome | None:
    """Images that were normalised, with features below 0: refused, and not by an assert, which `python -O` leaves out."""
    problem = linear_problem(10, 0.35, 0.65)
    images = 2 * problem.images - 1
    try:
        contender.candidates(problem.network, images, problem.labels, problem.budget(contender.card.norm))
    except AssertionError:
        return Outcome(False, reason="refused by a bare assert")
    except Exception:
        return Outcome(True)
    return Outcome(False, reason=f"attacked, though features go down to {float(images.min()):.2g}")


def _certified(problem: Problem, aims: Tensor, epsilon: float) -> Tensor:
    """(N,) bool: one step of ε along the sign of the target's weights, whose sum over the classes is 0, reaches it."""
    step = epsilon * problem.linear.weight.detach()[aims].sign().reshape(problem.images.shape)
    with torch.no_grad():
        logits: Tensor = problem.linear((problem.images + step).clamp(0, 1))
    return logits.argmax(1) == aims


def _falls_by_lowering(problem: Problem, features: int) -> Tensor:
    """(N,) bool: setting the best `features` features to 0 turns the lead of one of two classes."""
    weight = problem.linear.weight.detach()
    gains = ((weight[problem.labels] - weight[1 - problem.labels]) * problem.images.flatten(1)).clamp_min(0)
    with torch.no_grad():
        lead = -success_margin(problem.linear(problem.images), problem.labels, None)
    return gains.topk(features, dim=1).values.sum(1) > lead
