"""What torchattacks and foolbox were measured to do wrong, and that the attacks here do not."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attack_problems import (
    LogSoftmax,
    Rows,
    Wrapped,
    attack_names,
    binary_images,
    centred_problem,
    is_fooled,
    reaches,
    run_quickly,
    two_layer_problem,
)
from conftest import Linear, keys
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.bim import bim
from robustboard.attacks.carlini_wagner import cw, cw_cold
from robustboard.attacks.fgsm import fgsm
from robustboard.attacks.jsma import jsma
from robustboard.attacks.losses import margin, success_margin
from robustboard.attacks.projections import norms
from robustboard.attacks.spsa import spsa
from robustboard.benchmark.datasets import load_dataset
from robustboard.models.registry import load_model

EVERY = attack_names()
OURS_CW: Any = [(cw, {"steps": 100}), (cw_cold, {"searches": 5, "steps": 100, "rate": 0.03, "initial_c": 0.1})]
both_cw = pytest.mark.parametrize(("attack", "parameters"), OURS_CW, ids=["cw", "cw_cold"])


@pytest.fixture(scope="module")
def torchattacks() -> ModuleType:
    """The library. It imports torchvision, which beside a CPU build of torch needs the benchmark's help first."""
    import torchattacks as library  # noqa: PLC0415

    import robustboard.torchvision_compatibility  # noqa: PLC0415

    assert robustboard.torchvision_compatibility
    return library


def success(model: nn.Module, candidates: Tensor, labels: Tensor) -> float:
    return float(is_fooled(model, candidates, labels).float().mean())


@both_cw
def test_saturated_pixels_move(torchattacks: ModuleType, attack: Any, parameters: dict[str, Any]) -> None:
    model, _, _ = centred_problem(10)
    images = binary_images(12)
    labels = model(images).argmax(1)
    theirs = torchattacks.CW(model, c=1, steps=100, lr=0.05)(images, labels)
    assert success(model, theirs, labels) == 0, "torchattacks: atanh(±1) freezes every pixel"
    assert success(model, attack(model, images, labels, keys(12), **parameters).images, labels) == 1


@both_cw
@pytest.mark.parametrize("kind", ["shifted", "log-softmax"])
def test_all_negative_outputs_are_attacked(torchattacks: ModuleType, kind: str, attack: Any, parameters: dict[str, Any]) -> None:
    network, images, labels = centred_problem(10, 20)
    model = Wrapped(network, shift=-100.0) if kind == "shifted" else LogSoftmax(network)
    library = {"c": 1, "steps": 100, "lr": 0.05}
    assert success(network, torchattacks.CW(network, **library)(images, labels), labels) == 1
    theirs = torchattacks.CW(model, **library)(images, labels)
    assert success(model, theirs, labels) <= 0.1, "torchattacks: one-hot times logits has its maximum at 0"
    assert success(model, attack(model, images, labels, keys(20), **parameters).images, labels) == 1


@both_cw
def test_stopping_is_each_examples_own(torchattacks: ModuleType, attack: Any, parameters: dict[str, Any]) -> None:
    model, images, labels = two_layer_problem(1, count=8)
    library = torchattacks.CW(model, c=1, steps=60, lr=0.1)
    theirs = library(images, labels)
    apart = torch.cat([library(images[i : i + 1], labels[i : i + 1]) for i in range(8)])
    assert float((theirs - apart).abs().max()) > 1e-2, "torchattacks: the stop goes by the batch's sum"
    ours = attack(model, images, labels, keys(8), **parameters).images
    apart = torch.cat(
        [attack(model, images[i : i + 1], labels[i : i + 1], keys(8)[i : i + 1], **parameters).images for i in range(3)]
    )
    assert float((norms(ours - images, "l2")[:3] - norms(apart - images[:3], "l2")).abs().max()) < 1e-3


@both_cw
@pytest.mark.parametrize("aimed", [False, True])
def test_kappa_is_honoured_in_every_success(
    torchattacks: ModuleType, aimed: bool, attack: Any, parameters: dict[str, Any]
) -> None:
    model, images, labels = centred_problem(2, 12)
    kappa = 1.0
    theirs = torchattacks.CW(model, c=5, kappa=kappa, steps=100, lr=0.02)(images, labels)
    with torch.no_grad():
        before = margin(model(images), labels)
        assert float(margin(model(theirs), labels).median()) < kappa / 2, (
            "torchattacks: κ is forgotten when the closest is chosen"
        )
        targets = 1 - labels if aimed else None
        ours = attack(model, images, labels, keys(12), kappa=kappa, targets=targets, **parameters).images
        wanted = success_margin(model(ours), labels, targets)
        # No farther than it must be: between two classes the plane of margin κ is (κ − margin) / ‖w₀ − w₁‖ away.
        optimum = (kappa - before) / (model.weight[0] - model.weight[1]).norm()
    assert float(wanted.min()) >= kappa - 1e-4
    ratio = norms(ours - images, "l2") / optimum
    assert float(ratio.min()) > 1 - 1e-4
    assert float(ratio.max()) < 1.05


