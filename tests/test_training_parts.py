"""Negatives, rewards and penalties, data-dependent initialisation: each against what it says of itself."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.memory import peak_memory
from robustboard.models.architectures import build_network
from robustboard.models.recipe import Head, Recipe, WeightTerm, parse_recipe
from robustboard.models.registry import weights_sha256
from robustboard.models.training import default_settings
from robustboard.models.training.batches import batches
from robustboard.models.training.initialisation import initialise_from
from robustboard.models.training.loop import TrainingError, Workplace, train
from robustboard.models.training.negatives import overlaid, scrambled
from robustboard.models.training.objective import objective
from robustboard.models.training.weight_terms import REWARDED, acting_weights, weight_term
from robustboard.models.units import Elliptical, MinMaxout, ReLUReLog

PATIENT = settings(deadline=None)  # a busy machine is no bug
CPU = Workplace(torch.device("cpu"), bfloat16=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@PATIENT
@given(st.sampled_from([(1, 28, 7), (3, 32, 8), (1, 8, 4), (2, 6, 2)]), st.integers(0, 2**31))
def test_scrambling_keeps_the_squares_and_moves_some(form: tuple[int, int, int], seed: int) -> None:
    channels, side, patch = form
    images = torch.rand(6, channels, side, side, generator=generator(seed))
    found = scrambled(images, patch, generator(seed))

    def squares(batch: Tensor) -> list[list[bytes]]:
        cut = batch.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
        return [sorted(bytes(square.contiguous().numpy().tobytes()) for square in image) for image in cut]

    assert squares(found) == squares(images)
    assert not bool((found == images).flatten(1).all(1).any()), "no image stays whole"


def test_scrambling_follows_its_generator_and_refuses_what_cannot_be_cut() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(scrambled(images, 4, generator(3)), scrambled(images, 4, generator(3)))
    for patch in (3, 8):
        with pytest.raises(ValueError, match="cannot be cut"):
            scrambled(images, patch, generator())


def test_overlays_are_of_two_classes_and_of_what_the_images_are_made_of() -> None:
    labels = torch.arange(40) % 4
    # Every image is its own number all over, so that an overlay tells which two it was made of.
    images = (torch.arange(40.0) / 64).reshape(40, 1, 1, 1).expand(40, 1, 3, 3)
    mean = overlaid(images, labels, brightest=False, generator=generator())
    brightest = overlaid(images, labels, brightest=True, generator=generator())
    assert 20 <= len(mean) < 40
    for mixed, larger in zip(mean[:, 0, 0, 0].tolist(), brightest[:, 0, 0, 0].tolist(), strict=True):
        first, second = round(64 * larger), round(64 * (2 * mixed - larger))
        assert labels[first] != labels[second]


def recipe_of(name: str) -> tuple[Recipe, nn.Module]:
    torch.manual_seed(0)
    recipe = parse_recipe(name)
    return recipe, build_network("digits", recipe)


@pytest.mark.parametrize(
    ("name", "count"), [("relu", 0), ("relu-scrambling", 16), ("relu-overlay", 16), ("relu-scrambling-overlay", 16)]
)
def test_a_batch_brings_the_recipes_negatives(name: str, count: int) -> None:
    data = load_dataset("digits", "train").select(range(64))
    recipe, _ = recipe_of(name)
    batch = next(batches(data.images, data.labels, recipe, default_settings("digits", recipe), 0))
    assert batch.images.shape == (32, 1, 8, 8)
    assert count - 4 <= len(batch.negatives) <= count
    assert batch.negatives.shape[1:] == (1, 8, 8)


@pytest.mark.parametrize("name", ["relu_relog", "relu-max_fit_l2_1"])
def test_every_part_trains_and_leaves_its_mark(name: str) -> None:
    data = load_dataset("digits", "train").select(range(320))
    recipe, network = recipe_of(name)
    told = replace(default_settings("digits", recipe), epochs=2)
    train(network, data.images, data.labels, recipe, told, CPU)
    _, other = recipe_of(name)
    train(other, data.images, data.labels, replace(recipe, weight_term=WeightTerm()), replace(told, anneal=0.0), CPU)
    assert weights_sha256(network) != weights_sha256(other)


def test_trades_minimises_cross_entropy_and_six_times_the_divergence() -> None:
    # Zhang et al. 2019, equation 5, with 1/λ = 6: a network whose logits are its two pixels, by hand.
    recipe = parse_recipe("relu-trades")
    clean, seen = torch.tensor([[[[2.0, 0.0]]], [[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 1.0]]], [[[0.0, 1.0]]]])
    labels, none = torch.tensor([0, 0]), torch.zeros(0, 1, 1, 2)
    told = default_settings("digits", recipe)
    logits, loss = objective(nn.Flatten(), clean, seen, labels, none, recipe, told)
    p, q = torch.tensor([2.0, 0.0]).softmax(0), torch.tensor([0.5, 1.0]).softmax(0)
    divergence = float((p * (p / q).log()).sum()) / 2  # the second image is as it was
    cross_entropy = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert told.divergence_weight == 6
    assert float(loss) == pytest.approx(cross_entropy + 6 * divergence, rel=1e-5)
    assert torch.equal(logits, clean.flatten(1))


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_loss_is_the_mean_over_images_and_negatives(head: Head) -> None:
    recipe = Recipe(head=head, overlay=True)
    images, negatives = torch.tensor([[[[3.0, -1.0]]]]), torch.tensor([[[[2.0, 0.0]]], [[[-1.0, 1.0]]]])
    told = replace(default_settings("digits", recipe), label_smoothing=0.0)
    logits, loss = objective(nn.Flatten(), images, images, torch.tensor([0]), negatives, recipe, told)
    wide = negatives.flatten(1)
    if head == "softmax":  # away from all classes alike
        one, others = math.log(1 + math.exp(-4)), -wide.log_softmax(1).mean(1)
    else:  # away from all zeros
        one = float((1 - torch.tensor(3.0).sigmoid()) ** 2 + torch.tensor(-1.0).sigmoid() ** 2)
        others = wide.sigmoid().square().sum(1)
    assert float(loss) == pytest.approx((one + float(others.sum())) / 3, rel=1e-5)
    assert torch.equal(logits, images.flatten(1))


def test_relu_has_become_relog_when_its_share_of_the_training_is_over() -> None:
    data = load_dataset("digits", "train").select(range(320))
    recipe, network = recipe_of("relu_relog")
    seen: list[float] = []

    def look(epoch: int, step: int, loss: float) -> None:
        seen.append(next(float(module.alpha) for module in network.modules() if isinstance(module, ReLUReLog)))

    train(network, data.images, data.labels, recipe, replace(default_settings("digits", recipe), epochs=4), CPU, on_step=look)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[10] == pytest.approx(0.5), "a quarter of the steps is half of the half"
    assert seen[20:] == [1.0] * 20


@PATIENT
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_the_l1_reward_times_the_fan_in_is_the_range_over_the_box(inputs: int, seed: int) -> None:
    weights = torch.randn(3, inputs, generator=generator(seed), dtype=torch.float64)
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=inputs)), dtype=torch.float64)
    values = corners @ weights.T
    reach = values.amax(0) - values.amin(0)
    network = nn.Sequential(nn.Linear(inputs, 3, bias=False), nn.BatchNorm1d(3, eps=0.0)).double()
    with torch.no_grad():
        network[0].weight.copy_(weights)
    term = weight_term(network, WeightTerm(2.0, "l1", max_fit=True))
    assert float(term.detach()) == pytest.approx(-2 * float((reach / inputs).mean()))
    assert float(weight_term(network, WeightTerm(2.0, "l1"))) == pytest.approx(-float(term))


def test_the_weights_that_act_are_those_of_the_folded_network() -> None:
    _, network = recipe_of("relog-maxout_4")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2.0, generator=generator())
                assert module.running_var is not None
                module.running_var.uniform_(0.1, 3.0, generator=generator())
    layers = acting_weights(network)
    assert len(layers) == 3, "two convolutions and a hidden layer; the output layer has no units"
    block = network[0]
    assert isinstance(block, nn.Sequential)
    assert isinstance(block[2], MinMaxout)
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        answer, still = network.eval()[0][:2](x), network[0][:2](torch.zeros_like(x))
        assert torch.allclose(nn.functional.conv2d(x, layers[0], padding=1), answer - still, atol=1e-5)


def test_the_l2_form_is_the_mean_square_and_the_reward_has_a_gradient_to_larger_weights() -> None:
    _, network = recipe_of("relu")
    layers = acting_weights(network)
    sizes = torch.cat([layer.flatten(1).square().sum(1) / layer[0].numel() for layer in layers])
    assert float(weight_term(network, WeightTerm(3.0, "l2"))) == pytest.approx(3 * float(sizes.mean()))
    reward = weight_term(network, WeightTerm(1.0, "l2", max_fit=True))
    reward.backward()
    scale = network[0][1].weight
    assert bool((scale.grad < 0).all()), "a step down the loss makes every unit's scale larger"
    assert float(weight_term(network, WeightTerm())) == 0


def test_what_stands_for_the_weights_of_a_unit_with_a_centre_is_how_much_it_looks_at_each_input() -> None:
    _, elliptical = recipe_of("relog-elliptical-maxout_2")
    with torch.no_grad():
        for unit in (module for module in elliptical.modules() if isinstance(module, Elliptical)):
            unit.scale.copy_(2 * torch.randn(unit.scale.shape, generator=generator()).sign())
    # The normalisations are fresh: γ = 1, σ² = 1 + 1e-5.
    assert float(weight_term(elliptical, WeightTerm(3.0, "l1")).detach()) == pytest.approx(3 * 4, rel=1e-4)
    assert float(weight_term(elliptical, WeightTerm(3.0, "l2")).detach()) == pytest.approx(3 * 16, rel=1e-4)
    _, spherical = recipe_of("relu-spherical")
    for weights in acting_weights(spherical):
        assert weights.detach().flatten().tolist() == pytest.approx([1 / weights[0].numel()] * weights.numel(), rel=1e-4)


def test_a_unit_that_is_large_enough_is_rewarded_no_further_and_penalised_all_the_same() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, eps=0.0))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[10.0, 0.0], [1.0, 1.0]]))
    reward, penalty = (weight_term(network, WeightTerm(1.0, "l2", max_fit=max_fit)) for max_fit in (True, False))
    assert (float(reward), float(penalty)) == (-(REWARDED + 1) / 2, (50 + 1) / 2)
    (gradient,) = torch.autograd.grad(reward, network[0].weight)
    assert gradient[0].tolist() == [0, 0]
    assert bool((gradient[1] < 0).all())


@pytest.mark.parametrize("name", ["relu", "relog-maxout_4", "relog-elliptical-maxout_4", "relu-mlp_16_8"])
def test_dynamic_initialisation_gives_mean_zero_and_variance_one(name: str) -> None:
    images = load_dataset("digits", "train").images[:128]
    _, network = recipe_of(name)
    initialise_from(network, images)
    assert network.training
    looked: list[str] = []

    def check(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        variance, mean = torch.var_mean(output.movedim(1, 0).flatten(1), dim=1, correction=0)
        assert float(mean.abs().max()) < 1e-3
        lively = variance > 1e-6
        assert float((variance[lively] - 1).abs().max()) < 1e-2
        assert float(lively.float().mean()) > 0.9
        looked.append(type(module).__name__)

    last = network[-1]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) or module is last:
            module.register_forward_hook(check)
    with torch.no_grad():
        network.eval()(images)
    assert len(looked) >= 3


def test_dynamic_initialisation_scales_layers_without_normalisation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), nn.Flatten(), nn.Linear(80, 10))
    images = load_dataset("digits", "train").images[:200]
    initialise_from(network, images)
    with torch.no_grad():
        first = network[0](images).movedim(1, 0).flatten(1)
        assert first.mean(1).tolist() == pytest.approx([0.0] * 4, abs=1e-4)
        assert first.var(1, correction=0).tolist() == pytest.approx([1.0] * 4, rel=1e-3)
        logits = network(images)
    assert logits.var(0, correction=0).tolist() == pytest.approx([1.0] * 10, rel=1e-3)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="where the kernel keeps no mark of the peak")
@pytest.mark.parametrize("name", ["relog-minmaxout_2_4-max_fit_l2_1", "relog-elliptical-maxout_4"])
def test_the_widest_variants_of_cifar10_train_at_batch_128_within_4_gb(name: str) -> None:
    recipe = parse_recipe(name)
    images, labels = torch.rand(256, 3, 32, 32, generator=generator()), torch.arange(256) % 10
    plan = replace(default_settings("cifar10", recipe), epochs=1)
    assert plan.batch_size == 128
    network = build_network("cifar10", recipe)

    def two_steps() -> None:
        with pytest.raises(TrainingError, match="little better than chance"):
            train(network, images, labels, recipe, plan, Workplace(torch.device("cpu"), bfloat16=True))

    peak = peak_memory(two_steps)
    assert peak is not None
    assert 50e6 < peak < 4e9
