"""How many rows attacks put into the model at once: bounded by their cap, fewer as examples are done."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attack_problems import (
    Rows,
    run_quickly,
    two_layer_problem,
)
from conftest import keys
from robustboard.attacks import ascent
from robustboard.attacks.jsma import jsma
from robustboard.attacks.projections import norms
from robustboard.attacks.spsa import estimate_gradient, spsa
from robustboard.benchmark.judge import CountedModel


@pytest.mark.parametrize("cap", [2, 7, 64, 100, 4096])
def test_the_row_cap_bounds_an_estimate_and_does_not_change_it(cap: int) -> None:
    model, images, labels = two_layer_problem()
    reference = estimate_gradient(model, images, labels, None, keys(12), 40, 0.01, 10**9)
    counted = Rows(model)
    estimate = estimate_gradient(counted, images, labels, None, keys(12), 40, 0.01, cap)
    assert max(counted.seen) <= cap
    assert sum(counted.seen) == 12 * 40 * 2
    assert torch.allclose(estimate, reference, rtol=1e-3, atol=1e-3 * float(reference.abs().max()))


@pytest.mark.parametrize("cap", [4, 16, 100])
def test_the_row_cap_bounds_every_forward_pass_of_spsa(cap: int) -> None:
    # 12 images: at a cap of 4 even the look at the current iterates must be split.
    model, images, labels = two_layer_problem()
    counted = Rows(model)
    spsa(counted, images, labels, keys(12), epsilon=0.05, directions=16, iterations=3, row_cap=cap)
    assert max(counted.seen) <= cap


@pytest.mark.parametrize("cap", [1, 5, 1000])
def test_the_row_cap_bounds_every_forward_pass_of_jsma(cap: int) -> None:
    model, images, labels = two_layer_problem()
    counted = Rows(model)
    proposal = jsma(counted, images, labels, keys(12), epsilon=6, row_cap=cap)
    assert max(counted.seen) <= cap
    assert torch.equal(proposal.images, jsma(model, images, labels, keys(12), epsilon=6).images)


@pytest.mark.parametrize("name", ["bim", "pgd", "spsa", "jsma"])
def test_examples_that_are_done_leave_the_batch(name: str) -> None:
    model, images, labels = two_layer_problem()
    wrong = labels.clone()
    wrong[:11] = (labels[:11] + 1) % 4  # eleven are misclassified at once (PGD: at almost any start)
    counted = Rows(model)
    directions = {"directions": 4} if name == "spsa" else {}
    run_quickly(name, counted, images, wrong, epsilon=4 if name == "jsma" else 1e-4, **directions)
    per_step = {"spsa": 8, "jsma": 3}.get(name, 1)  # rows that one example needs at a step
    assert counted.seen[0 if name != "jsma" else 1] >= 12, "all are looked at once; jsma has asked one for the classes before"
    assert len(counted.seen) > 2
    assert max(counted.seen[2:]) <= per_step


@pytest.mark.parametrize("name", ["pgd", "pgd_l2", "pgd_t", "apgd_ce", "apgd_t", "square", "max_confidence"])
def test_attempts_side_by_side_come_to_what_they_do_one_after_the_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, labels = two_layer_problem()
    settings = {} if name == "max_confidence" else {"restarts": 5}
    epsilon = 0.2 if name == "pgd_l2" else 0.05
    together, apart = Rows(CountedModel(model)), Rows(CountedModel(model))
    monkeypatch.setattr(ascent, "FEW", 2 * len(images))
    both = run_quickly(name, together, images, labels, epsilon=epsilon, **settings)
    monkeypatch.setattr(ascent, "QUARTER", 10**9)
    monkeypatch.setattr(ascent, "FEW", 0)
    alone = run_quickly(name, apart, images, labels, epsilon=epsilon, **settings)
    assert torch.equal(both.images, alone.images)
    assert torch.equal(both.iterations, alone.iterations)
    assert len(together.seen) < len(apart.seen), "fewer and larger batches"
    assert max(together.seen) <= 2 * len(images)


def test_an_attempt_that_fails_does_not_cost_the_one_before_it_its_success() -> None:
    origin = torch.full((1, 1, 2, 2), 0.5)

    def attempt(numbers: Tensor, rows: Tensor) -> ascent.Ascent:
        if bool((numbers == 2).any()):
            raise FloatingPointError("the model's outputs are not finite")
        found = numbers == 1
        scores = torch.where(found, 1.0, -1.0)
        return ascent.Ascent(origin[rows] + 0.1 * numbers[:, None, None, None], scores, torch.ones_like(numbers), found)

    best = ascent.cascade(ascent.Ascent.nothing(origin), 4, attempt)
    assert bool(best.done.all())
    assert torch.equal(best.images, origin + 0.1)
    assert best.iterations.tolist() == [2]

    def hopeless(numbers: Tensor, rows: Tensor) -> ascent.Ascent:
        raise FloatingPointError("the model's outputs are not finite")

    with pytest.raises(FloatingPointError):
        ascent.cascade(ascent.Ascent.nothing(origin), 4, hopeless)


@pytest.mark.parametrize("name", ["fmn", "cw"])
def test_patience_ends_the_walks_that_bring_nothing_and_changes_no_walk_before(name: str) -> None:
    model, images, labels = two_layer_problem(count=12)
    prefix = "start_" if name == "cw" else ""
    first = {f"{prefix}norm": 0.5} if name == "cw" else {"initial_norm": 0.5}

    def found(**more: int) -> tuple[Tensor, Tensor, int]:
        counted = Rows(CountedModel(model))
        told = {f"{prefix}{key}": value for key, value in more.items()}
        made = run_quickly(name, counted, images, labels, **first, **told)
        return norms(made.images - images, "l2"), made.iterations, sum(counted.seen)

    all_of_it, steps, passes = found(restarts=12)
    endless, same_steps, same_passes = found(restarts=12, patience=12)
    assert torch.equal(all_of_it, endless)
    assert torch.equal(steps, same_steps)
    assert passes == same_passes
    patient, fewer, spent = found(restarts=12, patience=2)
    assert spent < passes
    assert bool((fewer <= steps).all())
    assert int(fewer.min()) < int(steps.min())
    if name == "fmn":
        one, *_ = found(restarts=1)
        assert bool((patient <= one).all()), "one walk more is never worse"
        assert bool((patient >= all_of_it).all()), "no walk that all of them do not make"
