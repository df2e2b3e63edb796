"""The strength reference: Auto-PGD, FAB, Square and AutoAttack against closed forms, against themselves and against a peer."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import robustboard
from attack_problems import (
    LogSoftmax,
    Rows,
    Wrapped,
    binary_images,
    centred_problem,
    is_fooled,
    run_quickly,
    two_layer_problem,
)
from conftest import Linear, keys
from robustboard.attacks.apgd import apgd, apgd_t, checkpoints
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.autoattack import autoattack
from robustboard.attacks.fab import fab_t
from robustboard.attacks.losses import margin
from robustboard.attacks.projections import BallNorm, norms, onto_hyperplane
from robustboard.attacks.randomness import derive
from robustboard.attacks.square import square
from robustboard.benchmark.datasets import Dataset, load_dataset
from test_attacks_linear import boxed_problem, smallest_in_box, smallest_without_box

GRADIENT: dict[str, dict[str, Any]] = {
    "apgd_ce": {"steps": 25},
    "apgd_dlr": {"steps": 25},
    "apgd_t": {"steps": 25},
    "autoattack": {"steps": 25, "queries": 20},
}
GUARANTEED: list[tuple[Any, dict[str, Any], str, tuple[int, ...]]] = [
    (apgd, {"steps": 6}, "restarts", (1, 2, 4)),
    (apgd_t, {"steps": 6, "target_classes": 2}, "restarts", (1, 2, 4)),
    (apgd_t, {"steps": 6}, "target_classes", (1, 2, 3)),
    (square, {"queries": 20}, "restarts", (1, 2, 4)),
]
both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])
DUAL: dict[str, float] = {"linf": 1, "l2": 2}


def suffixed(name: str, norm: str) -> str:
    return name if norm == "linf" else f"{name}_l2"


@both_norms
@pytest.mark.parametrize("classes", [2, 3, 5, 10])
@pytest.mark.parametrize("name", GRADIENT)
def test_fools_exactly_the_examples_whose_minimum_is_below_epsilon(name: str, classes: int, norm: BallNorm) -> None:
    # Two, three classes: what DLR and its targeted form cannot be computed from.
    model, images, labels = centred_problem(classes, 40)
    optimum = smallest_without_box(model, images, labels, DUAL[norm]).amin(1)
    epsilon = float(optimum.median()) * 1.01
    candidates = run_quickly(suffixed(name, norm), model, images, labels, epsilon=epsilon, **GRADIENT[name]).images
    fooled = is_fooled(model, candidates, labels)
    assert not bool(fooled[optimum > epsilon * (1 + 1e-4)].any()), "nobody can"
    # Without targets an ascent may end at the boundary to a class that is not the nearest.
    tried_all = classes == 2 or name in ("apgd_t", "autoattack")
    assert float(fooled[optimum < 0.98 * epsilon].float().mean()) >= (1 if tried_all else 0.6)


@both_norms
@pytest.mark.parametrize("name", GRADIENT)
def test_fools_what_the_box_lets_it_fool(name: str, norm: BallNorm) -> None:
    model, images, labels = boxed_problem()
    optimum = smallest_in_box(model, images, labels, norm)
    epsilon = float(optimum.median()) * 1.01
    candidates = run_quickly(suffixed(name, norm), model, images, labels, epsilon=epsilon, **GRADIENT[name]).images
    fooled = is_fooled(model, candidates, labels)
    assert not bool(fooled[optimum > epsilon * (1 + 1e-4)].any())
    # Clipped to the ball, then to the box: in L2 that is inside both, not the nearest point.
    assert bool(fooled[optimum < (0.98 if norm == "linf" else 0.93) * epsilon].all())


@both_norms
@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("classes", [2, 10])
def test_fab_finds_the_smallest_perturbation(classes: int, boxed: bool, norm: BallNorm) -> None:
    if boxed and classes > 2:
        pytest.skip("no closed form")
    model, images, labels = boxed_problem() if boxed else centred_problem(classes, 36)
    optimum = (
        smallest_in_box(model, images, labels, norm) if boxed else smallest_without_box(model, images, labels, DUAL[norm]).amin(1)
    )
    candidates = fab_t(model, images, labels, keys(len(images)), epsilon=1.0, steps=20, norm=norm).images
    assert bool(is_fooled(model, candidates, labels).all())
    ratio = norms(candidates - images, norm) / optimum
    assert float(ratio.min()) > 1 - 1e-3, "nothing adversarial is nearer than the optimum"
    assert float(ratio.max()) < 1.01


@both_norms
def test_square_comes_near_what_the_gradient_can_do(norm: BallNorm) -> None:
    model, images, labels = centred_problem(3, 40)
    optimum = smallest_without_box(model, images, labels, DUAL[norm]).amin(1)
    epsilon = float(optimum.median())
    fooled = is_fooled(model, square(model, images, labels, keys(40), epsilon=epsilon, queries=500, norm=norm).images, labels)
    assert bool(fooled[optimum < 0.7 * epsilon].all())
    assert not bool(fooled[optimum > epsilon * (1 + 1e-4)].any())


@both_norms
@pytest.mark.parametrize("scale", [0.01, 100.0])
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "apgd_t", "fab_t", "square", "autoattack"])
def test_a_confident_model_is_not_called_robust(name: str, scale: float, norm: BallNorm) -> None:
    model, images, labels = centred_problem(4, 40)
    optimum = smallest_without_box(model, images, labels, DUAL[norm]).amin(1)
    epsilon = float(optimum.median())
    easy = optimum < 0.6 * epsilon
    assert int(easy.sum()) >= 8
    parameters = {**GRADIENT, "fab_t": {"steps": 10}, "square": {"queries": 300}}[name]
    for network in (Wrapped(model, scale=scale), LogSoftmax(model, scale=scale)):
        candidates = run_quickly(suffixed(name, norm), network, images, labels, epsilon=epsilon, **parameters).images
        fooled = is_fooled(network, candidates, labels) & (norms(candidates - images, norm) <= epsilon * (1 + 1e-5))
        assert bool(fooled[easy].all())


@both_norms
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_t", "fab_t", "autoattack"])
def test_black_and_white_images_are_fooled(name: str, norm: BallNorm) -> None:
    model, _, _ = centred_problem(10)
    images = binary_images(20)
    labels = model(images).argmax(1)
    epsilon = 0.5 if norm == "linf" else 2.0
    candidates = run_quickly(suffixed(name, norm), model, images, labels, epsilon=epsilon).images
    assert bool(is_fooled(model, candidates, labels).all())


@both_norms
@pytest.mark.parametrize(("attack", "parameters", "more", "numbers"), GUARANTEED)
def test_more_attempts_never_lower_the_margin(
    attack: Any, parameters: dict[str, Any], more: str, numbers: tuple[int, ...], norm: BallNorm
) -> None:
    reached = []
    model, images, labels = two_layer_problem(3, count=30)
    for number in numbers:
        settings = {**parameters, more: number, "norm": norm}
        candidates = attack(model, images, labels, keys(30), epsilon=0.05 if norm == "linf" else 0.2, **settings).images
        with torch.no_grad():
            reached.append(margin(model(candidates), labels))
    for fewer, greater in itertools.pairwise(reached):
        assert bool((greater >= fewer - 1e-6).all())
    assert bool((reached[-1] > reached[0] + 1e-6).any()), "an attempt that repeats another would change nothing"


@both_norms
def test_more_classes_and_restarts_of_fab_never_take_it_farther(norm: BallNorm) -> None:
    model, images, labels = two_layer_problem(3, count=30)
    settings: list[dict[str, int]] = [{"target_classes": 1}, {"target_classes": 3}, {"target_classes": 3, "restarts": 3}]
    found = []
    for setting in settings:
        candidates = fab_t(model, images, labels, keys(30), epsilon=1.0, steps=8, norm=norm, **setting).images
        found.append(torch.where(is_fooled(model, candidates, labels), norms(candidates - images, norm), torch.inf))
    for fewer, greater in itertools.pairwise(found):
        assert bool((greater <= fewer * (1 + 2e-3)).all()), "up to what the last bisection leaves"
        assert bool((greater < fewer * 0.999).any())


@both_norms
def test_autoattack_fools_what_one_of_its_attacks_fools_and_nothing_else(norm: BallNorm) -> None:
    model, images, labels = two_layer_problem(8, count=40)
    epsilon = 0.06 if norm == "linf" else 0.25
    whole = autoattack(model, images, labels, keys(40), epsilon=epsilon, steps=10, queries=60, norm=norm).images
    fooled = is_fooled(model, whole, labels)
    assert 0 < int(fooled.sum()) < 40
    by_any = torch.zeros_like(fooled)
    parts: list[tuple[Any, dict[str, int]]] = [(apgd, {"steps": 10}), (apgd_t, {"steps": 10}), (fab_t, {"steps": 10})]
    for number, (attack, settings) in enumerate([*parts, (square, {"queries": 60})]):
        seeds = derive(keys(40), number)
        candidates = attack(model, images, labels, seeds, epsilon=epsilon, norm=norm, **settings).images
        by_any |= is_fooled(model, candidates, labels) & (norms(candidates - images, norm) <= epsilon + 1e-6)
    assert torch.equal(fooled, by_any)


@both_norms
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_t", "fab_t", "square", "autoattack"])
def test_examples_that_are_wrong_already_cost_next_to_nothing(name: str, norm: BallNorm) -> None:
    model, images, labels = two_layer_problem(count=12)
    counted = Rows(model)
    run_quickly(suffixed(name, norm), counted, images, (labels + 1) % 4, epsilon=1e-3)
    assert sum(counted.seen) <= 4 * 12


class Steps(nn.Module):
    """A network of its input rounded to eighths: its gradient is 0 everywhere."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images * 8).round() / 8)
        return logits


