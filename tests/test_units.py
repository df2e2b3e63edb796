"""The units and networks: closed forms, truth tables, and sizes that make variants comparable."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustboard.models.architectures import IMAGE_SHAPES, NETWORKS, build_network, fold_batch_norm, pool_before_logarithms
from robustboard.models.recipe import Pieces, RecipeError, parse_recipe
from robustboard.models.registry import count_multiply_adds, count_parameters
from robustboard.models.units import Elliptical, MinMaxout, Quadratic, ReLog, ReLUReLog, Spherical

PATIENT = settings(deadline=None)  # a busy machine is no bug
SHAPES = st.sampled_from([(3,), (3, 2), (3, 2, 4)])
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
    "relu_relog",
    "relog_last_2",
    "relu-quadratic",
    "relog-quadratic-minmaxout_4_2",
    "relog-quadratic-maxout_4-max_fit_l2_1-sigmoid_out-overlay",
    "relog-spherical",
    "relog-elliptical-maxout_4",
    "relu-elliptical-minmaxout_2_2",
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


@PATIENT
@given(st.integers(2, 20), st.integers(1, 20), SHAPES, st.booleans(), st.integers(0, 2**31))
def test_minmaxout_has_the_gradient_of_the_two_reductions(
    groups: int, size: int, shape: tuple[int, ...], training: bool, seed: int
) -> None:
    """Up to 400 pieces: more than a byte can number."""
    x = torch.randn(shape[0], 2 * groups * size, *shape[1:], generator=torch.Generator().manual_seed(seed)).requires_grad_(True)
    pieces = x.movedim(1, -1).unflatten(-1, (2, groups, size))
    expected = pieces.min(-1).values.max(-1).values.movedim(-1, 1)
    found = MinMaxout(Pieces(groups, size)).train(training)(x)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(found, expected)
    assert torch.equal(*(torch.autograd.grad((weights * y).sum(), x)[0] for y in (found, expected)))
    with torch.no_grad():
        assert torch.equal(MinMaxout(Pieces(groups, size))(x), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("row", "first"), [([1, 1, 1, 1], 0), ([0, 2, 2, 2], 2), ([2, 1, 1, 3], 1), ([3, 1, 2, 0], 1)])
def test_of_pieces_that_tie_the_first_takes_the_gradient(row: list[float], first: int, training: bool) -> None:
    x = torch.tensor([row], dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(MinMaxout(Pieces(2, 2)).train(training)(x).sum(), x)
    assert gradient.tolist() == [[float(place == first) for place in range(4)]]


@pytest.mark.parametrize("place", range(4))
def test_what_is_no_number_comes_out_of_minmaxout(place: int) -> None:
    x = torch.arange(4.0)[None].clone()
    x[0, place] = math.nan
    assert bool(MinMaxout(Pieces(2, 2))(x).isnan().all())
    for training in (True, False):
        assert bool(MinMaxout(Pieces(2, 2)).train(training)(x.requires_grad_(True)).isnan().all())


def test_minmaxout_can_be_led_through_twice_and_for_many_answers_at_once() -> None:
    unit = MinMaxout(Pieces(2, 3)).eval()
    x = torch.rand(2, 12, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(unit, x, fast_mode=True)
    several = torch.randn(5, 2, 2, 3, dtype=torch.float64)
    (together,) = torch.autograd.grad(unit(x), x, several, is_grads_batched=True)
    apart = torch.stack([torch.autograd.grad(unit(x), x, weights)[0] for weights in several])
    assert torch.equal(together, apart)


def test_minmaxout_in_training_keeps_no_piece_for_the_way_back() -> None:
    x = torch.rand(8, 6 * 8, 5, 5, requires_grad=True)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved.nbytes) or saved, lambda saved: saved):
        y = MinMaxout(Pieces(4, 2))(x)
    assert sum(kept) == y.numel(), "a byte an output"


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_relu_turns_into_relog_as_it_is_told(alpha: float) -> None:
    x = torch.linspace(-2, 3, 101, dtype=torch.float64)
    unit = ReLUReLog(100.0).double()
    unit.anneal(alpha)
    torch.testing.assert_close(unit(x), (1 - alpha) * torch.relu(x) + alpha * ReLog(100.0)(x), rtol=1e-7, atol=1e-7)
    assert float(unit.state_dict()["alpha"]) == pytest.approx(alpha), "a checkpoint keeps it"


def test_quadratic_lays_the_squares_beside_the_inputs() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(Quadratic()(x), torch.cat([x, x * x], dim=1))


def unfolded(x: torch.Tensor, kernel: int, padding: int) -> torch.Tensor:
    """Every receptive field as a row: (N, positions, C · k · k)."""
    return nn.functional.unfold(x, kernel, padding=padding).transpose(1, 2)


@PATIENT
@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([(1, 0), (3, 0), (3, 1), (5, 2)]), st.integers(0, 2**31))
def test_elliptical_and_spherical_are_their_unfolded_formulas(
    inputs: int, outputs: int, form: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    kernel, padding = form
    x = torch.rand(2, inputs, 6, 7, generator=generator, dtype=torch.float64).float()
    shape = (outputs, inputs, kernel, kernel)
    ellipse, sphere = Elliptical(shape, padding), Spherical(shape, padding)
    away = unfolded(x, kernel, padding)[:, :, None] - ellipse.centre.flatten(1)
    expected = -(ellipse.scale.flatten(1).square() * away.square()).sum(3).transpose(1, 2)
    torch.testing.assert_close(ellipse(x).flatten(2), expected, rtol=1e-4, atol=1e-5)
    away = unfolded(x, kernel, padding)[:, :, None] - sphere.centre.flatten(1)
    expected = -away.square().mean(3).transpose(1, 2)
    torch.testing.assert_close(sphere(x).flatten(2), expected, rtol=1e-4, atol=1e-5)


def test_an_elliptical_unit_ignores_an_input_whose_a_is_zero_and_is_highest_at_its_centre() -> None:
    unit = Elliptical((3, 5))
    with torch.no_grad():
        unit.scale[1, 2] = 0.0
    x = torch.rand(4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit(x)[:, 1].sum(), x)
    assert gradient[:, 2].tolist() == [0, 0, 0, 0]
    assert bool((gradient[:, [0, 1, 3, 4]] != 0).any())
    moved = x.detach().clone()
    moved[:, 2] += 10.0
    assert torch.equal(unit(moved)[:, 1], unit(x.detach())[:, 1])
    at_centres = unit(unit.centre.detach())
    assert float(at_centres.diagonal().abs().max()) < 1e-6
    assert bool((unit(torch.rand(100, 5)) <= 1e-6).all())


def test_units_whose_terms_cancel_are_computed_in_single_precision_under_autocast() -> None:
    x = torch.rand(2, 3, 8, 8)
    for unit in (Elliptical((4, 3, 3, 3), 1), Spherical((4, 3, 3, 3), 1)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer = unit(x.bfloat16())
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, unit(x.bfloat16().float()))


def test_relog_stands_in_the_last_layers_only_where_so_many_are_named() -> None:
    for last in (1, 2, 3):
        layers = [
            m for m in build_network("mnist", parse_recipe(f"relog_last_{last}")).modules() if isinstance(m, ReLog | nn.ReLU)
        ]
        assert [isinstance(layer, ReLog) for layer in layers] == [False] * (3 - last) + [True] * last
    with pytest.raises(RecipeError, match="3 layers of units, none of relog_last_4"):
        build_network("mnist", parse_recipe("relog_last_4"))
    build_network("cifar10", parse_recipe("relog_last_4"))


@pytest.mark.parametrize("dataset", NETWORKS)
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_no_larger_than_a_quarter_more_and_answer_ten_logits(dataset: str, name: str) -> None:
    plain = build_network(dataset, parse_recipe("relu")).eval()
    network = build_network(dataset, parse_recipe(name)).eval()
    assert count_parameters(plain) / 1.25 <= count_parameters(network) <= 1.25 * count_parameters(plain)
    assert count_multiply_adds(network, IMAGE_SHAPES[dataset]) <= 1.25 * count_multiply_adds(plain, IMAGE_SHAPES[dataset])
    with torch.no_grad():
        logits = network(torch.rand(3, *IMAGE_SHAPES[dataset]))
    assert logits.shape == (3, 10)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("dataset", NETWORKS)
@pytest.mark.parametrize("name", ["relu", "relog-quadratic-minmaxout_2_2", "relog-elliptical-maxout_4", "relog-spherical"])
def test_a_folded_network_is_the_same_function_and_fewer_layers(dataset: str, name: str) -> None:
    torch.manual_seed(0)
    network = build_network(dataset, parse_recipe(name)).train()
    images = torch.rand(16, *IMAGE_SHAPES[dataset])
    for _ in range(20):
        network(images)  # the averages of batch normalisation settle
    with torch.no_grad():
        before = network.eval()(images)
    norms = sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        after = fold_batch_norm(network)(images)
    left = sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules())
    assert (norms > 0, left) == (True, norms if "spherical" in name else 0)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dataset", NETWORKS)
@pytest.mark.parametrize("name", ["relu", "relog", "relu_relog", "relog_last_2", "relog-minmaxout_2_2"])
def test_pooling_before_the_logarithm_is_the_same_function_with_the_same_gradient(dataset: str, name: str) -> None:
    torch.manual_seed(0)
    network = build_network(dataset, parse_recipe(name)).eval()
    images = torch.rand(4, *IMAGE_SHAPES[dataset], requires_grad=True)
    found = []
    for changed in (network, pool_before_logarithms(network)):
        logits = changed(images)
        found.append((logits, *torch.autograd.grad(logits.square().sum(), images)))
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(after, before)
    unfinished = [
        block
        for block in network.modules()
        if isinstance(block, nn.Sequential)
        for unit, pool in pairwise(block)
        if isinstance(pool, nn.MaxPool2d) and isinstance(unit, nn.Sequential) and isinstance(unit[-1], ReLog | ReLUReLog)
    ]
    assert unfinished == []


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
