"""The attacks on linear models, where the smallest perturbation, with and without the box, is known."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from attack_problems import (
    centred_problem,
    gaps,
    is_fooled,
    reaches,
    run_quickly,
    smallest_in_box,
    smallest_without_box,
    two_layer_problem,
)
from conftest import Linear, keys, linear_problem
from robustboard.attacks.carlini_wagner import cw, cw_cold
from robustboard.attacks.ddn import ddn
from robustboard.attacks.fmn import fmn
from robustboard.attacks.jsma import jsma
from robustboard.attacks.lbfgs import lbfgs
from robustboard.attacks.losses import margin
from robustboard.attacks.max_confidence import confident_error, max_confidence
from robustboard.attacks.pgd import pgd
from robustboard.attacks.projections import norms
from robustboard.attacks.spsa import estimate_gradient, spsa
from robustboard.benchmark.canaries.models import SureNearItsData

MINIMUM = ["cw", "ddn", "fmn", "lbfgs", "cw_cold"]
COLD: dict[str, Any] = {"searches": 6, "steps": 100, "rate": 0.02, "initial_c": 0.1}

RESOLUTION = 0.03
"""Below this L2 distance, 1.5 steps of an 8-bit feature in each of 25, what is left of the error is the last step's length."""


def boxed_problem() -> tuple[Linear, Tensor, Tensor]:
    """Two classes in double precision, and images with most features at 0 or 1."""
    model, images, _ = linear_problem(2, 40, low=-0.6, high=1.6, seed=3)
    images = images.clamp(0, 1)
    with torch.no_grad():
        model.bias -= model(images).mean(0)
        labels = model(images).argmax(1)
    return model, images, labels


CORNERING: dict[str, dict[str, Any]] = {"fgsm": {}, "bim": {}, "pgd": {"steps": 25}}
"""From a random start the farthest corner of the ball is 2ε away: 25 steps of ε/10 reach it."""


@pytest.mark.parametrize("name", CORNERING)
def test_fools_exactly_the_examples_whose_linf_minimum_is_below_epsilon(name: str) -> None:
    model, images, labels = centred_problem(count=40)
    optimum = smallest_without_box(model, images, labels, 1).amin(1)
    epsilon = float(optimum.median()) + 1e-4
    clear = (optimum - epsilon).abs() > 1e-5  # at the boundary itself rounding decides
    assert 10 < int((optimum < epsilon).sum()) < 30
    candidates = run_quickly(name, model, images, labels, epsilon=epsilon, **CORNERING[name]).images
    assert torch.equal(is_fooled(model, candidates, labels)[clear], (optimum < epsilon)[clear])


def test_pgd_at_its_defaults_is_not_weaker_than_one_step_on_a_linear_model() -> None:
    # A schedule that covers ε but not 2ε cannot cross the ball from its random start: FGSM would fool what PGD leaves.
    model, images, labels = centred_problem(count=200)
    epsilon = float(smallest_without_box(model, images, labels, 1).amin(1).median())
    by_pgd = is_fooled(model, pgd(model, images, labels, keys(200), epsilon=epsilon).images, labels)
    by_fgsm = is_fooled(model, run_quickly("fgsm", model, images, labels, epsilon=epsilon).images, labels)
    assert float((by_fgsm & ~by_pgd).float().mean()) <= 0.01


def test_spsa_fools_what_is_well_within_epsilon_and_never_what_is_beyond() -> None:
    model, images, labels = centred_problem(count=40)
    optimum = smallest_without_box(model, images, labels, 1).amin(1)
    epsilon = float(optimum.median())
    fooled = is_fooled(model, spsa(model, images, labels, keys(40), epsilon=epsilon).images, labels)
    assert bool(fooled[optimum < 0.8 * epsilon].all())
    assert not bool(fooled[optimum > epsilon + 1e-6].any())


