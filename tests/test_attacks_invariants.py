"""What holds for every attack on every model: box, budget, independence of batch-mates, no side effects, keys decide."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from attack_problems import (
    Wrapped,
    attack_names,
    binary_images,
    budget,
    centred_problem,
    distances,
    is_fooled,
    run_quickly,
    two_layer_problem,
)
from conftest import keys
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.losses import margin
from robustboard.attacks.pgd import pgd
from robustboard.benchmark.judge import CountedModel

EVERY = attack_names()
BOUND = [name for name, card in attack_cards().items() if card.aim != "minimum" or card.norm == "l0"]
RANDOM = [
    "pgd",
    "pgd_ce",
    "pgd_l2",
    "spsa",
    "max_confidence",
    "apgd_ce_l2",
    "apgd_dlr",
    "apgd_t_l2",
    "square",
    "square_l2",
    "autoattack",
]
DETERMINISTIC = ["fgsm", "bim", "cw_cold", "jsma", "fab_t", "fab_t_l2"]


def assert_in_box_and_budget(name: str, candidates: Tensor, images: Tensor, epsilon: float) -> None:
    assert candidates.shape == images.shape
    assert candidates.dtype == images.dtype
    assert bool(torch.isfinite(candidates).all())
    assert float(candidates.min()) >= 0
    assert float(candidates.max()) <= 1
    if name in BOUND:
        assert float(distances(name, candidates, images).max()) <= epsilon + 1e-6


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=4, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.01, 0.3, 1.0]), saturated=st.booleans())
def test_candidates_stay_in_box_and_budget_on_any_network(name: str, seed: int, share: float, saturated: bool) -> None:
    model, images, labels = two_layer_problem(seed, count=4)
    if saturated:
        images = images.round()
    epsilon = share * budget(name, images)
    candidates = run_quickly(name, model, images, labels, epsilon=epsilon).images
    assert_in_box_and_budget(name, candidates, images, epsilon)


@pytest.mark.parametrize("name", EVERY)
def test_a_budget_of_the_whole_box_stays_in_the_box(name: str) -> None:
    model, _, _ = centred_problem(3)
    images = binary_images(6)
    labels = model(images).argmax(1)
    epsilon = {"linf": 1.0, "l2": 5.0, "l0": 25.0}[attack_cards()[name].norm]
    candidates = run_quickly(name, model, images, labels, epsilon=epsilon).images
    assert_in_box_and_budget(name, candidates, images, epsilon)


@pytest.mark.parametrize("name", [name for name in EVERY if name in BOUND])
def test_epsilon_zero_gives_the_image_back(name: str) -> None:
    model, images, labels = two_layer_problem()
    assert torch.equal(run_quickly(name, model, images, labels, epsilon=0.0).images, images)


# Shrinking a network of rounding errors takes minutes and tells nothing.
any_network = settings(max_examples=3, derandomize=True, deadline=None, phases=[Phase.generate])
seeds_of_networks = st.integers(0, 10_000)


@pytest.mark.parametrize("name", EVERY)
@any_network
@given(seed=seeds_of_networks, classes=st.integers(2, 6), batch=st.sampled_from([1, 2, 5]))
def test_batch_mates_do_not_matter(name: str, seed: int, classes: int, batch: int) -> None:
    network, images, labels = two_layer_problem(seed, classes=classes, count=8)
    model, seeds = CountedModel(network), keys(8)  # as the harness shows it: batches filled up, else rounding has its say
    together = run_quickly(name, model, images, labels, seeds=seeds).images
    size, fooled = distances(name, together, images), is_fooled(model, together, labels)
    parts = [
        run_quickly(name, model, images[at : at + batch], labels[at : at + batch], seeds=seeds[at : at + batch]).images
        for at in range(0, 8, batch)
    ]
    apart = torch.cat(parts)
    assert torch.equal(is_fooled(model, apart, labels), fooled)
    assert torch.allclose(distances(name, apart, images), size, atol=1e-3)


@pytest.mark.parametrize("name", EVERY)
@any_network
@given(seed=seeds_of_networks, order=st.permutations(range(8)))
def test_the_order_of_the_batch_does_not_matter(name: str, seed: int, order: list[int]) -> None:
    model, images, labels = two_layer_problem(seed, count=8)
    seeds = keys(8)
    straight = run_quickly(name, model, images, labels, seeds=seeds)
    shuffled = run_quickly(name, model, images[order], labels[order], seeds=seeds[order])
    assert torch.allclose(straight.images[order], shuffled.images, atol=1e-3)
    assert torch.equal(straight.iterations[order], shuffled.iterations)


@pytest.mark.parametrize("name", EVERY)
def test_one_example_is_a_batch_and_no_row_is_left_out(name: str) -> None:
    model, images, labels = two_layer_problem(3)
    images, labels = images[:1], labels[:1]
    proposal = run_quickly(name, model, images, labels)
    assert proposal.images.shape == images.shape
    assert proposal.iterations.shape == (1,)
    assert proposal.iterations.dtype == torch.int64


class Relabelled(Wrapped):
    """The same network with its classes in another order."""

    def __init__(self, network: nn.Module, order: Tensor) -> None:
        super().__init__(network)
        self.order = order

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, self.order]


@pytest.mark.parametrize("name", EVERY)
@any_network
@given(seed=seeds_of_networks, classes=st.integers(2, 6), shift=st.floats(-100, 100))
def test_a_constant_added_to_the_logits_does_not_matter(name: str, seed: int, classes: int, shift: float) -> None:
    model, images, labels = two_layer_problem(seed, classes=classes, count=8)
    plain = run_quickly(name, model, images, labels).images
    shifted = run_quickly(name, Wrapped(model, shift=shift), images, labels).images
    assert torch.equal(is_fooled(model, plain, labels), is_fooled(model, shifted, labels))
    assert torch.allclose(distances(name, plain, images), distances(name, shifted, images), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", EVERY)
@any_network
@given(seed=seeds_of_networks, order=st.permutations(range(4)))
def test_the_names_of_the_classes_do_not_matter(name: str, seed: int, order: list[int]) -> None:
    model, images, labels = two_layer_problem(seed, count=4)
    renamed = torch.tensor(order).argsort()[labels]
    plain = run_quickly(name, model, images, labels).images
    relabelled = run_quickly(name, Relabelled(model, torch.tensor(order)), images, renamed).images
    if name == "lbfgs":  # its line searches turn the last digit of a sum over the classes into another path
        assert torch.equal(is_fooled(model, plain, labels), is_fooled(model, relabelled, labels))
        assert torch.allclose(distances(name, plain, images), distances(name, relabelled, images), rtol=0.05)
    else:
        assert torch.allclose(plain, relabelled, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_two_and_many_classes_and_an_always_wrong_batch(name: str) -> None:
    for classes in (2, 5):
        model, images, labels = two_layer_problem(5, classes=classes, count=5)
        epsilon = budget(name, images)
        assert_in_box_and_budget(name, run_quickly(name, model, images, labels).images, images, epsilon)
        wrong = (labels + 1) % classes
        candidates = run_quickly(name, model, images, wrong).images
        assert_in_box_and_budget(name, candidates, images, epsilon)
        assert bool(is_fooled(model, candidates, wrong).all()), "what is wrong already stays wrong"


@pytest.mark.parametrize("name", EVERY)
def test_a_constant_model_is_survived(name: str) -> None:
    # No gradient, no pair, no success: finite images in the box, and the label as it was.
    _, images, labels = two_layer_problem()

    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = torch.tensor([3.0, 0.0, -1.0, 2.0]).expand(len(images), 4)
            return logits + 0 * images.flatten(1).sum(1, keepdim=True)

    labels = torch.zeros_like(labels)
    candidates = run_quickly(name, Constant(), images, labels).images
    assert_in_box_and_budget(name, candidates, images, budget(name, images))
    assert not bool(is_fooled(Constant(), candidates, labels).any())
    if attack_cards()[name].aim == "minimum":
        assert torch.equal(candidates, images), "a minimum-norm attack that found nothing returns the image itself"


def with_flags(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A random network whose modules are in different modes, of which one is a frozen parameter and another has a gradient."""
    inner, images, labels = two_layer_problem(seed, count=8)
    model = nn.Sequential(inner, nn.Dropout(0.5), nn.BatchNorm1d(4))
    model.train()
    model[1].eval()
    model[2].eval()
    model[2].weight.requires_grad_(False)  # type: ignore[operator,union-attr]
    first = next(model.parameters())
    first.grad = torch.full_like(first, 0.25)
    return model, images, labels


