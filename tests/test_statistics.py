"""Intervals and paired tests, against their closed forms."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import contingency_tables

from robustboard.benchmark.statistics import (
    differs_from,
    holm,
    holm_adjusted,
    is_chance,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    paired_difference,
    paired_distances,
    wilson,
)

PATIENT = settings(deadline=None)  # a busy machine is no bug
COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
OUTCOMES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def closed_form(successes: int, n: int, z: float) -> tuple[float, float]:
    """Wilson 1927: the shares p for which |share − p| = z · √(p (1 − p) / n)."""
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


@PATIENT
@given(COUNTS)
def test_wilson_is_its_closed_form(counts: tuple[int, int]) -> None:
    assert wilson(*counts) == pytest.approx(closed_form(*counts, z=1.959963984540054), abs=1e-9)


@PATIENT
@given(COUNTS)
def test_wilson_holds_the_share_lies_in_the_unit_interval_and_mirrors(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_wilson_of_nothing_fooled_is_not_certainty() -> None:
    # "100 of 100" leaves room down to n / (n + z²).
    low, high = wilson(100, 100)
    assert low == pytest.approx(100 / (100 + 1.959963984540054**2))
    assert high == pytest.approx(1)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (0, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_counts_that_cannot_be(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wilson(successes, n)


@PATIENT
@given(OUTCOMES)
def test_the_paired_difference_turns_its_sign_with_the_sides(outcomes: list[tuple[int, int]]) -> None:
    a, b = zip(*outcomes, strict=True)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.difference == pytest.approx(sum(b) / len(b) - sum(a) / len(a))
    assert forth.low == pytest.approx(-back.high, abs=1e-12)
    assert forth.high == pytest.approx(-back.low, abs=1e-12)
    assert -1 <= forth.low <= forth.high <= 1


@PATIENT
@given(OUTCOMES)
def test_the_p_value_is_mcnemars(outcomes: list[tuple[int, int]]) -> None:
    a, b = zip(*outcomes, strict=True)
    gained = sum(y > x for x, y in outcomes)
    lost = sum(y < x for x, y in outcomes)
    expected = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert paired_difference(a, b).p_value == pytest.approx(expected)


def test_the_p_value_of_ten_against_none_is_two_to_the_minus_nine() -> None:
    assert paired_difference([0] * 20, [1] * 10 + [0] * 10).p_value == pytest.approx(2 * 0.5**10)


@pytest.mark.parametrize(("a", "b", "difference"), [(0, 1, 1.0), (1, 0, -1.0), (1, 1, 0.0), (0, 0, 0.0)])
def test_agreement_everywhere_is_not_certainty(a: int, b: int, difference: float) -> None:
    """Fifty examples say little about the next: the interval is Wilson's of the one side that can still move."""
    found = paired_difference([a] * 50, [b] * 50)
    assert found.difference == difference
    assert found.low <= difference <= found.high
    slack = wilson(0, 50)[1]
    assert found.high - found.low == pytest.approx((2 if a == b else 2**0.5) * slack)


def test_the_interval_is_the_normal_one_for_many_examples() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.integers(0, 2, 4000), generator.integers(0, 2, 4000)
    found = paired_difference(a.tolist(), b.tolist())
    half = 1.96 * float((b - a).std()) / math.sqrt(4000)
    assert found.low == pytest.approx(found.difference - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.difference + half, abs=0.1 * half)


def test_paired_outcomes_need_the_same_examples() -> None:
    for a, b in (([1, 0], [1]), ([], [])):
        with pytest.raises(ValueError, match="same examples"):
            paired_difference(a, b)


def test_differs_from_is_the_999_per_mille_interval() -> None:
    low, high = closed_form(90, 100, z=3.2905267314919255)
    assert not differs_from(90, 100, 0.9)
    assert not differs_from(90, 100, low + 1e-6)
    assert differs_from(90, 100, low - 1e-6)
    assert not differs_from(90, 100, high - 1e-6)
    assert differs_from(90, 100, high + 1e-6)


def test_is_chance_up_to_three_standard_errors() -> None:
    # Ten classes, 900 examples: 90 by guessing, standard deviation √(900 · 0.1 · 0.9) = 9.
    assert is_chance(90, 900, 10)
    assert is_chance(117, 900, 10)
    assert not is_chance(118, 900, 10)
    assert is_chance(0, 900, 10)
    assert not is_chance(900, 900, 10)


def test_the_paired_interval_is_newcombes_method_10_and_not_his_8th() -> None:
    # Newcombe 1998, "… based on paired data", table II: 20, 12, 2 and 16 of 50; method 8 gives 0.0618 to 0.3242.
    a, b = [1] * 20 + [1] * 12 + [0] * 2 + [0] * 16, [1] * 20 + [0] * 12 + [1] * 2 + [0] * 16
    found = paired_difference(b, a)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0562, abs=3e-4), pytest.approx(0.3290, abs=3e-4))