@pytest.mark.parametrize("name", CORNERING)
def test_fools_exactly_what_the_box_lets_it_fool(name: str) -> None:
    model, images, labels = boxed_problem()
    optimum = smallest_in_box(model, images, labels, "linf")
    epsilon = float(optimum.median()) + 1e-4
    unboxed = smallest_without_box(model, images, labels, 1).amin(1)
    assert float((optimum / unboxed).median()) > 1.2, "the box must matter for this test to say anything"
    clear = (optimum - epsilon).abs() > 1e-5
    candidates = run_quickly(name, model, images, labels, epsilon=epsilon, **CORNERING[name]).images
    assert torch.equal(is_fooled(model, candidates, labels)[clear], (optimum < epsilon)[clear])


@pytest.mark.parametrize(
    ("attack", "parameters", "bound"),
    [(cw, {}, 1.02), (ddn, {}, 1.05), (fmn, {}, 1.05), (lbfgs, {}, 1.05), (cw_cold, COLD, 1.1)],
    ids=MINIMUM,
)
def test_finds_the_smallest_l2_perturbation_of_two_classes(attack: Any, parameters: dict[str, Any], bound: float) -> None:
    model, images, labels = centred_problem(count=36)
    optimum = smallest_without_box(model, images, labels, 2).amin(1)
    candidates = attack(model, images, labels, keys(36), **parameters).images
    assert bool(is_fooled(model, candidates, labels).all())
    ratio = (norms(candidates - images, "l2") / optimum)[optimum > RESOLUTION]
    assert len(ratio) >= 20
    assert float(ratio.min()) > 1 - 1e-4, "nothing adversarial is nearer than the optimum"
    assert float(ratio.max()) < bound


@pytest.mark.parametrize(
    ("attack", "parameters", "bound"),
    [(cw, {}, 1.05), (ddn, {}, 1.15), (fmn, {}, 1.15), (lbfgs, {}, 1.1), (cw_cold, COLD, 1.15)],
    ids=MINIMUM,
)
def test_finds_the_smallest_l2_perturbation_in_an_active_box(attack: Any, parameters: dict[str, Any], bound: float) -> None:
    model, images, labels = boxed_problem()
    optimum = smallest_in_box(model, images, labels, "l2")
    assert bool(torch.isfinite(optimum).all())
    assert float((optimum / smallest_without_box(model, images, labels, 2).amin(1)).median()) > 1.1, "the box must matter"
    candidates = attack(model, images, labels, keys(len(images)), **parameters).images
    assert bool(is_fooled(model, candidates, labels).all())
    ratio = (norms(candidates - images, "l2") / optimum)[optimum > RESOLUTION]
    assert len(ratio) >= 30
    assert float(ratio.min()) > 1 - 1e-4
    assert float(ratio.max()) < bound


@pytest.mark.parametrize(
    ("attack", "parameters"),
    [(cw, {}), (ddn, {}), (ddn, {"classes": 9}), (fmn, {}), (fmn, {"classes": 9}), (cw, {"start_classes": 9})],
)
def test_reaches_nine_tenths_of_the_optimum_on_ten_classes(attack: Any, parameters: dict[str, Any]) -> None:
    model, images, labels = centred_problem(10, 30)
    optimum = smallest_without_box(model, images, labels, 2).amin(1)
    candidates = attack(model, images, labels, keys(30), **parameters).images
    found = torch.where(is_fooled(model, candidates, labels), norms(candidates - images, "l2"), torch.inf)
    best, largest = optimum.mean(), optimum.max()
    optimality = 1 - (found.clamp_max(largest).mean() - best) / (largest - best)
    assert float(optimality) >= 0.9
    assert bool((found >= optimum * (1 - 1e-4)).all())