@pytest.mark.parametrize("name", EVERY)
@any_network
@given(seed=seeds_of_networks)
def test_model_and_global_random_state_are_left_as_they_were(name: str, seed: int) -> None:
    model, images, labels = with_flags(seed)
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    inputs = images.clone(), labels.clone()
    random = torch.get_rng_state()
    run_quickly(name, model, images, labels)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wants
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    first, *others = model.parameters()
    assert first.grad is not None
    assert bool((first.grad == 0.25).all())
    assert all(parameter.grad is None for parameter in others)
    assert torch.equal(images, inputs[0]), "the caller's images are not written to"
    assert torch.equal(labels, inputs[1])
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", EVERY)
def test_it_works_where_the_caller_has_switched_gradients_off(name: str) -> None:
    model, images, labels = two_layer_problem()
    with torch.no_grad():
        inside = run_quickly(name, model, images, labels).images
    assert torch.equal(inside, run_quickly(name, model, images, labels).images)


@pytest.mark.parametrize("name", RANDOM)
def test_keys_decide_the_path(name: str) -> None:
    model, images, labels = two_layer_problem(7)
    # ε too small to fool: the whole path is walked.
    first = run_quickly(name, model, images, labels, epsilon=0.01, seeds=keys(12)).images
    again = run_quickly(name, model, images, labels, epsilon=0.01, seeds=keys(12)).images
    other = run_quickly(name, model, images, labels, epsilon=0.01, seeds=keys(12, seed=1)).images
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_attacks_without_chance_ignore_the_keys(name: str) -> None:
    model, images, labels = two_layer_problem(7)
    first = run_quickly(name, model, images, labels, seeds=keys(12)).images
    assert torch.equal(first, run_quickly(name, model, images, labels, seeds=keys(12, seed=1)).images)


