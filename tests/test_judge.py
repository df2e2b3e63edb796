"""The judge: no attack can lie, break a rule or fail without being seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import robustboard
from conftest import Linear, linear_problem
from evaluation_tasks import EPSILON, proposes, records, task_for, to_edge
from robustboard.attacks.attack import Proposal
from robustboard.benchmark.judge import CountedModel, Threat, look_clean


def test_an_attack_that_claims_success_but_changes_nothing_is_not_believed() -> None:
    model, images, labels = linear_problem()
    found = records(task_for(model, images, labels, proposes(lambda x, y: x)))
    assert not any(example.fooled or example.found or example.failure for example in found)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda x: x + 2 * EPSILON, "over budget"),
        (lambda x: x - 1.0, "outside the box"),
        (lambda x: x * float("nan"), "not finite"),
        (lambda x: x + float("inf"), "not finite"),
        (lambda x: x[:, :, :-1], "returned"),
    ],
)
def test_a_candidate_that_breaks_a_rule_is_a_failure_and_never_a_success(spoil: Callable[[Tensor], Tensor], reason: str) -> None:
    model, images, labels = linear_problem(low=0.0, high=0.7)
    found = records(task_for(model, images, labels, proposes(lambda x, y: spoil(x))))
    assert all(reason in example.failure for example in found)
    assert not any(example.fooled for example in found)


def test_epsilon_is_held_to_a_millionth() -> None:
    model, images, labels = linear_problem(count=40)
    inside = records(task_for(model, images, labels, proposes(lambda x, y: to_edge(x, y, model, EPSILON + 5e-7))))
    outside = records(task_for(model, images, labels, proposes(lambda x, y: to_edge(x, y, model, EPSILON + 3e-6))))
    assert not any(example.failure for example in inside)
    assert any(example.fooled for example in inside)
    assert all("over budget" in example.failure for example in outside)


def test_an_attack_that_raises_on_one_example_fails_on_that_one_alone() -> None:
    model, images, labels = linear_problem(count=16)
    images[5] = 0.5

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        if bool((x == 0.5).flatten(1).all(1).any()):
            raise ArithmeticError("cannot divide this image")
        return Proposal(to_edge(x, y, model, epsilon), torch.ones_like(y))

    with torch.no_grad():
        labels = model(images).argmax(1)
    found = records(task_for(model, images, labels, attack), size=16)
    assert [example.index for example in found if example.failure] == [5]
    assert "ArithmeticError: cannot divide this image" in found[5].failure
    assert not found[5].fooled
    assert any(example.fooled for example in found)


def test_an_attack_cannot_reach_the_judge_through_its_inputs() -> None:
    """Writing into the images it was given must not make the clean image look attacked, nor the label another."""
    model, images, labels = linear_problem()
    before = images.clone()

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        x.zero_()
        y.fill_(0)
        return Proposal(x, torch.zeros(len(x), dtype=torch.int64))

    found = records(task_for(model, images, labels, attack))
    assert torch.equal(images, before)
    assert all("over budget" in example.failure for example in found)


def test_a_failed_attack_marks_the_cell_as_an_upper_bound() -> None:
    """The published mistake: an exception scored as if the model had resisted."""

    class RefusesGradients(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.requires_grad:
                raise RuntimeError("no gradients here")
            return images.flatten(1)[:, :10] * 3

    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = RefusesGradients()
    labels = model(images).argmax(1)
    result = robustboard.evaluate(model, images, labels, ["bim"], device="cpu")["bim"]
    assert result.outcome.upper_bound_only
    assert result.outcome.n_attack_failures == 6
    assert "no gradients here" in next(iter(result.outcome.failure_reasons))


def test_a_clean_error_is_an_error_from_the_start_and_is_not_attacked() -> None:
    model, images, labels = linear_problem(count=10)
    labels[:4] = 1 - labels[:4]
    seen: list[int] = []

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        seen.append(len(x))
        return Proposal(x, torch.zeros_like(y))

    found = records(task_for(model, images, labels, attack))
    assert sum(seen) == 6
    assert [example.correct_clean for example in found] == [False] * 4 + [True] * 6
    assert not any(example.fooled for example in found)


def test_max_confidence_attacks_clean_errors_too() -> None:
    model, images, labels = linear_problem(count=10)
    labels[:4] = 1 - labels[:4]
    found = records(task_for(model, images, labels, proposes(lambda x, y: x), Threat("linf", EPSILON, "confidence")))
    assert [example.fooled for example in found] == [True] * 4 + [False] * 6


def test_a_tie_is_an_error() -> None:
    """Correct means that the label's logit is strictly the largest: a constant model is never right."""
    images = torch.rand(4, 1, 3, 3)
    clean = look_clean(Linear(torch.zeros(5, 9)), images, torch.arange(4), "softmax")
    assert not clean.correct.any()


@pytest.mark.parametrize("made", [None, 3, "images", Proposal(torch.zeros(2, 1, 5, 5), torch.zeros(7, dtype=torch.int64))])
def test_an_attack_that_returns_no_proposal_has_failed(made: object) -> None:
    model, images, labels = linear_problem(count=2)

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        return made  # type: ignore[return-value]

    assert all("TypeError" in example.failure for example in records(task_for(model, images, labels, attack)))


CPU = Path("/proc/cpuinfo")
OBEYED = CPU.exists() and "GenuineIntel" in CPU.read_text()
"""Whether MKL takes the mode that the package sets. On other makers' processors it takes none (`MKL_VERBOSE=1` says `CNR:AUTO`):
what is the same to the bit on one thread is so only up to rounding on several."""


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_an_answer_and_its_gradient_are_the_same_in_batches_of_all_sizes(threads: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 13 * 13, 64), nn.ReLU())
    network.append(nn.Linear(64, 10)).requires_grad_(False)
    images = torch.rand(48, 1, 28, 28)
    counted = CountedModel(network)
    same = torch.equal if OBEYED or threads == 1 else partial(torch.allclose, atol=1e-6)

    def look(batch: Tensor) -> tuple[Tensor, Tensor]:
        variable = batch.clone().requires_grad_(True)
        logits = counted(variable)
        return logits.detach(), torch.autograd.grad(logits.square().sum(), variable)[0]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together, slopes = look(images)
        for size in [*range(1, 20), 31, 47]:
            for start in range(0, 48 - size + 1, 16):
                logits, gradient = look(images[start : start + size])
                assert same(logits, together[start : start + size])
                assert same(gradient, slopes[start : start + size])
    finally:
        torch.set_num_threads(before)
    assert counted.forwards == 48 + sum(len(range(0, 48 - size + 1, 16)) * size for size in [*range(1, 20), 31, 47])
