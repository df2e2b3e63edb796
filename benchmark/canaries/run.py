"""All canaries by name, and the run that grades implementations on them."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import torch

from robustboard.attacks.attack import AttackCard
from robustboard.attacks.libraries.library import all_cards, missing_distribution
from robustboard.benchmark.canaries import checks, promises
from robustboard.benchmark.canaries.checks import Check, Outcome, reaches_the_optimum
from robustboard.benchmark.canaries.contender import contender
from robustboard.benchmark.canaries.grades import Grade, card_version
from robustboard.benchmark.canaries.models import Around
from robustboard.benchmark.canaries.problems import MANY_BAR, Problem, binary_problem, far_problem, linear_problem
from robustboard.benchmark.errors import InputError, first_line, suggest
from robustboard.benchmark.judge import is_out_of_memory


@dataclass(frozen=True)
class Canary:
    """A model with known answers and what is asked on it, in one sentence."""

    name: str
    asks: str
    check: Check


@cache
def canaries() -> Mapping[str, Canary]:
    """Every canary by name, in the order of the table."""
    two, ten = linear_problem(2, 0.35, 0.65), linear_problem(10, 0.35, 0.65, bar=MANY_BAR)
    known: list[tuple[str, str, Check]] = [
        ("linear", "two classes, no feature near 0 or 1", reaches_the_optimum(two)),
        ("box", "two classes, half of the features at 0 or 1", reaches_the_optimum(linear_problem(2, -0.5, 1.5))),
        ("wide", "two classes 0.2 apart in L∞, ε = 0.3", reaches_the_optimum(far_problem(0.2, 0.3))),
        (
            "five classes",
            "what is built for ten must not be used",
            reaches_the_optimum(linear_problem(5, 0.35, 0.65, bar=MANY_BAR)),
        ),
        ("ten classes", "the nearest class is to be found", reaches_the_optimum(ten)),
        ("shift +100", "100 added to every logit of ten classes", reaches_the_optimum(_after(ten, lambda z: z + 100))),
        ("shift −100", "100 taken from every logit of ten classes", reaches_the_optimum(_after(ten, lambda z: z - 100))),
        ("scale 100", "the logits of two classes times 100", reaches_the_optimum(_after(two, lambda z: 100 * z))),
        ("log-softmax", "log-probabilities of ten classes", reaches_the_optimum(_after(ten, lambda z: z.log_softmax(1)))),
        ("saturated", "ten classes, every feature 0 or 1", reaches_the_optimum(binary_problem())),
        ("constant", "no success, no crash; a minimum-norm attack hands back the image", checks.constant),
        ("nan", "NaN off the images: a failure, never robustness", checks.says_that_it_failed(checks.finite_only(two), _same)),
        ("raises", "a failure, never robustness; modes and random states as they were", checks.raising),
        ("quantised", "input in steps of 1/16: gradient-free attacks win", checks.needs_no_gradient(checks.quantised_problem())),
        ("binarised", "input of 0 or 1: gradient-free attacks win", checks.needs_no_gradient(checks.binarised_problem())),
        ("randomised", "noise on the logits: no failure", checks.survives(checks.noisy_problem())),
        ("batch-dependent", "BatchNorm in training mode stays so", checks.batch_dependent),
        ("sure near", "a model that is sure only near its images: the confident errors there", checks.sure_near_its_data),
        ("always wrong", "a batch of clean errors: no failure", checks.always_wrong),
        ("one example", "a batch of one", checks.one_example),
        ("batch-mates", "the same alone and in a batch, also where the others' losses are a thousandfold", checks.batch_mates),
        ("side effects", "modes, .grad and random states as they were", checks.side_effects),
        ("targets", "the named class is reached", promises.targets),
        ("kappa", "every success leads by κ", promises.kappa),
        ("negative theta", "features are chosen when they are lowered, too", promises.negative_theta),
        ("row cap", "it holds for the batch and not for each image", promises.row_cap),
        ("outside the box", "normalised images are refused, and not by an assert", promises.outside_the_box),
    ]
    return {name: Canary(name, asks, check) for name, asks, check in known}


def chosen_cards(names: Sequence[str]) -> tuple[list[AttackCard], list[str]]:
    """The cards of `names`, or all whose library is installed, and one sentence on each library that is not. Raises
    `InputError` for a name that does not exist or whose library is missing."""
    cards = all_cards()
    for name in names:
        if name not in cards:
            raise InputError(f"there is no attack {name!r}{suggest(name, cards)}; see: robustboard attacks")
    missing = {card.name: missing_distribution(card) for card in cards.values()}
    asked = next((name for name in names if missing[name]), None)
    if asked:
        raise InputError(f"the attack {asked!r} needs the package {missing[asked]}, which is not installed: make libraries")
    absent = sorted({package for package in missing.values() if package})
    notes = [] if names else [f"not graded, because it is not installed: {package} (make libraries)" for package in absent]
    wanted = list(dict.fromkeys(names)) or [name for name in cards if not missing[name]]
    return [cards[name] for name in wanted], notes


def grade(card: AttackCard, names: Sequence[str] = ()) -> Iterator[Grade]:
    """The attack's grades on the canaries `names`, or on all; a canary that asks nothing of it gives none."""
    known = canaries()
    for name in names or known:
        outcome = _outcome(known[name].check, card)
        if outcome is not None:
            value = None if outcome.value is None else round(outcome.value, 4)
            yield Grade(card.name, card_version(card), name, "pass" if outcome.passed else "fail", value, outcome.reason)


def grade_all(cards: Sequence[AttackCard], workers: int) -> Iterator[list[Grade]]:
    """The grades of each card in order, computed by `workers` processes of one thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(_grades_of, [card.name for card in cards])


def _grades_of(name: str) -> list[Grade]:
    return list(grade(all_cards()[name]))


def _outcome(check: Check, card: AttackCard) -> Outcome | None:
    """One check, repeatable and without a trace in torch's random state; what the attack raises is a failure."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True):
        torch.manual_seed(0)
        try:
            return check(contender(card))
        except Exception as trouble:
            if is_out_of_memory(trouble):
                raise
            return Outcome(False, reason=f"the attack raised {type(trouble).__name__}: {first_line(trouble)}")


def _after(problem: Problem, change: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    return replace(problem, network=Around(problem.linear, after=change))


def _same(network: torch.nn.Module) -> torch.nn.Module:
    return network
