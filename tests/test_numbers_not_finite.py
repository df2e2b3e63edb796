"""NaN, infinity and numbers at the edge of rounding: none of them may pass for robustness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import robustboard
from conftest import linear_problem
from evaluation_tasks import Answers, proposes, records, task_for
from robustboard.attacks.attack import attack_cards
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.judge import Threat


class NotANumberBeyond(nn.Module):
    """Right on the clean images, NaN wherever a pixel is above 0.85."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return torch.where((images.flatten(1).amax(1) > 0.85)[:, None], torch.nan, logits)


def test_nan_logits_on_a_candidate_are_a_failure_not_a_success() -> None:
    inner, images, labels = linear_problem()
    model = NotANumberBeyond(inner)
    found = records(
        task_for(model, images, labels, proposes(lambda x, y: (x + 0.09).clamp(0.86, 1)), Threat("linf", 1.0, "budget"))
    )
    assert all("not finite" in example.failure for example in found)
    assert not any(example.fooled for example in found)


class NotANumberOffTheImages(nn.Module):
    """Right on the images it knows, NaN on every other: no attack gets anywhere, and none may call that robust."""

    def __init__(self, inner: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.inner, self.known = inner, images

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        known = (images[:, None] == self.known).flatten(2).all(2).any(1)
        return torch.where(known[:, None], logits, torch.nan)


class RootOfPixels(nn.Module):
    """The inner model up to rounding, with a gradient that is NaN at every black pixel."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.sqrt().square())  # type: ignore[no-any-return]


GRADIENT_ATTACKS = [name for name, card in attack_cards().items() if card.needs_gradient]


@pytest.mark.parametrize("name", list(attack_cards()))
def test_nan_answers_on_the_way_fail_the_attack(name: str) -> None:
    data = load_dataset("digits", "test").select(range(6))
    model = NotANumberOffTheImages(robustboard.load_model("digits/relu"), data.images)
    result = robustboard.evaluate(model, data.images, data.labels, [name], protocol="smoke", device="cpu")[name]
    assert result.outcome.n_attack_failures == 6
    assert result.outcome.upper_bound_only


@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_nan_gradients_fail_the_attack(name: str) -> None:
    data = load_dataset("digits", "test").select(range(6))
    model = RootOfPixels(robustboard.load_model("digits/relu"))
    result = robustboard.evaluate(model, data.images, data.labels, [name], protocol="smoke", device="cpu")[name]
    # PGD's random start may leave every black pixel before the first gradient is asked for.
    assert result.outcome.upper_bound_only or result.outcome.n_fooled == 6


@pytest.mark.parametrize("name", ["cw", "ddn", "jsma", "bim"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 100.0), (1e-3, 100.0), (1e-4, 100.0)])
def test_small_logits_far_from_zero_hide_no_success(name: str, scale: float, shift: float) -> None:
    data = load_dataset("digits", "test").select(range(12))
    inner = robustboard.load_model("digits/relu")
    plain = robustboard.evaluate(inner, data.images, data.labels, [name], protocol="quick", device="cpu")[name]
    model = Answers(lambda images: inner(images) * scale + shift)
    moved = robustboard.evaluate(model, data.images, data.labels, [name], protocol="quick", device="cpu")[name]
    assert moved.outcome.unfooled <= plain.outcome.unfooled
    assert moved.outcome.robust_accuracy <= plain.outcome.robust_accuracy


def test_a_saturated_sigmoid_hides_no_success_from_jsma() -> None:
    data = load_dataset("digits", "test").select(range(12))
    inner = robustboard.load_model("digits/relu")
    model = Answers(lambda images: torch.sigmoid(20 * inner(images)))
    result = robustboard.evaluate(model, data.images, data.labels, ["jsma"], device="cpu")["jsma"]
    assert result.outcome.unfooled <= 1 / 12
