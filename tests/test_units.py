"""The units and networks: closed forms, truth tables, and sizes that make variants comparable."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustboard.models.architectures import IMAGE_SHAPES, NETWORKS, build_network
from robustboard.models.recipe import Pieces, parse_recipe
from robustboard.models.registry import count_parameters
from robustboard.models.units import MinMaxout, ReLog

PATIENT = settings(deadline=None)  # a busy machine is no bug
BASES = [1.5, math.e, 10.0, 100.0, 1e6]
VARIANTS = [
    "relog",
    "relu-maxout_2",
    "relu-maxout_4",
    "relog-maxout_4",
    "relu-maxout_8",
    "relu-minmaxout_2_2",
    "relog-minmaxout_4_2",
    "relu-minmaxout_2_4",
    "relog-maxout_4-sigmoid_out",
    "relu-fast_at",
]


@pytest.mark.parametrize("n", BASES)
def test_the_two_forms_of_relog_agree(n: float) -> None:
    x = torch.linspace(-3, 50, 2001, dtype=torch.float64)
    other_form = torch.log(torch.relu(x) + 1 / n) / math.log(n) + 1
    torch.testing.assert_close(ReLog(n)(x), other_form, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", BASES)
def test_relog_has_its_slope_just_above_zero(n: float) -> None:
    x = torch.tensor([1e-12, -1e-12, -5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ReLog(n)(x).sum(), x)
    # d/dx ln(1 + n x) / ln n at 0+ is n / ln n.
    assert float(slope[0]) == pytest.approx(n / math.log(n), rel=1e-5)
    assert slope[1:].tolist() == [0, 0]


@pytest.mark.parametrize("n", BASES)
def test_relog_is_zero_below_and_just_over_one_at_one(n: float) -> None:
    unit = ReLog(n).double()
    values = unit(torch.tensor([-1e9, -0.1, 0.0, 1.0], dtype=torch.float64))
    assert values[:3].tolist() == [0, 0, 0]
    # log_n(1 + n) = 1 + log_n(1 + 1/n): over 1, by less than 1 / (n ln n).
    assert 0 < float(values[3]) - 1 < 1 / (n * math.log(n))


def test_relog_increases_and_keeps_shape_and_dtype() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.rand(2, 3, 4, 5, dtype=dtype)
        assert ReLog(10.0)(x).shape == x.shape
        assert ReLog(10.0)(x).dtype == dtype
    rising = ReLog(100.0)(torch.linspace(0, 10, 1000, dtype=torch.float64))
    assert bool((rising.diff() > 0).all())
    assert bool((rising.diff().diff() < 0).all())  # concave: the logarithm saturates


@pytest.mark.parametrize("n", [1, 1.0, 0.5, 0, -3, -math.inf, math.nan])
def test_relog_needs_more_than_one(n: float) -> None:
    with pytest.raises(ValueError, match="n > 1"):
        ReLog(n)


@pytest.mark.parametrize(("groups", "group_size"), [(2, 2), (3, 2), (2, 4)])
def test_minmaxout_on_truth_values_is_an_or_of_ands(groups: int, group_size: int) -> None:
    table = list(itertools.product([0.0, 1.0], repeat=groups * group_size))
    found = MinMaxout(Pieces(groups, group_size))(torch.tensor(table))
    for row, value in zip(table, found.flatten().tolist(), strict=True):
        chunks = [row[start : start + group_size] for start in range(0, len(row), group_size)]
        assert value == float(any(all(chunk) for chunk in chunks))


@PATIENT
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_maxout_is_the_maximum_over_consecutive_channels(pieces: int, channels: int, seed: int) -> None:
    x = torch.randn(3, channels * pieces, 2, 4, generator=torch.Generator().manual_seed(seed))
    found = MinMaxout(Pieces(pieces))(x)
    expected = torch.stack([x[:, c * pieces : (c + 1) * pieces].max(1).values for c in range(channels)], 1)
    assert torch.equal(found, expected)


@PATIENT
@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 2**31))
def test_minmaxout_lies_between_minimum_and_maximum_and_negates_to_its_dual(groups: int, size: int, seed: int) -> None:
    x = torch.randn(2, 3 * groups * size, generator=torch.Generator().manual_seed(seed))
    found = MinMaxout(Pieces(groups, size))(x)
    pieces = x.reshape(2, 3, groups, size)
    assert torch.equal(-found, (-pieces).amax(3).amin(2))  # De Morgan
    assert bool((found >= pieces.flatten(2).amin(2)).all())
    assert bool((found <= pieces.flatten(2).amax(2)).all())


@pytest.mark.parametrize("shape", [(5, 24), (5, 24, 7), (5, 24, 7, 6)])
def test_minmaxout_divides_the_channels_only(shape: tuple[int, ...]) -> None:
    assert MinMaxout(Pieces(3, 4))(torch.rand(shape)).shape == (5, 2, *shape[2:])


def test_minmaxout_passes_the_gradient_to_the_chosen_piece_alone() -> None:
    x = torch.tensor([[4.0, 1.0, 3.0, 2.0]], requires_grad=True)  # groups (4, 1), (3, 2): minima 1, 2; maximum 2
    (gradient,) = torch.autograd.grad(MinMaxout(Pieces(2, 2))(x).sum(), x)
    assert gradient.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("dataset", NETWORKS)
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_no_larger_than_a_quarter_more_and_answer_ten_logits(dataset: str, name: str) -> None:
    plain = count_parameters(build_network(dataset, parse_recipe("relu")))
    network = build_network(dataset, parse_recipe(name)).eval()
    assert plain / 1.25 <= count_parameters(network) <= 1.25 * plain
    with torch.no_grad():
        logits = network(torch.rand(3, *IMAGE_SHAPES[dataset]))
    assert logits.shape == (3, 10)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("dataset", NETWORKS)
def test_a_network_in_evaluation_judges_each_image_alone(dataset: str) -> None:
    network = build_network(dataset, parse_recipe("relog-minmaxout_2_2")).eval()
    images = torch.rand(4, *IMAGE_SHAPES[dataset])
    with torch.no_grad():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_data_set_without_a_network_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        build_network("imagenet", parse_recipe("relu"))
