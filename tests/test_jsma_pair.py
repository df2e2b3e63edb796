"""JSMA's choice of a feature pair equals the search over all pairs."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustboard.attacks.jsma import best_pair


def saliency(alpha: Tensor, beta: Tensor, p: int, q: int, theta: float) -> float | None:
    """−(αₚ + α_q)(βₚ + β_q), Papernot et al. 2016, equations 8 and 9; None where its conditions do not hold."""
    a, b = float(alpha[p] + alpha[q]), float(beta[p] + beta[q])
    holds = (a > 0 and b < 0) if theta > 0 else (a < 0 and b > 0)
    return -a * b if holds else None


def best_saliency(alpha: Tensor, beta: Tensor, allowed: Tensor, theta: float) -> float | None:
    places = allowed.nonzero().flatten().tolist()
    values = [saliency(alpha, beta, p, q, theta) for p, q in itertools.combinations(places, 2)]
    return max((value for value in values if value is not None), default=None)


# Eighths from a short range: sums and products are exact in float32, and ties are frequent.
eighths = st.integers(-12, 12).map(lambda number: number / 8)


@st.composite
def maps(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    rows, features = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    size = rows * features
    numbers = st.lists(eighths, min_size=size, max_size=size)
    alpha, beta = (torch.tensor(draw(numbers)).reshape(rows, features) for _ in range(2))
    allowed = torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(rows, features)
    return alpha, beta, allowed | draw(st.booleans())


def assert_best(alpha: Tensor, beta: Tensor, allowed: Tensor, theta: float, relative: float = 0.0) -> int:
    """Check every row against all pairs; returns how many rows have a valid pair."""
    first, second, valid = best_pair(alpha, beta, allowed, theta)
    for row in range(len(alpha)):
        expected = best_saliency(alpha[row], beta[row], allowed[row], theta)
        assert bool(valid[row]) == (expected is not None)
        if expected is None:
            continue
        p, q = int(first[row]), int(second[row])
        assert p != q
        assert bool(allowed[row, p])
        assert bool(allowed[row, q])
        found = saliency(alpha[row], beta[row], p, q, theta)
        assert found is not None
        assert found == pytest.approx(expected, rel=relative, abs=0)
    return int(valid.sum())


@settings(max_examples=200, derandomize=True, deadline=None)
@given(problem=maps(), theta=st.sampled_from([1.0, 0.1, -1.0, -0.3]))
def test_equals_the_search_over_all_pairs_ties_and_masks_included(problem: tuple[Tensor, Tensor, Tensor], theta: float) -> None:
    assert_best(*problem, theta)


@pytest.mark.parametrize("theta", [1.0, -1.0])
@pytest.mark.parametrize("correlation", [-0.95, 0.0, 0.95])
def test_equals_the_search_over_all_pairs_of_many_features(theta: float, correlation: float) -> None:
    # Where α and β rise together few features dominate the others and the Pareto layers are long.
    generator = torch.Generator().manual_seed(0)
    alpha, noise = torch.randn(2, 6, 60, generator=generator)
    beta = correlation * alpha + (1 - correlation**2) ** 0.5 * noise
    allowed = torch.rand(6, 60, generator=generator) < 0.8
    assert assert_best(alpha, beta, allowed, theta, relative=1e-5) >= 4


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_no_pair_is_valid_where_no_feature_helps_or_fewer_than_two_are_left(theta: float) -> None:
    alpha, beta = torch.ones(3, 5), torch.ones(3, 5)
    everything = torch.ones(3, 5, dtype=torch.bool)
    assert not bool(best_pair(alpha, beta, everything, theta)[2].any())
    helping = best_pair(theta * alpha, -theta * beta, everything, theta)[2]
    assert bool(helping.all())
    only_one = torch.zeros(3, 5, dtype=torch.bool)
    only_one[:, 2] = True
    assert not bool(best_pair(theta * alpha, -theta * beta, only_one, theta)[2].any())
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    assert not bool(best_pair(theta * alpha, -theta * beta, nothing, theta)[2].any())


def test_a_pair_may_contain_a_feature_that_alone_is_not_valid() -> None:
    # Feature 1 lowers the target by 1, but with feature 0 both sums have the right sign and the product is the largest.
    alpha = torch.tensor([[3.0, -1.0, 0.1]])
    beta = torch.tensor([[-0.1, -5.0, -0.1]])
    first, second, valid = best_pair(alpha, beta, torch.ones(1, 3, dtype=torch.bool), 1.0)
    assert bool(valid)
    assert {int(first), int(second)} == {0, 1}