def best_margin(model: nn.Module, images: Tensor, labels: Tensor, candidates: Tensor) -> Tensor:
    with torch.no_grad():
        return margin(model(candidates), labels)


@pytest.mark.parametrize("name", ["bim", "bim_ce", "pgd", "pgd_ce", "pgd_l2"])
@any_network
@given(seed=seeds_of_networks)
def test_more_steps_of_the_same_length_never_lower_the_margin(name: str, seed: int) -> None:
    model, images, labels = two_layer_problem(seed)
    epsilon = 0.5 * budget(name, images)
    margins = [
        best_margin(
            model, images, labels, run_quickly(name, model, images, labels, epsilon=epsilon, steps=steps, step=0.25).images
        )
        for steps in (4, 5, 8, 16, 32)
    ]
    for fewer, more in itertools.pairwise(margins):
        assert bool((more >= fewer - 1e-6).all())


@pytest.mark.parametrize("name", [name for name, card in attack_cards().items() if "restarts" in card.parameters()])
@any_network
@given(seed=seeds_of_networks)
def test_more_restarts_lose_no_success(name: str, seed: int) -> None:
    model, images, labels = two_layer_problem(seed)
    epsilon = 0.5 * budget(name, images)
    start = {"initial_norm": 0.5} if name.startswith("fmn") else {}  # the paper's radius, 0, has nothing to start from
    runs = [run_quickly(name, model, images, labels, epsilon=epsilon, restarts=n, **start).images for n in (1, 2, 4)]
    for fewer, more in itertools.pairwise(runs):
        lost = is_fooled(model, fewer, labels) & ~is_fooled(model, more, labels)
        assert not bool(lost.any())
        if attack_cards()[name].aim == "minimum":
            found = is_fooled(model, fewer, labels)
            assert bool((distances(name, more, images) <= distances(name, fewer, images) + 1e-6)[found].all())
        elif name.startswith("pgd"):
            assert bool((best_margin(model, images, labels, more) >= best_margin(model, images, labels, fewer) - 1e-6).all())


@pytest.mark.parametrize("seed", range(4))
def test_every_restart_draws_another_start(seed: int) -> None:
    model, images, labels = two_layer_problem(seed)
    strength: dict[str, Any] = {"epsilon": 0.05, "steps": 5, "step": 0.2}
    once, often = (pgd(model, images, labels, keys(12), restarts=n, **strength).images for n in (1, 5))
    gained = best_margin(model, images, labels, often) > best_margin(model, images, labels, once) + 1e-6
    assert bool(gained.any()), "a restart that draws the same start would change nothing"


@pytest.mark.parametrize("name", ["bim", "pgd", "spsa"])
def test_the_returned_iterate_is_no_worse_than_the_image(name: str) -> None:
    # Keep-best: at a step as long as the ball the last iterate often is worse than the first.
    for seed in range(3):
        model, images, labels = two_layer_problem(seed)
        parameters: dict[str, Any] = {"rate": 0.5} if name == "spsa" else {"step": 2.0}
        candidates = run_quickly(name, model, images, labels, epsilon=0.05, **parameters).images
        before, after = best_margin(model, images, labels, images), best_margin(model, images, labels, candidates)
        if name == "pgd":  # it starts elsewhere, so only most of the examples are bound to gain
            assert float((after >= before).float().mean()) > 0.8
        else:
            assert bool((after >= before - 1e-6).all())


class RefusesGradients(nn.Module):
    """A model behind an API: there is no graph to be had."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled() or images.requires_grad:
            raise RuntimeError("this model gives no gradients")
        logits: Tensor = self.network(images)
        return logits


@pytest.mark.parametrize("name", [name for name in EVERY if not attack_cards()[name].needs_gradient])
def test_a_gradient_free_attack_never_asks_for_a_gradient(name: str) -> None:
    model, images, labels = two_layer_problem()
    plain = run_quickly(name, model, images, labels).images
    assert torch.equal(run_quickly(name, RefusesGradients(model), images, labels).images, plain)


@pytest.mark.parametrize("name", attack_names())
@any_network
@given(seed=seeds_of_networks, classes=st.integers(2, 6))
def test_single_and_double_precision_agree_to_rounding(name: str, seed: int, classes: int) -> None:
    model, images, labels = two_layer_problem(seed, classes=classes, count=8)
    single = run_quickly(name, model, images, labels).images
    double = run_quickly(name, copy.deepcopy(model).double(), images.double(), labels).images
    assert double.dtype == torch.float64
    if name == "lbfgs":  # its line searches turn the last digit into another path
        assert torch.allclose(distances(name, single, images), distances(name, double, images).float(), rtol=0.05)
    else:
        assert float((single - double).abs().max()) < 2e-3
    assert torch.equal(is_fooled(model, single, labels), is_fooled(model, double.float(), labels))
