"""What is asked of an attack on each canary. A check takes an implementation and says whether it did that, and how well.

An exception of the attack, or a candidate that breaks a rule, fails every check, except on the canaries whose models cannot
be attacked: there it is what is asked, because a clean image handed back instead would be scored as robust.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import Norm
from robustboard.attacks.projections import norms
from robustboard.benchmark.canaries import models
from robustboard.benchmark.canaries.contender import Contender
from robustboard.benchmark.canaries.models import (
    Around,
    FiniteAt,
    Noisy,
    Raising,
    SureNearItsData,
    binarised,
    quantised,
    two_layers,
)
from robustboard.benchmark.canaries.problems import (
    MANY_BAR,
    Problem,
    binary_problem,
    cliff_problem,
    far_problem,
    linear_problem,
)
from robustboard.benchmark.evaluate import ExampleRecord
from robustboard.benchmark.statistics import optimality

OPTIMALITY_BAR = 0.9
"""The share of the optimum that a minimum-norm attack has to reach."""


@dataclass(frozen=True)
class Outcome:
    """Whether an implementation did what was asked, the number behind it if there is one, and what was wrong."""

    passed: bool
    value: float | None = None
    reason: str = ""


Check = Callable[[Contender], Outcome | None]
"""None: the canary asks nothing of such an attack."""


def reaches_the_optimum(problem: Problem) -> Check:
    """Minimum-norm attacks by their optimality, all others by the share of the examples that must fall."""

    def check(contender: Contender) -> Outcome | None:
        norm = contender.card.norm
        records = contender.records(problem.network, problem.images, problem.labels, problem.budget(norm))
        if contender.card.aim == "minimum" and norm != "l0":
            found = torch.tensor([torch.inf if record.distance is None else record.distance for record in records])
            return _graded(records, optimality(found.double().numpy(), problem.distances(norm).double().numpy()), OPTIMALITY_BAR)
        must = problem.must_fall(norm).tolist()
        return _share_of(records, must, problem.bar)

    return check


def needs_no_gradient(problem: Problem) -> Check:
    """A gradient that is 0 everywhere: attacks that need none must win, with differences of at least a step; the others must
    come back without a failure."""

    def check(contender: Contender) -> Outcome | None:
        contender = contender.told(delta=1 / 16)
        norm = contender.card.norm
        records = contender.records(problem.network, problem.images, problem.labels, problem.budget(norm))
        if contender.card.needs_gradient:
            return _without_failure(records)
        return _share_of(records, problem.must_fall(norm).tolist(), problem.bar)

    return check


def survives(problem: Problem) -> Check:
    """No failure, whatever else the answer is."""

    def check(contender: Contender) -> Outcome | None:
        budget = problem.budget(contender.card.norm)
        return _without_failure(contender.records(problem.network, problem.images, problem.labels, budget))

    return check


def says_that_it_failed(problem: Problem, view: Callable[[nn.Module], nn.Module]) -> Check:
    """Where the model cannot be attacked every example must be an attack failure: none may pass for robust."""

    def check(contender: Contender) -> Outcome | None:
        budget = problem.budget(contender.card.norm)
        records = contender.records(problem.network, problem.images, problem.labels, budget, view)
        silent = sum(not record.failure and not record.fooled for record in records)
        return Outcome(not silent, reason=f"{silent} of {len(records)} examples would be scored as robust" if silent else "")

    return check


def raising(contender: Contender) -> Outcome | None:
    """A model that raises: every example is a failure, and the model's modes and the random states are as they were."""
    problem = linear_problem(2, 0.35, 0.65)
    silent = says_that_it_failed(problem, Raising)(contender)
    if silent is not None and not silent.passed:
        return silent
    network = Raising(two_layers(problem.images)).train()
    network.network.eval()
    return _nothing_left(contender.leftovers(network, problem.images, problem.labels, problem.budget(contender.card.norm)))


def side_effects(contender: Contender) -> Outcome | None:
    """A network in training mode with one layer that is not: modes, gradients and random states are as they were."""
    problem = linear_problem(4, 0.35, 0.65)
    network = two_layers(problem.images).train()
    network[1].eval()
    return _nothing_left(contender.leftovers(network, problem.images, problem.labels, problem.budget(contender.card.norm)))


def batch_dependent(contender: Contender) -> Outcome | None:
    """A network in evaluation mode whose BatchNorm layer was left in training mode: it is not the attack's to change."""
    problem = linear_problem(4, 0.35, 0.65)
    network = two_layers(problem.images, norm=True)
    network[2].train()
    left = contender.leftovers(network, problem.images, problem.labels, problem.budget(contender.card.norm))
    return _nothing_left([what for what in left if what == "modes" or "exception" in what])


def constant(contender: Contender) -> Outcome | None:
    """A constant model: nothing to find, and a minimum-norm attack that found nothing hands back the image."""
    images = linear_problem(2, 0.35, 0.65).images
    labels = torch.zeros(len(images), dtype=torch.int64)
    budget = {"linf": 0.1, "l2": 1.0, "l0": 12.0}[contender.card.norm]
    candidates, verdict = contender.candidates(models.constant(images), images, labels, budget)
    broken = next((failure for failure in verdict.failures if failure), "")
    if broken or bool(verdict.adversarial.any()):
        return Outcome(False, reason=broken or "a success on a constant model")
    moved = float((candidates - images).abs().max())
    if contender.card.aim == "minimum" and moved > 1e-6:
        return Outcome(False, reason=f"where nothing was found the image came back changed by {moved:.3g}")
    return Outcome(True)