@both_norms
def test_square_carries_autoattack_where_there_is_no_gradient(norm: BallNorm) -> None:
    network, images, labels = centred_problem(3, 20)
    model = Steps(network)
    labels = model(images).argmax(1)
    epsilon = 0.3 if norm == "linf" else 1.5
    candidates = autoattack(model, images, labels, keys(20), epsilon=epsilon, steps=3, queries=200, norm=norm).images
    assert float(is_fooled(model, candidates, labels).float().mean()) >= 0.9


@pytest.mark.parametrize("shape", [(1, 1, 7), (3, 4, 9), (2, 12, 11)])
@both_norms
def test_square_takes_images_of_any_shape(shape: tuple[int, int, int], norm: BallNorm) -> None:
    features = shape[0] * shape[1] * shape[2]
    model = Linear(torch.randn(3, features, generator=torch.Generator().manual_seed(0)))
    images = torch.rand(5, *shape, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    candidates = square(model, images, labels, keys(5), epsilon=0.02, queries=60, norm=norm).images
    assert float(norms(candidates - images, norm).max()) <= 0.02 + 1e-6
    assert bool((margin(model(candidates), labels) > margin(model(images), labels)).all())


@pytest.mark.parametrize(("function", "parameter"), [(apgd, "rho"), (apgd_t, "rho"), (square, "p_init")])
@pytest.mark.parametrize("value", [0.0, -0.5, 1.5])
def test_shares_beyond_the_whole_are_refused(function: Any, parameter: str, value: float) -> None:
    model, images, labels = two_layer_problem(count=2)
    with pytest.raises(ValueError, match=parameter):
        function(model, images, labels, keys(2), epsilon=0.1, **{parameter: value})
    card = attack_cards()["square" if parameter == "p_init" else "apgd_ce"]
    with pytest.raises(ValueError, match=parameter):
        card.check_parameters({parameter: value})


def test_checkpoints_are_the_papers() -> None:
    # p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, then every 0.06.
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert all(0 < mark <= 5 for mark in checkpoints(5))


@both_norms
def test_the_projection_onto_a_hyperplane_in_the_box_is_the_nearest_point(norm: Literal["linf", "l2"]) -> None:
    model, images, labels = boxed_problem()
    lead = -margin(model(images), labels).detach()
    normal = (model.weight[1 - labels] - model.weight[labels]).detach().reshape(images.shape)
    change = onto_hyperplane(images, normal, lead, norm)
    optimum = smallest_in_box(model, images, labels, norm)
    reachable = torch.isfinite(optimum)
    assert bool(reachable.any())
    assert float((images + change).min()) >= -1e-6
    assert float((images + change).max()) <= 1 + 1e-6
    gained = (normal * change).flatten(1).sum(1)
    assert torch.allclose(gained[reachable], lead[reachable], rtol=1e-4, atol=1e-5)
    assert torch.allclose(norms(change, norm)[reachable], optimum[reachable].float(), rtol=1e-4, atol=1e-6)


@both_norms
def test_a_hyperplane_out_of_reach_a_negative_gap_and_no_normal_at_all(norm: Literal["linf", "l2"]) -> None:
    images = torch.tensor([[[[0.2, 0.6]]]]).repeat(4, 1, 1, 1)
    normal = torch.tensor([[[[1.0, -2.0]]], [[[1.0, -2.0]]], [[[0.0, 0.0]]], [[[1e-30, 0.0]]]])
    change = onto_hyperplane(images, normal, torch.tensor([100.0, -100.0, 1.0, 5e-31]), norm)
    corner, opposite, none, tiny = change.flatten(1).tolist()
    assert corner == pytest.approx([0.8, -0.6])
    assert opposite == pytest.approx([-0.2, 0.4])
    assert none == [0.0, 0.0]
    assert tiny == pytest.approx([0.5, 0.0]), "the scale of a gradient says nothing about where the hyperplane is"


@pytest.fixture(scope="module")
def torchattacks() -> ModuleType:
    """The library, which beside a CPU build of torch needs the benchmark's help to be imported."""
    import torchattacks as library  # noqa: PLC0415

    import robustboard.torchvision_compatibility  # noqa: PLC0415

    assert robustboard.torchvision_compatibility
    return library


def right_ones(name: str, data: Dataset) -> tuple[nn.Module, Tensor, Tensor]:
    model = robustboard.load_model(name).eval()
    with torch.no_grad():
        right = model(data.images).argmax(1) == data.labels
    return model, data.images[right], data.labels[right]


def left(model: nn.Module, candidates: Tensor, images: Tensor, labels: Tensor, norm: str, epsilon: float) -> float:
    """The share that is classified right, or was only fooled beyond ε."""
    inside = norms(candidates.detach() - images, norm) <= epsilon + 1e-6
    return float((~(is_fooled(model, candidates, labels) & inside)).float().mean())


def theirs(library: ModuleType, name: str, model: nn.Module, norm: str, epsilon: float) -> Any:
    common = {"norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": epsilon}
    return {
        "apgd_ce": lambda: library.APGD(model, loss="ce", steps=30, **common),
        "apgd_dlr": lambda: library.APGD(model, loss="dlr", steps=30, **common),
        "apgd_t": lambda: library.APGDT(model, steps=15, **common),
        "fab_t": lambda: library.FAB(model, steps=10, multi_targeted=True, n_classes=10, **common),
        "square": lambda: library.Square(model, n_queries=200, **common),
    }[name]()


OURS: dict[str, dict[str, int]] = {
    "apgd_ce": {"steps": 30},
    "apgd_dlr": {"steps": 30},
    "apgd_t": {"steps": 15},
    "fab_t": {"steps": 10},
    "square": {"queries": 200},
}


@both_norms
@pytest.mark.parametrize("name", OURS)
def test_leaves_no_more_standing_than_the_library(torchattacks: ModuleType, name: str, norm: str) -> None:
    model, images, labels = right_ones("digits/relu-fast_at", load_dataset("digits", "test").select(range(200)))
    epsilon = 0.15 if norm == "linf" else 0.8
    torch.manual_seed(0)
    library = left(model, theirs(torchattacks, name, model, norm, epsilon)(images, labels), images, labels, norm, epsilon)
    bound = attack_cards()[suffixed(name, norm)].bind(**OURS[name])
    ours = left(model, bound(model, images, labels, keys(len(images)), epsilon=epsilon).images, images, labels, norm, epsilon)
    # One start of each: which examples it fools is chance, and two such shares of 200 differ by it.
    slack = 0.03 if name in ("apgd_ce", "apgd_dlr") else 0.01
    assert ours <= library + slack


def their_ensemble(library: ModuleType, model: nn.Module, norm: str, epsilon: float) -> Any:
    """What the library's AutoAttack is made of, which does not let its iterations be chosen."""
    common = {"norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": epsilon}
    parts = [
        library.APGD(model, loss="ce", steps=25, **common),
        library.APGDT(model, steps=25, **common),
        library.FAB(model, steps=25, multi_targeted=True, n_classes=10, **common),
        library.Square(model, n_queries=50, **common),
    ]
    return library.MultiAttack(parts)


@both_norms
@pytest.mark.parametrize("name", ["digits/relu-fast_at", "mnist/relu-fast_at"])
def test_autoattack_leaves_no_more_standing_than_the_library(
    torchattacks: ModuleType, request: pytest.FixtureRequest, name: str, norm: str
) -> None:
    dataset = name.split("/", maxsplit=1)[0]
    folder = None if dataset == "digits" else request.getfixturevalue("real_data")
    count, budgets = {"digits": (60, (0.15, 0.8)), "mnist": (20, (0.35, 2.5))}[dataset]
    model, images, labels = right_ones(name, load_dataset(dataset, "test", folder).select(range(count)))
    epsilon = budgets[norm == "l2"]
    torch.manual_seed(0)
    candidates = their_ensemble(torchattacks, model, norm, epsilon)(images, labels)
    library = left(model, candidates, images, labels, norm, epsilon)
    bound = attack_cards()[suffixed("autoattack", norm)].bind(steps=25, queries=50)
    candidates = bound(model, images, labels, keys(len(images)), epsilon=epsilon).images
    ours = left(model, candidates, images, labels, norm, epsilon)
    assert 0 < library < 1
    assert ours <= library + 1 / len(images), "one example more or less is chance"
