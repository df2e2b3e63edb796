"""Bounds: nothing in the ball leaves them, CROWN is no looser than intervals, linear models have them in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import keys, linear_problem
from robustboard.attacks.pgd import pgd
from robustboard.benchmark.certify.crown import crown_boxes, lower_bounds
from robustboard.benchmark.certify.interval import Box, ball, interval_boxes, rounding_error
from robustboard.benchmark.certify.layers import Affine, Layer, MaxPool, Relu
from robustboard.benchmark.certify.methods import margins
from robustboard.benchmark.certify.trace import UncertifiableError, trace
from robustboard.benchmark.judge import TOLERANCE
from robustboard.models.architectures import IMAGE_SHAPES
from robustboard.models.registry import load_model, read_cards
from small_networks import NETWORKS, SHAPE, points_in_balls, random_images, random_network

NAMES = st.sampled_from(sorted(NETWORKS))
SEEDS = st.integers(0, 10**6)
RADII = st.floats(0.001, 0.4)
SOME = settings(max_examples=40, deadline=None)
ROUNDING = 1e-9  # of float64, at magnitudes of about 10


def boxes_of(layers: list[Layer], images: Tensor, epsilon: float, method: str) -> list[Box]:
    start = ball(images, epsilon)
    return interval_boxes(layers, start) if method == "interval" else crown_boxes(layers, start)[0]


def values(layers: list[Layer], images: Tensor) -> list[Tensor]:
    """What stands before every layer, and the logits."""
    found = [images.double()]
    for layer in layers:
        found.append(layer(found[-1]))
    return found


def real_margins(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None]) - logits


@SOME
@given(NAMES, SEEDS)
def test_a_traced_network_is_the_network(name: str, seed: int) -> None:
    network, images = random_network(name, seed), random_images(3, seed)
    torch.testing.assert_close(values(trace(network, SHAPE), images)[-1], network.double()(images.double()))


@SOME
@given(NAMES, SEEDS, RADII, st.sampled_from(["interval", "crown"]))
def test_no_point_of_the_ball_leaves_any_box(name: str, seed: int, epsilon: float, method: str) -> None:
    layers, images = trace(random_network(name, seed), SHAPE), random_images(3, seed)
    boxes = boxes_of(layers, images, epsilon, method)
    for point in points_in_balls(images, epsilon, 40, seed):
        for value, box in zip(values(layers, point), boxes, strict=True):
            assert bool((value >= box.lower - ROUNDING).all())
            assert bool((value <= box.upper + ROUNDING).all())


@SOME
@given(NAMES, SEEDS, RADII, st.booleans())
def test_no_point_of_the_ball_and_no_attack_goes_below_the_margins(
    name: str, seed: int, epsilon: float, by_interval: bool
) -> None:
    network, images = random_network(name, seed), random_images(3, seed)
    layers, labels = trace(network, SHAPE), torch.tensor([0, 1, 4])
    bounds = margins(layers, images, labels, epsilon + TOLERANCE, by_interval=by_interval).lower
    bounds = bounds.masked_fill(torch.eye(5)[labels].bool(), 0.0)
    # An attack walks where sampling does not come: straight for the smallest margin.
    attacked = pgd(network, images, labels, keys(3, seed), epsilon=epsilon, steps=20, step=0.1).images
    for point in [*points_in_balls(images, epsilon, 40, seed), attacked]:
        assert bool((real_margins(values(layers, point)[-1], labels) >= bounds - ROUNDING).all())


@SOME
@given(NAMES, SEEDS, RADII)
def test_crown_is_never_looser_than_intervals(name: str, seed: int, epsilon: float) -> None:
    layers, images = trace(random_network(name, seed), SHAPE), random_images(3, seed)
    labels = torch.tensor([0, 1, 4])
    loose, tight = (margins(layers, images, labels, epsilon, by_interval=flag) for flag in (True, False))
    for inner, outer in zip(tight.boxes, loose.boxes, strict=True):
        assert bool((inner.lower >= outer.lower - ROUNDING).all())
        assert bool((inner.upper <= outer.upper + ROUNDING).all())
    other = torch.isfinite(loose.lower)
    assert bool((tight.lower[other] >= loose.lower[other] - ROUNDING).all())


def corners(box: Box) -> Tensor:
    """Every corner of a box (1, *shape) of a few features, and points between them."""
    lower, upper = box.lower.flatten(), box.upper.flatten()
    ways = torch.cartesian_prod(*[torch.linspace(0, 1, 5, dtype=torch.float64)] * len(lower))
    return (lower + ways * (upper - lower)).reshape(-1, *box.lower.shape[1:])


@SOME
@given(SEEDS, st.sampled_from([Relu((1, 2, 2)), MaxPool((1, 2, 2), 2, 1), MaxPool((1, 2, 3), 2, 1)]))
def test_the_relaxation_of_one_layer_lies_below_it_and_touches(seed: int, layer: Relu | MaxPool) -> None:
    # One layer alone, on all corners of its box: here a relaxation that cuts off a point by a hair is seen.
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randn(2, 1, *layer.shape_in, generator=generator, dtype=torch.float64)
    box = Box(ends.amin(0), ends.amax(0))
    rows = torch.randn(1, 6, *layer.shape_out, generator=generator, dtype=torch.float64)
    least = (layer(corners(box)).flatten(1) @ rows[0].flatten(1).T).amin(0)
    bounds = lower_bounds([layer], [box], rows)[0]
    assert bool((bounds <= least + ROUNDING).all())
    if isinstance(layer, Relu):  # whose upper line passes through its corner, as its lower one does where weights are negative
        below = -torch.eye(4, dtype=torch.float64).reshape(1, 4, 1, 2, 2)
        torch.testing.assert_close(lower_bounds([layer], [box], below)[0], -layer(box.upper).flatten())


@pytest.mark.parametrize(("lower", "upper", "slope"), [(-1.0, 2.0, 1.0), (-2.0, 1.0, 0.0), (0.5, 1.0, 1.0), (-2.0, -1.0, 0.0)])
def test_the_lower_slope_is_the_one_that_loses_less_area(lower: float, upper: float, slope: float) -> None:
    box = Box(torch.full((1, 1), lower, dtype=torch.float64), torch.full((1, 1), upper, dtype=torch.float64))
    # The least of slope · x over the box.
    found = lower_bounds([Relu((1,))], [box], torch.ones(1, 1, 1, dtype=torch.float64))
    assert float(found) == slope * (lower if slope else upper)


@pytest.mark.parametrize("name", ["dense", "strided", "max_pooled", "mean_pooled"])
def test_crowns_boxes_of_later_layers_are_tighter(name: str) -> None:
    layers, images = trace(random_network(name, 0), SHAPE), random_images(4, 0)
    start = ball(images, 0.1)
    places = [place for place, layer in enumerate(layers) if not isinstance(layer, Affine)]
    crown, interval = crown_boxes(layers, start)[0], interval_boxes(layers, start)
    later = [place for place in places[1:] if isinstance(layers[place - 1], Affine)]
    assert any((crown[place].radius < 0.98 * interval[place].radius).any() for place in later)


@pytest.mark.parametrize("name", ["dense", "strided", "normalised", "max_pooled"])
def test_crown_by_itself_is_tighter_on_average(name: str) -> None:
    better = []
    for seed in range(10):
        layers, images = trace(random_network(name, seed), SHAPE), random_images(4, seed)
        boxes, _ = crown_boxes(layers, ball(images, 0.1))
        units = torch.eye(5, dtype=torch.float64)[None]
        crown = lower_bounds(layers, boxes, units)
        better.append((crown - interval_boxes(layers, ball(images, 0.1))[-1].lower).mean())
    assert torch.stack(better).mean() > 0.01


@settings(max_examples=20, deadline=None)
@given(SEEDS, RADII)
def test_linear_models_have_their_closed_form(seed: int, epsilon: float) -> None:
    model, images, labels = linear_problem(classes=4, low=0.0, high=1.0, seed=seed)
    layers = trace(model.requires_grad_(False), (1, 5, 5))
    weight, x = model.weight.double(), images.flatten(1).double()
    lower, upper = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    difference = weight[labels][:, None] - weight
    # The smallest value of a linear function on a box is at the corner that its signs point away from.
    smallest = torch.where(difference > 0, difference * lower[:, None], difference * upper[:, None]).sum(2)
    expected = smallest + model.bias.double()[labels][:, None] - model.bias.double()
    for by_interval in (True, False):
        found = margins(layers, images, labels, epsilon, by_interval=by_interval).lower
        other = torch.isfinite(found)
        torch.testing.assert_close(found[other], expected[other], atol=ROUNDING, rtol=0)


@SOME
@given(NAMES, SEEDS)
def test_a_float32_pass_stays_within_the_rounding_set_aside(name: str, seed: int) -> None:
    network, images = random_network(name, seed), random_images(3, seed)
    layers = trace(network, SHAPE)
    error = rounding_error(layers, interval_boxes(layers, ball(images, 0.1)))
    assert bool((error < 0.01).all())  # and it is not so wide that nothing could be proved
    for point in points_in_balls(images, 0.1, 20, seed):
        rounded = point.float()
        assert bool(((network(rounded).double() - values(layers, rounded)[-1]).abs() <= error).all())


@SOME
@given(NAMES, SEEDS, RADII)
def test_an_examples_bounds_do_not_depend_on_its_batch_mates(name: str, seed: int, epsilon: float) -> None:
    layers, images, labels = trace(random_network(name, seed), SHAPE), random_images(3, seed), torch.tensor([0, 1, 4])
    together, alone = (
        margins(layers, images, labels, epsilon),
        margins(layers, images[1:2], labels[1:2], epsilon),
    )
    torch.testing.assert_close(together.lower[1:2], alone.lower)


@pytest.mark.parametrize("name", ["digits/relu", "mnist/relu", "cifar10/relu", "mnist/relu-mlp_32-fast_at"])
@pytest.mark.parametrize("folded", [True, False])
def test_the_registrys_relu_networks_are_traced(name: str, folded: bool) -> None:
    shape = IMAGE_SHAPES[read_cards()[name].dataset]
    network, images = load_model(name, folded=folded), torch.rand(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(values(trace(network, shape), images)[-1].float(), network(images), atol=1e-4, rtol=1e-4)


class Branched(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        return torch.relu(x) + x


class DependsOnTheImage(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(72, 5), nn.Tanh()), "Tanh"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2)), "dilation"),
        (nn.Sequential(nn.MaxPool2d(2, padding=1)), "MaxPool2d"),
        (nn.Sequential(nn.AvgPool2d(2, ceil_mode=True)), "AvgPool2d"),
        (nn.Sequential(nn.BatchNorm2d(2)).train(), "its batch's statistics"),
        (Branched(), "branches at"),
        (DependsOnTheImage(), "cannot be traced"),
    ],
)
def test_what_has_no_bounds_is_refused_by_name(network: nn.Module, name: str) -> None:
    with pytest.raises(UncertifiableError, match=name) as trouble:
        trace(network, SHAPE)
    assert "chain" in str(trouble.value)
    assert "\n" not in str(trouble.value)


def test_a_unit_of_the_projects_own_is_refused_by_its_name() -> None:
    with pytest.raises(UncertifiableError, match="ReLog"):
        trace(load_model("digits/relog"), IMAGE_SHAPES["digits"])


def test_a_network_that_is_more_than_its_layers_is_refused() -> None:
    def network() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3)).eval()

    assert len(trace(network(), (1, 8, 8))) == 4
    hooked, normalised, scaled, replaced = network(), network(), network(), network()
    hooked[1].register_forward_hook(lambda module, given, answer: 20 * answer)
    normalised[1].register_forward_pre_hook(lambda module, given: ((given[0] - 0.5) / 0.2,))
    scaled.register_forward_hook(lambda module, given, answer: answer.square())
    for one in (hooked, normalised, scaled):
        with pytest.raises(UncertifiableError, match="has a forward hook"):
            trace(one, (1, 8, 8))
    replaced[2].forward = torch.tanh
    with pytest.raises(UncertifiableError, match="not those of its layers"):
        trace(replaced, (1, 8, 8))