def sure_near_its_data(contender: Contender) -> Outcome | None:
    """Of an attack that looks for confidence: the confident errors of a model that is unsure wherever a random start leads."""
    if contender.card.aim != "confidence":
        return None
    images, labels = torch.full((8, 1, 6, 6), 0.5), torch.zeros(8, dtype=torch.int64)
    _, verdict = contender.candidates(SureNearItsData(), images, labels, 0.2)
    broken = next((failure for failure in verdict.failures if failure), "")
    share = float((verdict.adversarial & (verdict.confidence > 0.5)).float().mean())
    passed = not broken and share == 1
    return Outcome(passed, share, "" if passed else broken or f"{share:.0%} of the confident errors beside the images found")


def always_wrong(contender: Contender) -> Outcome | None:
    """A batch that the model gets wrong from the start: no crash, no broken rule."""
    problem = linear_problem(4, 0.35, 0.65)
    wrong = (problem.labels + 1) % 4
    _, verdict = contender.candidates(problem.network, problem.images, wrong, problem.budget(contender.card.norm))
    broken = next((failure for failure in verdict.failures if failure), "")
    return Outcome(not broken, reason=broken)


def one_example(contender: Contender) -> Outcome | None:
    """A batch of one, the example nearest to its boundary."""
    problem = linear_problem(2, 0.35, 0.65)
    norm = contender.card.norm
    nearest = slice(int(problem.distances(norm).argmin()), int(problem.distances(norm).argmin()) + 1)
    records = contender.records(problem.network, problem.images[nearest], problem.labels[nearest], problem.budget(norm))
    return _share_of(records, [True], 1.0)


def batch_mates(contender: Contender) -> Outcome | None:
    """The same example alone and among others, on a plain network and where the others stand on a cliff: the same verdict,
    and the same candidate to 1e-3 in L2."""
    problem = linear_problem(4, 0.3, 0.7)
    network = two_layers(problem.images)
    with torch.no_grad():
        labels = network(problem.images[:8]).argmax(1)
    agreeing = _agreeing(contender, network, problem.images[:8], labels) + _agreeing(contender, *cliff_problem())
    return Outcome(
        agreeing == 8, agreeing / 8, "" if agreeing == 8 else f"{8 - agreeing} of 8 examples differ when they are alone"
    )


def _agreeing(contender: Contender, network: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many of the first four examples have the same verdict and candidate alone as among all."""
    budget = {"linf": 0.1, "l2": 1.0, "l0": 12.0}[contender.card.norm]
    together, verdict = contender.candidates(network, images, labels, budget)
    verdicts = verdict.adversarial
    agreeing = 0
    for at in range(4):
        alone, verdict = contender.candidates(network, images[at : at + 1], labels[at : at + 1], budget, first=at)
        apart = float(norms(alone - together[at : at + 1], "l2"))
        agreeing += bool(verdict.adversarial[0]) == bool(verdicts[at]) and apart < 1e-3
    return agreeing


def _graded(records: list[ExampleRecord], value: float, bar: float) -> Outcome:
    failed = _without_failure(records)
    if not failed.passed:
        return replace(failed, value=value)
    return Outcome(value >= bar, value, "" if value >= bar else f"{value:.2f} of the optimum, {bar:g} is asked")


def _share_of(records: list[ExampleRecord], must: list[bool], bar: float) -> Outcome | None:
    """The share of those that `must` fall and did; nothing is asked where there are none."""
    fallen = [record.fooled for record, asked in zip(records, must, strict=True) if asked]
    if not fallen:
        return None
    failed, value = _without_failure(records), sum(fallen) / len(fallen)
    if not failed.passed:
        return replace(failed, value=value)
    reason = "" if value >= bar else f"{sum(fallen)} of the {len(fallen)} examples that are known to be in reach were found"
    return Outcome(value >= bar, value, reason)


def _without_failure(records: list[ExampleRecord]) -> Outcome:
    failure = next((record.failure for record in records if record.failure), "")
    return Outcome(not failure, reason=failure)


def _nothing_left(left: list[str]) -> Outcome:
    return Outcome(not left, reason=f"changed or left behind: {', '.join(left)}" if left else "")


def noisy_problem() -> Problem:
    """Two classes with noise of a hundredth of the typical lead."""
    problem = linear_problem(2, 0.35, 0.65)
    return replace(problem, network=Noisy(problem.linear, 0.02))


def quantised_problem() -> Problem:
    """Two classes seen in steps of 1/16; ε is a little more than three of them."""
    problem = far_problem(0.1, 0.2)
    return replace(problem, network=Around(problem.linear, before=quantised), epsilon=0.2, bar=MANY_BAR)


def finite_only(problem: Problem) -> Problem:
    """NaN everywhere but at the images themselves."""
    return replace(problem, network=FiniteAt(problem.linear, problem.images))


class Binary(Problem):
    """Features just beside ½, of which the network sees only the side."""

    def budget(self, norm: Norm) -> float:
        """In L2 what lets every feature change by the ε of L∞: the linear model's distances mean nothing here."""
        return 0.1 * math.sqrt(self.images[0].numel()) if norm == "l2" else super().budget(norm)

    def must_fall(self, norm: str) -> Tensor:
        """Every example: turning all the features that count changes the class."""
        return torch.ones(len(self.labels), dtype=torch.bool)


def binarised_problem() -> Problem:
    """Ten classes that see which side of ½ each feature is on; all features are within 0.05 of it, ε is 0.1."""
    problem = binary_problem()
    images = 0.45 + 0.1 * problem.images
    return Binary(Around(problem.linear, before=binarised), problem.linear, images, problem.labels, epsilon=0.1, bar=MANY_BAR)