@PATIENT
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_bonferroni_and_no_correction(p_values: list[float]) -> None:
    fallen = holm(p_values)
    for p, fell in zip(p_values, fallen, strict=True):
        assert fell or p > 0.05 / len(p_values)
        assert not fell or p <= 0.05


@PATIENT
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_what_holm_leaves_of_a_p_value_is_its_step_down_formula(p_values: list[float]) -> None:
    adjusted = holm_adjusted(p_values)
    smallest, *_ = sorted(range(len(p_values)), key=lambda at: p_values[at])
    assert adjusted[smallest] == pytest.approx(min(1.0, len(p_values) * p_values[smallest]))
    for p, after in zip(p_values, adjusted, strict=True):
        assert p <= after <= 1
        expected = max((sum(other >= each for other in p_values) * each for each in p_values if each <= p), default=0.0)
        assert after == pytest.approx(min(1.0, expected))
    assert holm_adjusted([]) == []


@PATIENT
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(gained: int, lost: int) -> None:
    peer = contingency_tables.mcnemar([[3, gained], [lost, 5]], exact=True).pvalue
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, peer))


@settings(deadline=None, max_examples=20)
@given(OUTCOMES, st.randoms())
def test_the_bootstrap_holds_the_difference_and_knows_no_order(outcomes: list[tuple[int, int]], order: object) -> None:
    a, b = zip(*outcomes, strict=True)
    low, high = paired_bootstrap(a, b)
    difference = sum(b) / len(b) - sum(a) / len(a)
    assert -1 <= low <= high <= 1
    assert low - 1e-9 <= difference <= high + 1e-9
    shuffled = list(outcomes)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert paired_bootstrap(*zip(*shuffled, strict=True)) == (low, high)


def test_the_bootstrap_is_the_binomial_law_of_the_difference() -> None:
    # One side all right: the mean of a resample is a binomial count over n, whose quantiles are known.
    a, b = [0] * 200, [1] * 60 + [0] * 140
    low, high = paired_bootstrap(a, b)
    law = stats.binom(200, 0.3)
    assert low == pytest.approx(law.ppf(0.025) / 200, abs=0.0051)
    assert high == pytest.approx(law.ppf(0.975) / 200, abs=0.0051)


def test_the_bootstrap_cannot_draw_what_it_has_not_seen() -> None:
    assert paired_bootstrap([1] * 50, [1] * 50) == (0.0, 0.0)
    assert paired_bootstrap([0], [1]) == (1.0, 1.0)
    for a, b in (([1, 0], [1]), ([], [])):
        with pytest.raises(ValueError, match="same examples"):
            paired_bootstrap(a, b)


def test_six_longer_distances_have_p_of_two_to_the_minus_five() -> None:
    near, far = np.arange(1.0, 7.0), np.arange(1.0, 7.0) * 2
    found = paired_distances(near, far)
    assert (found.n, found.difference) == (6, 3.5)
    assert found.p_value == pytest.approx(2 * 0.5**6)
    back = paired_distances(far, near)
    assert (back.difference, back.p_value) == (-3.5, found.p_value)


def test_distances_that_are_not_there_are_the_longest() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([2.0, 1.5, 7.0, 9.0, 1e6])
    unfound = np.where(b == 1e6, np.inf, b)
    assert paired_distances(a, unfound).p_value == paired_distances(a, b).p_value
    assert paired_distances(a, unfound).difference == paired_distances(a, b).difference == 4.0
    everywhere = np.full(8, np.inf)
    assert paired_distances(everywhere, everywhere).p_value == 1
    assert paired_distances(np.full(8, 1.0), everywhere).difference == np.inf
    assert paired_distances(np.array([1.0, np.inf]), np.array([np.inf, 1.0])).difference is None
    assert paired_distances(np.array([]), np.array([])).p_value == 1
    with pytest.raises(ValueError, match="same examples"):
        paired_distances(a, b[:2])


@PATIENT
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=10))
def test_the_interval_of_a_mean_is_students(counts: list[int]) -> None:
    values = [count / 1000 for count in counts]
    low, high = mean_interval(values)
    k = len(values)
    half = stats.t.ppf(0.975, k - 1) * float(np.std(values, ddof=1)) / math.sqrt(k)
    assert low == pytest.approx(float(np.mean(values)) - half)
    assert high == pytest.approx(float(np.mean(values)) + half)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two values, got 1"):
        mean_interval([0.5])


def test_holm_leaves_what_its_caller_froze() -> None:
    gc.freeze()
    try:
        holm([0.01, 0.04])
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    holm([0.01, 0.04])
    assert gc.get_freeze_count() == 0