@pytest.mark.parametrize("walks", ["classes", "restarts"])
@pytest.mark.parametrize("attack", [ddn, fmn, cw], ids=["ddn", "fmn", "cw"])
def test_more_walks_never_find_a_longer_perturbation(attack: Any, walks: str) -> None:
    model, images, labels = two_layer_problem(seed=3)
    name = f"start_{walks}" if attack is cw else walks
    # C&W's own steps would go on from another place.
    given = (
        {"steps": 0, "start_steps": 30, "start_restarts": 1, "start_classes": 0, "start_norm": 1.0}
        if attack is cw
        else {"steps": 30, "initial_norm": 1.0}
    )
    lengths = []
    for count in range(4) if walks == "classes" else range(1, 5):
        candidates = attack(model, images, labels, keys(len(images)), **{**given, name: count}).images
        fooled = is_fooled(model, candidates, labels)
        lengths.append(torch.where(fooled, norms(candidates - images, "l2"), torch.inf))
    for fewer, more in itertools.pairwise(lengths):
        assert bool((more <= fewer + 1e-6).all())
    assert float(lengths[-1].mean()) < float(lengths[0].mean()), "and some find a shorter one"


def test_restarts_that_would_all_begin_at_the_image_are_refused() -> None:
    model, images, labels = two_layer_problem(seed=3)
    with pytest.raises(ValueError, match="5 restarts from a ball of radius 0 all begin at the image"):
        fmn(model, images, labels, keys(len(images)), restarts=5)


@pytest.mark.parametrize("seed", range(3))
def test_a_flat_start_does_not_keep_fmn_in_the_corners_of_the_box(seed: int) -> None:
    """Within 0.02 of the images the logits stand still, with no slope at all: it promises a boundary beyond every box."""
    model, images, labels = two_layer_problem(seed, count=30)

    def flat(x: Tensor) -> Tensor:
        nearest = torch.cdist(x.detach().flatten(1), images.flatten(1)).argmin(1)
        near = (x.detach() - images[nearest]).flatten(1).norm(dim=1, keepdim=True) < 0.02
        return torch.where(near, model(images[nearest]).detach() + 0 * model(x), model(x))

    candidates = fmn(flat, images, labels, keys(30)).images
    assert bool(is_fooled(model, candidates, labels).all())
    lengths, plain = norms(candidates - images, "l2"), norms(fmn(model, images, labels, keys(30)).images - images, "l2")
    assert float(lengths.mean()) < 2 * float(plain.clamp_min(0.02).mean())


def test_a_gamma_that_falls_lets_ddn_settle_on_the_boundary() -> None:
    model, images, labels = centred_problem(count=36)
    optimum = smallest_without_box(model, images, labels, 2).amin(1)

    def excess(final_share: float) -> float:
        candidates = ddn(model, images, labels, keys(36), steps=60, gamma=0.5, final_share=final_share).images
        assert bool(is_fooled(model, candidates, labels).all())
        return float((norms(candidates - images, "l2") / optimum)[optimum > RESOLUTION].mean()) - 1

    assert excess(0.02) < excess(1.0) / 4


@pytest.mark.parametrize(("attack", "parameters"), [(cw, {}), (ddn, {}), (fmn, {}), (lbfgs, {}), (cw_cold, COLD)], ids=MINIMUM)
def test_targeted_minimum_is_that_of_the_target_and_not_of_the_nearest_class(attack: Any, parameters: dict[str, Any]) -> None:
    # Towards the second of three classes by distance; where a third class leads at its boundary the bound is only a lower one.
    model, images, labels = centred_problem(3, 24)
    by_class = smallest_without_box(model, images, labels, 2)
    targets = by_class.argsort(1)[:, 1]
    bound = by_class.gather(1, targets[:, None]).squeeze(1)
    candidates = attack(model, images, labels, keys(24), targets=targets, **parameters).images
    assert bool(reaches(model, candidates, targets).all())
    assert bool((norms(candidates - images, "l2") >= bound * (1 - 1e-4)).all())