@pytest.mark.parametrize("kappa", [2.0, 10.0])
def test_kappa_costs_no_success_on_a_network(kappa: float) -> None:
    # A start that looks for the boundary alone would have nothing to show for κ, and no steps left to find it.
    model = load_model("digits/relu").eval().requires_grad_(False)
    data = load_dataset("digits", "test").select(range(40))
    right = model(data.images).argmax(1) == data.labels
    images, labels = data.images[right], data.labels[right]
    found = cw(model, images, labels, keys(len(images)), kappa=kappa).images
    assert float(success_margin(model(found), labels, None).min()) >= kappa


@pytest.mark.parametrize("steps", [20, 300])
def test_where_nothing_can_be_found_c_stays_a_number(steps: int) -> None:
    images, labels = binary_images(3), torch.zeros(3, dtype=torch.int64)
    model = Linear(torch.zeros(3, 25), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(cw(model, images, labels, keys(3), steps=steps).images, images)


@pytest.mark.parametrize("name", [name for name in EVERY if attack_cards()[name].aim == "minimum"])
def test_a_failure_returns_the_image_and_not_a_black_one(name: str) -> None:
    # foolbox's C&W gives an all-zero image, which is then scored as a success.
    model = Linear(torch.zeros(3, 25), torch.tensor([1.0, 0.0, 0.0]))
    images = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    candidates = run_quickly(name, model, images, torch.zeros(4, dtype=torch.int64)).images
    assert torch.equal(candidates, images)


def test_c_is_searched_for(torchattacks: ModuleType) -> None:
    model, images, labels = centred_problem(3, 12)
    # 2‖δ‖ = c ‖∇margin‖ where the library comes to rest: at c = 0.001 long before the boundary.
    theirs = torchattacks.CW(model, c=1e-3, steps=150, lr=0.005)(images, labels)
    assert success(model, theirs, labels) < 0.25, "torchattacks: with c too small for the model nothing is found"
    ours = cw_cold(model, images, labels, keys(12), searches=7, steps=150, rate=0.02, initial_c=1e-3).images
    assert success(model, ours, labels) == 1
    assert success(model, cw(model, images, labels, keys(12)).images, labels) == 1


def test_a_confident_model_has_a_gradient(torchattacks: ModuleType) -> None:
    network, images, labels = centred_problem(2, 200)
    lead = margin(network(images), labels).detach()
    # ε must suffice for the margin, and the margin, scaled by 400, must pass 104, where float32's exp gives 0.
    sizes = (network.weight[0] - network.weight[1]).abs().sum().detach()
    chosen = (lead < -0.3) & (-lead / sizes < 0.09)
    images, labels = images[chosen], labels[chosen]
    assert len(images) > 50
    model = Wrapped(network, scale=400.0)
    theirs = torchattacks.FGSM(model, eps=0.1)(images, labels)
    assert torch.equal(theirs, images), "torchattacks: every gradient of the cross-entropy is exactly 0"
    assert success(model, fgsm(model, images, labels, keys(len(images)), epsilon=0.1).images, labels) == 1


def test_the_step_grows_with_epsilon(torchattacks: ModuleType) -> None:
    model, images, _ = centred_problem(2, 12, low=0.45, high=0.55)
    robust = Linear(model.weight.detach(), torch.tensor([0.0, 0.0]))
    labels = robust(images).argmax(1)
    robust.bias.data = torch.nn.functional.one_hot(labels[:1], 2)[0] * 100.0  # nothing within ε fools it
    labels = labels[:1].expand(12)
    theirs = torchattacks.BIM(robust, eps=0.3)(images, labels)
    assert float((theirs - images).abs().max()) < 0.08, "torchattacks: ten steps of 2/255 whatever ε is"
    for epsilon in (0.01, 0.3):
        ours = bim(robust, images, labels, keys(12), epsilon=epsilon).images
        assert torch.allclose((ours - images).abs(), torch.tensor(epsilon), atol=1e-5), "every feature reaches the ball's edge"


def test_spsa_at_its_defaults_uses_its_budget(torchattacks: ModuleType) -> None:
    model, images, labels = centred_problem(2, 12)
    sizes = (model.weight[0] - model.weight[1]).abs().sum().detach()
    needed = -margin(model(images), labels).detach() / sizes
    hard = needed > 0.011
    assert int(hard.sum()) >= 4
    theirs = torchattacks.SPSA(model, eps=0.2)(images, labels)
    assert float((theirs - images).abs().max()) < 0.0101, "torchattacks: one Adam step of 0.01"
    assert not bool(is_fooled(model, theirs, labels)[hard].any())
    assert success(model, spsa(model, images, labels, keys(12), epsilon=0.2).images, labels) == 1


def test_spsa_draws_its_directions_per_example(torchattacks: ModuleType) -> None:
    model, images, labels = two_layer_problem()
    twins, labels = images[:1].expand(2, -1, -1, -1).clone(), labels[:1].expand(2)
    settings: dict[str, Any] = {"epsilon": 0.05, "directions": 4, "iterations": 3}
    theirs = torchattacks.SPSA(model, eps=0.05, nb_sample=4, nb_iter=3, max_batch_size=4)(twins, labels)
    assert torch.equal(theirs[0], theirs[1]), "torchattacks: all images of a batch share their directions"
    ours = spsa(model, twins, labels, torch.tensor([1, 2]), **settings).images
    assert not torch.equal(ours[0], ours[1])
    same = spsa(model, twins, labels, torch.tensor([1, 1]), **settings).images
    assert torch.equal(same[0], same[1])


def test_the_cap_on_spsas_rows_is_for_the_whole_batch(torchattacks: ModuleType) -> None:
    model, images, labels = two_layer_problem(count=16)
    counted = Rows(model)
    torchattacks.SPSA(counted, nb_sample=64, max_batch_size=64)(images, labels)
    assert max(counted.seen) == 1024, "torchattacks: 64 rows an image, for 16 images at once"
    counted = Rows(model)
    spsa(counted, images, labels, keys(16), epsilon=0.1, directions=64, iterations=2, row_cap=64)
    assert max(counted.seen) <= 64


def test_targeted_spsa_climbs_towards_the_target() -> None:
    # Three of torchattacks' targeted modes raise the true class.
    model, images, labels = centred_problem(3, 12)
    targets = (labels + 1) % 3
    before = success_margin(model(images), labels, targets).detach()
    ours = spsa(model, images, labels, keys(12), epsilon=0.05, iterations=30, targets=targets).images
    after = success_margin(model(ours), labels, targets).detach()
    assert bool((after > before).all())


def feature_count(candidates: Tensor, images: Tensor) -> Tensor:
    return norms(candidates - images, "l0")


def test_untargeted_jsma_is_the_best_over_all_targets(torchattacks: ModuleType) -> None:
    model, images, labels = centred_problem(4, 20, low=0.1, high=0.9)
    ours = jsma(model, images, labels, keys(20), epsilon=24).images
    fooled = is_fooled(model, ours, labels)
    best = torch.full((20,), torch.inf)
    for offset in (1, 2, 3):
        aimed = jsma(model, images, labels, keys(20), epsilon=24, targets=(labels + offset) % 4).images
        reached = is_fooled(model, aimed, labels)
        best = torch.where(reached, torch.minimum(best, feature_count(aimed, images)), best)
    assert int(fooled.sum()) >= 15
    assert bool((feature_count(ours, images)[fooled] <= best[fooled]).all())
    assert bool(fooled[torch.isfinite(best)].all())
    # torchattacks aims at (y + 1) mod 10 alone; on a model of ten classes that costs features.
    model, images, labels = centred_problem(10, 20, low=0.1, high=0.9)
    ours = jsma(model, images, labels, keys(20), epsilon=24).images
    theirs = torchattacks.JSMA(model, theta=1.0, gamma=1.0)(images.clone(), labels)
    assert float(feature_count(ours, images).mean()) < 0.7 * float(feature_count(theirs, images).mean())


def test_jsma_with_negative_theta_chooses_its_features(torchattacks: ModuleType) -> None:
    model, images, labels = centred_problem(10, 10, low=0.1, high=0.9)
    theirs = torchattacks.JSMA(model, theta=-1.0, gamma=0.5)(images.clone(), labels)
    assert not bool((theirs != images).flatten(1)[:, 1:].any()), "torchattacks: only feature 0 ever changes"
    ours = jsma(model, images, labels, keys(10), epsilon=12, theta=-1.0).images
    assert success(model, ours, labels) >= 0.8
    assert bool((ours <= images).all())


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_jsma_without_a_valid_pair_stops(torchattacks: ModuleType, theta: float) -> None:
    # Every feature raises every class: no pair has an α-sum above 0 and a β-sum below.
    model = Linear(torch.ones(10, 25) * torch.linspace(1.0, 2.0, 25), torch.arange(10.0).flip(0))
    images = torch.full((1, 1, 5, 5), 0.5)
    labels = torch.zeros(1, dtype=torch.int64)
    theirs = torchattacks.JSMA(model, theta=theta, gamma=0.5)(images.clone(), labels)
    changed = (theirs != images).flatten().nonzero().flatten().tolist()
    assert changed == [0], "torchattacks: it keeps bumping feature 0"
    counted = Rows(model)
    ours = jsma(counted, images, labels, keys(1), epsilon=24, theta=theta)
    assert torch.equal(ours.images, images)
    assert int(ours.iterations) == 0
    assert sum(counted.seen) <= 10, "one look for each of nine targets is enough"


def test_jsma_takes_three_passes_a_step_and_not_one_for_every_class(torchattacks: ModuleType) -> None:
    model, images, labels = centred_problem(10, 4, low=0.1, high=0.9)
    backwards = 0

    class Counted(Rows):
        def forward(self, images: Tensor) -> Tensor:
            def count(gradient: Tensor) -> None:
                nonlocal backwards
                backwards += 1

            logits = super().forward(images)
            if logits.requires_grad:
                logits.register_hook(count)
            return logits

    theirs = Counted(model)
    torchattacks.JSMA(theirs, theta=1.0, gamma=0.08)(images.clone(), labels)
    assert backwards >= 10, "torchattacks: one backward for every class, image and step"
    backwards = 0
    ours = Counted(model)
    proposal = jsma(ours, images, labels, keys(4), epsilon=8)
    steps = int(proposal.iterations.max()) + 1
    assert steps >= 2
    assert backwards <= 10 + 2 * (steps - 1), "one a class where all stand on the image, two at every later step"


@pytest.mark.parametrize("name", EVERY)
def test_the_models_own_gradients_are_not_polluted(torchattacks: ModuleType, name: str) -> None:
    model, images, labels = two_layer_problem(count=3)
    torchattacks.CW(model, steps=2)(images, labels)
    assert model[1].weight.grad is not None, "torchattacks: backward() reaches the parameters"
    model.zero_grad()
    run_quickly(name, model, images, labels)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_an_exception_leaves_the_model_in_its_mode(torchattacks: ModuleType, name: str) -> None:
    class Fails(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("no answer")

    network, images, labels = two_layer_problem(count=3)
    model = Fails(network).train()
    network[1].eval()
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no answer"):
        run_quickly(name, model, images, labels)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="no answer"):
        torchattacks.FGSM(model)(images, labels)
    assert [module.training for module in model.modules()] != modes, "torchattacks: what was in training mode no longer is"


@pytest.mark.parametrize("name", EVERY)
def test_results_hold_no_graph(name: str) -> None:
    # torchattacks' APGD-T returns images that still hold theirs, and memory runs out batch by batch.
    model, images, labels = two_layer_problem(count=3)
    assert all(parameter.requires_grad for parameter in model.parameters())
    proposal = run_quickly(name, model, images, labels)
    assert not proposal.images.requires_grad
    assert proposal.images.grad_fn is None
    assert not proposal.iterations.requires_grad


def test_what_is_wrong_already_is_told_apart_by_its_distance() -> None:
    # foolbox counts misclassified inputs as successes of the attack; here they come back (all but) unchanged, at distance 0.
    model, images, labels = two_layer_problem()
    wrong = (labels + 1) % 4
    for name in ("bim", "pgd", "cw", "cw_cold", "ddn", "jsma", "spsa"):
        start = 0.1 if name == "pgd" else 1e-5  # PGD's random start moves before it looks
        candidates = run_quickly(name, model, images, wrong, epsilon=8 if name == "jsma" else 0.1).images
        assert float((candidates - images).abs().max()) <= start + 1e-6


def test_targets_are_those_asked_for() -> None:
    model, images, labels = centred_problem(10, 20)
    targets = (labels + 3) % 10
    for attack, parameters in OURS_CW:
        candidates = attack(model, images, labels, keys(20), targets=targets, **parameters).images
        assert bool(reaches(model, candidates, targets).all())
