"""Losses and projections: closed forms, invariances, and where a projected point must lie."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.adam import Moments, descent_step
from robustboard.attacks.attack import logits_and_gradient
from robustboard.attacks.losses import (
    ROUNDING,
    ascent_loss,
    confidence,
    cross_entropy,
    is_decisive,
    log_odds,
    margin,
    success_margin,
)

LOGITS = torch.tensor([[3.0, 1.0, -2.0], [0.0, 0.0, 0.0], [-5.0, -1.0, -1.5]])
LABELS = torch.tensor([0, 1, 0])

quick = settings(max_examples=60, derandomize=True, deadline=None)
numbers = st.floats(-50, 50, width=32)


@st.composite
def logits_and_labels(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows, classes = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    logits = torch.tensor(draw(st.lists(numbers, min_size=rows * classes, max_size=rows * classes))).reshape(rows, classes)
    return logits, torch.tensor(draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))


def test_margin_is_the_best_other_logit_minus_the_labels() -> None:
    assert margin(LOGITS, LABELS).tolist() == [-2.0, 0.0, 4.0]
    assert margin(LOGITS, torch.tensor([2, 0, 1])).tolist() == [5.0, 0.0, -0.5]


@quick
@given(problem=logits_and_labels())
def test_margin_is_negative_exactly_where_the_label_is_strictly_first(problem: tuple[Tensor, Tensor]) -> None:
    logits, labels = problem
    for row, (values, label) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
        others = [value for number, value in enumerate(values) if number != label]
        assert (float(margin(logits, labels)[row]) < 0) == (values[label] > max(others))


@quick
@given(problem=logits_and_labels(), shift=st.sampled_from([-100.0, -1.0, 7.0, 100.0]))
def test_losses_do_not_see_a_constant_added_to_all_logits(problem: tuple[Tensor, Tensor], shift: float) -> None:
    logits, labels = problem
    for loss in (margin, log_odds, cross_entropy):
        assert torch.allclose(loss(logits + shift, labels), loss(logits, labels), atol=1e-4)
    assert torch.allclose(margin(logits.log_softmax(1), labels), margin(logits, labels), atol=1e-4)


@quick
@given(problem=logits_and_labels())
def test_margin_brackets_cross_entropy(problem: tuple[Tensor, Tensor]) -> None:
    # log(1 + eᵐ) ≤ CE ≤ log(1 + (K − 1) eᵐ) with m the margin: the two losses agree on who is nearer to being fooled.
    logits, labels = problem
    lead, entropy = margin(logits.double(), labels), cross_entropy(logits.double(), labels)
    others = torch.tensor(float(logits.shape[1] - 1)).log()
    assert bool((entropy >= torch.nn.functional.softplus(lead) - 1e-6).all())
    assert bool((entropy <= torch.nn.functional.softplus(lead + others) + 1e-6).all())


@quick
@given(problem=logits_and_labels())
def test_cross_entropy_climbs_where_the_log_odds_climb(problem: tuple[Tensor, Tensor]) -> None:
    # CE = log (1 + exp L), so that its gradient is (1 − p_y) times that of the log-odds L: fgsm_ce may climb either.
    logits, labels = problem[0].double().requires_grad_(True), problem[1]
    odds, entropy = log_odds(logits, labels), cross_entropy(logits, labels)
    assert torch.allclose(entropy, torch.nn.functional.softplus(odds), atol=1e-9)
    (by_odds,), (by_entropy,) = (torch.autograd.grad(loss.sum(), logits) for loss in (odds, entropy))
    assert torch.allclose(by_entropy, by_odds * odds.sigmoid().detach()[:, None], atol=1e-9)


def test_the_margin_has_a_gradient_where_cross_entropy_has_none() -> None:
    logits = torch.tensor([[200.0, 0.0, 10.0]])
    for loss, expected in ((margin, [[-1.0, 0.0, 1.0]]), (cross_entropy, [[0.0, 0.0, 0.0]])):
        variable = logits.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(variable, torch.tensor([0])).sum(), variable)
        assert gradient.tolist() == expected


def test_ascent_climbs_away_from_labels_or_towards_targets() -> None:
    targets = torch.tensor([2, 0, 1])
    assert torch.equal(ascent_loss("margin", LOGITS, LABELS, None), margin(LOGITS, LABELS))
    assert torch.equal(ascent_loss("margin", LOGITS, LABELS, targets), -margin(LOGITS, targets))
    assert torch.equal(ascent_loss("cross_entropy", LOGITS, LABELS, targets), -cross_entropy(LOGITS, targets))
    assert torch.equal(success_margin(LOGITS, LABELS, None), margin(LOGITS, LABELS))
    assert success_margin(LOGITS, LABELS, targets).tolist() == [-5.0, 0.0, 0.5]


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4])
def test_a_success_within_rounding_is_not_decisive(size: float) -> None:
    leads = torch.tensor([2.0, 0.5, 0.0, -0.5, -2.0]) * ROUNDING * size
    logits = torch.tensor([[size, 0.0]]).expand(5, 2)
    assert is_decisive(logits, leads).tolist() == [True, False, False, False, False]
    assert not bool(is_decisive(torch.zeros(1, 2), torch.zeros(1))), "a tie of zeros is not decisive either"


def test_rounding_covers_what_the_batch_size_does_to_a_float32_logit() -> None:
    # The reason for ROUNDING: the same row through matrices of other heights must not differ by more.
    generator = torch.Generator().manual_seed(0)
    weight, images = torch.randn(10, 784, generator=generator), torch.rand(64, 784, generator=generator)
    together = images @ weight.T
    apart = torch.cat([image[None] @ weight.T for image in images])
    difference = (margin(together, torch.zeros(64, dtype=torch.int64)) - margin(apart, torch.zeros(64, dtype=torch.int64))).abs()
    assert bool((difference <= ROUNDING * together.abs().amax(1)).all())


@pytest.mark.parametrize(("head", "expected"), [("softmax", 0.5), ("sigmoid", 0.7310586)])
def test_confidence_is_the_heads_largest_probability(head: Literal["softmax", "sigmoid"], expected: float) -> None:
    assert float(confidence(torch.tensor([[1.0, 1.0]]), head)) == pytest.approx(expected, abs=1e-6)
    shifted = confidence(torch.tensor([[-99.0, -99.0]]), head)
    assert float(shifted) == pytest.approx(0.5 if head == "softmax" else 0.0, abs=1e-6), "only a sigmoid sees the shift"


def test_the_gradient_of_a_batch_is_each_examples_own() -> None:
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def model(x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).square().sum(1), x.flatten(1).sum(1)], 1)

    logits, values, gradient = logits_and_gradient(model, images, lambda z: z[:, 0])
    assert torch.allclose(gradient, 2 * images)
    assert torch.equal(values, logits[:, 0])
    assert not logits.requires_grad
    assert not images.requires_grad


def test_adam_moves_by_the_rate_at_first_and_not_at_all_without_a_gradient() -> None:
    # Kingma & Ba 2015, section 2.1: the first step has the length α whatever the gradient's scale.
    gradient = torch.tensor([[1e-3, -5.0, 0.0]])
    change, moments = descent_step(gradient, Moments.zero(gradient), 0.1)
    assert torch.allclose(change, torch.tensor([[-0.1, 0.1, 0.0]]), atol=1e-5)
    assert moments.count == 1


def test_adam_agrees_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([parameter], lr=0.05)
    variable, moments = start.clone(), Moments.zero(start)
    for _ in range(20):
        gradient = torch.randn(4, 3, generator=generator)
        parameter.grad = gradient.clone()
        optimizer.step()
        change, moments = descent_step(gradient, moments, 0.05)
        variable = variable + change
    assert torch.allclose(variable, parameter.detach(), atol=1e-5)
    kept = moments.select(torch.tensor([True, False, True, False]))
    assert torch.equal(kept.first, moments.first[[0, 2]])
    assert kept.count == 20


@st.composite
def points_and_origins(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    seed, scale = draw(st.integers(0, 10_000)), draw(st.sampled_from([1e-3, 0.3, 5.0]))
    generator = torch.Generator().manual_seed(seed)
    origins = torch.rand(3, 2, 3, 3, generator=generator)
    if draw(st.booleans()):
        origins = origins.round()
    points = origins + scale * torch.randn(3, 2, 3, 3, generator=generator)
    return points, origins, draw(st.sampled_from([0.0, 1e-3, 8 / 255, 0.3, 2.0, 10.0]))


BALLS: Any = [("linf", projections.linf), ("l2", projections.l2)]


@pytest.mark.parametrize(("norm", "project"), BALLS, ids=["linf", "l2"])
@quick
@given(problem=points_and_origins())
def test_projections_lead_into_ball_and_box_and_stay_there(
    norm: str, project: Any, problem: tuple[Tensor, Tensor, float]
) -> None:
    points, origins, epsilon = problem
    projected = project(points, origins, epsilon)
    assert float(projected.min()) >= 0
    assert float(projected.max()) <= 1
    assert float(projections.norms(projected - origins, norm).max()) <= epsilon + 1e-6
    assert torch.allclose(project(projected, origins, epsilon), projected, atol=1e-6)
    assert torch.equal(project(origins, origins, epsilon), origins)


@quick
@given(problem=points_and_origins())
def test_no_corner_or_random_point_of_ball_and_box_is_nearer_than_the_linf_projection(
    problem: tuple[Tensor, Tensor, float],
) -> None:
    points, origins, epsilon = problem
    nearest = projections.norms(points - projections.linf(points, origins, epsilon), "l2")
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        inside = (origins + epsilon * (2 * torch.rand(origins.shape, generator=generator) - 1)).clamp(0, 1)
        assert bool((projections.norms(points - inside, "l2") >= nearest - 1e-5).all())


def test_a_point_inside_is_not_moved_and_one_outside_lands_on_the_l2_sphere() -> None:
    origins = torch.full((2, 1, 2, 2), 0.5)
    change = torch.zeros_like(origins)
    change[0, 0, 0, 0], change[1, 0, 0, 0] = 0.05, 0.4
    projected = projections.l2(origins + change, origins, 0.1)
    assert torch.equal(projected[0], (origins + change)[0])
    assert float((projected - origins)[1, 0, 0, 0]) == pytest.approx(0.1, abs=1e-6)


def test_norms_of_a_known_change() -> None:
    change = torch.tensor([[[[3.0, 0.0], [0.0, -4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert projections.norms(change, "linf").tolist() == [4.0, 0.0]
    assert projections.norms(change, "l2").tolist() == [5.0, 0.0]
    assert projections.norms(change, "l0").tolist() == [2.0, 0.0]
    assert projections.norms(torch.ones(1, 3, 2, 2), "l0").tolist() == [12.0], "every channel of a pixel counts"
    with pytest.raises(ValueError, match="l1"):
        projections.norms(change, "l1")


def test_the_order_of_the_norms() -> None:
    change = torch.randn(50, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    largest, euclidean = projections.norms(change, "linf"), projections.norms(change, "l2")
    assert bool((largest <= euclidean).all())
    assert bool((euclidean <= largest * 48**0.5 + 1e-5).all())