@pytest.mark.parametrize("name", ["fgsm", "fgsm_ce", "bim", "bim_ce", "pgd", "pgd_ce", "spsa", "cw", "cw_cold", "ddn", "jsma"])
def test_targets_are_reached(name: str) -> None:
    # ε is twice what one step towards the target needs, so that a refusal is the attack's doing.
    model, images, labels = centred_problem(3, 24, seed=2)
    targets = (labels + 1) % 3
    _, slope = gaps(model, images, labels)
    best = (images.flatten(1) + 0.3 * slope[torch.arange(24), targets].sign()).clamp(0, 1).reshape(images.shape)
    easy = reaches(model, best, targets)
    assert int(easy.sum()) >= 18
    images, labels, targets = images[easy], labels[easy], targets[easy]
    epsilon = 24.0 if name == "jsma" else 0.3
    strength = {"iterations": 60} if name == "spsa" else {"searches": 6} if name == "cw_cold" else {}
    candidates = run_quickly(name, model, images, labels, epsilon=epsilon, targets=targets, **strength).images
    assert bool(reaches(model, candidates, targets).all())


def reference_jsma(model: Linear, image: Tensor, label: int, budget: int, theta: float) -> tuple[int, Tensor] | None:
    """Papernot et al. 2016, algorithm 3, in plain loops: the fewest steps over all targets, and the image there."""
    successes = []
    for target in set(range(len(model.weight))) - {label}:
        flat = image.flatten().clone()
        alpha = model.weight[target].detach()
        beta = model.weight.detach().sum(0) - alpha
        for step in range(budget // 2 + 1):
            logits = model.weight.detach() @ flat + model.bias.detach()
            lead = float(margin(logits[None], torch.tensor([label])))
            if lead > 0:
                successes.append((step, -lead, flat))
                break
            choices = []
            movable = [i for i in range(len(flat)) if (flat[i] < 1 if theta > 0 else flat[i] > 0)]
            for p, q in itertools.combinations(movable, 2):
                a, b = float(alpha[p] + alpha[q]), float(beta[p] + beta[q])
                if (a > 0 and b < 0) if theta > 0 else (a < 0 and b > 0):
                    choices.append((-a * b, p, q))
            if not choices:
                break
            _, p, q = max(choices)
            flat[[p, q]] = (flat[[p, q]] + theta).clamp(0, 1)
    if not successes:
        return None
    steps, _, flat = min(successes, key=lambda success: success[:2])
    return steps, flat.reshape(image.shape)


@pytest.mark.parametrize("theta", [1.0, -1.0, 0.4])
def test_jsma_follows_the_paper_step_by_step(theta: float) -> None:
    model, images, labels = centred_problem(3, 8, low=0.1, high=0.9)
    proposal = jsma(model, images, labels, keys(8), epsilon=12, theta=theta)
    solved = 0
    for row in range(8):
        expected = reference_jsma(model, images[row], int(labels[row]), 12, theta)
        if expected is None:
            assert torch.equal(proposal.images[row], images[row])
            continue
        solved += 1
        assert int(proposal.iterations[row]) == expected[0]
        assert torch.allclose(proposal.images[row], expected[1], atol=1e-6)
    assert solved >= 4


@pytest.mark.parametrize("theta", [1.0, -1.0])
@pytest.mark.parametrize("budget", [0, 1, 2, 5, 12])
def test_jsma_spends_its_budget_on_whole_steps_of_theta(theta: float, budget: int) -> None:
    model, images, labels = centred_problem(3, 24, low=0.1, high=0.9)
    candidates = jsma(model, images, labels, keys(24), epsilon=budget, theta=theta).images
    touched = candidates != images
    assert int(norms(candidates - images, "l0").max()) <= budget
    assert bool((candidates[touched] == (1.0 if theta > 0 else 0.0)).all()), "θ = ±1 drives a feature to the end of its range"
    assert torch.equal(touched.flatten(1).any(1), is_fooled(model, candidates, labels)), "changed if, and only if, it fools"


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_max_confidence_is_beaten_by_no_vertex_and_no_random_point_of_the_ball(head: Literal["softmax", "sigmoid"]) -> None:
    # 1×2×3 images: all 64 vertices of the ball, in the box, and 2,000 points inside it.
    generator = torch.Generator().manual_seed(1)
    model = Linear(torch.randn(3, 6, generator=generator), 0.3 * torch.randn(3, generator=generator))
    images = torch.rand(30, 1, 2, 3, generator=generator)
    labels = torch.randint(3, (30,), generator=generator)  # about two thirds are clean errors
    epsilon = 0.2
    vertices = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)))
    inside = 2 * torch.rand(2000, 6, generator=generator) - 1
    moves = torch.cat([vertices, inside, torch.zeros(1, 6)])
    candidates = (images.flatten(1)[:, None] + epsilon * moves).clamp(0, 1)
    with torch.no_grad():
        scores = confident_error(model(candidates.flatten(0, 1)[:, None]), labels.repeat_interleave(len(moves)), head)
        best = scores.reshape(30, -1).amax(1)
        proposed = max_confidence(model, images, labels, keys(30), epsilon=epsilon, head=head).images
        reached = confident_error(model(proposed), labels, head)
    wrong_somewhere = best > 0
    assert int(wrong_somewhere.sum()) >= 20
    assert bool((reached >= best - 1e-3)[wrong_somewhere].all())
    assert float((proposed - images).abs().max()) <= epsilon + 1e-6


def test_max_confidence_raises_the_confidence_of_clean_errors() -> None:
    model, images, labels = centred_problem(3, 24)
    wrong = (labels + 1) % 3  # every example is misclassified from the start
    with torch.no_grad():
        before = confident_error(model(images), wrong, "softmax")
        candidates = run_quickly("max_confidence", model, images, wrong, epsilon=0.05).images
        after = confident_error(model(candidates), wrong, "softmax")
    assert bool((after >= before).all())
    assert float((after - before).median()) > 0.1


def test_max_confidence_from_the_image_finds_what_random_starts_lie_too_far_from() -> None:
    images, labels = torch.full((8, 1, 6, 6), 0.5), torch.zeros(8, dtype=torch.int64)
    model = SureNearItsData()
    random_only = max_confidence(model, images, labels, keys(8), epsilon=0.2, near_step=0.0).images
    both = max_confidence(model, images, labels, keys(8), epsilon=0.2).images
    with torch.no_grad():
        assert bool((confident_error(model(random_only), labels, "softmax") <= 0.5).all())
        reached = confident_error(model(both), labels, "softmax")
    assert bool((reached > 0.99).all()), "at the edge of ε the lead is -6: softmax of (-6, 6, 0)"


def test_the_near_way_of_max_confidence_loses_nothing_and_is_spared_where_the_far_one_was_sure() -> None:
    model, images, labels = centred_problem(3, 16)
    far, both = (max_confidence(model, images, labels, keys(16), epsilon=0.3, near_step=near) for near in (0.0, 0.1))
    with torch.no_grad():
        sure, surer = (confident_error(model(each.images), labels, "softmax") for each in (far, both))
    assert 0 < int((sure > 0.999).sum()) < 16
    assert bool((surer >= sure).all())
    assert torch.equal(both.iterations > far.iterations, sure <= 0.999)


def test_the_spsa_estimate_points_along_the_gradient() -> None:
    model, images, labels = centred_problem(3, 8)
    estimate = estimate_gradient(model, images, labels, None, keys(8), 1000, 0.01, 1024).flatten(1)
    with torch.no_grad():
        logits = model(images)
        runner_up = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
        true = model.weight[runner_up] - model.weight[labels]
        # Nowhere within δ may another class take the runner-up's place, or the margin is not linear there.
        second = logits.sort(1, descending=True).values
        linear = (second[:, 1] - second[:, 2]) > 0.02 * model.weight.abs().sum(1).max()
    assert int(linear.sum()) >= 3
    similarity = torch.nn.functional.cosine_similarity(estimate, true, dim=1)
    assert float(similarity[linear].min()) > 0.9
    assert torch.allclose(estimate.norm(dim=1)[linear], true.norm(dim=1)[linear], rtol=0.2), "its length is right as well"
