"""Attacks where logits are shifted, scaled or normalised, and where features are saturated: what must change nothing."""

from __future__ import annotations

import pytest
import torch

from attack_problems import (
    LogSoftmax,
    Wrapped,
    attack_names,
    binary_images,
    centred_problem,
    distances,
    gaps,
    is_fooled,
    run_quickly,
    smallest_in_box,
    smallest_without_box,
)
from conftest import keys
from robustboard.attacks.carlini_wagner import cw_cold
from robustboard.attacks.losses import margin

MARGIN_ATTACKS = ["fgsm", "bim", "pgd", "pgd_t", "spsa"]


@pytest.mark.parametrize("shift", [100.0, -100.0])
@pytest.mark.parametrize("name", attack_names())
def test_a_constant_added_to_all_logits_changes_nothing(name: str, shift: float) -> None:
    model, images, labels = centred_problem(3, 12)
    plain = run_quickly(name, model, images, labels).images
    shifted = run_quickly(name, Wrapped(model, shift=shift), images, labels).images
    assert torch.equal(is_fooled(model, plain, labels), is_fooled(model, shifted, labels))
    before, after = distances(name, plain, images), distances(name, shifted, images)
    assert torch.allclose(before, after, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 0.1, 10.0, 100.0])
@pytest.mark.parametrize("name", MARGIN_ATTACKS)
def test_margin_attacks_do_not_care_how_confident_the_model_is(name: str, scale: float) -> None:
    model, images, labels = centred_problem(3, 24)
    epsilon = float(smallest_without_box(model, images, labels, 1).amin(1).median()) + 1e-3
    plain = run_quickly(name, model, images, labels, epsilon=epsilon).images
    scaled = run_quickly(name, Wrapped(model, scale=scale), images, labels, epsilon=epsilon).images
    fooled = is_fooled(model, plain, labels)
    assert 0 < int(fooled.sum()) < 24
    assert torch.equal(fooled, is_fooled(model, scaled, labels))


def test_cross_entropy_gives_up_on_a_confident_model_where_the_margin_does_not() -> None:
    # In float32 exp(−104) is 0: beyond a margin of 1.04 × 100 the gradient of the cross-entropy is 0 everywhere.
    model, images, labels = centred_problem(2, 200, low=0.0, high=1.0)
    with torch.no_grad():
        sure = margin(model(images), labels) < -1.1
    images, labels = images[sure], labels[sure]
    reachable = smallest_in_box(model, images, labels, "linf") < 0.25
    images, labels = images[reachable], labels[reachable]
    assert len(images) >= 20
    confident = Wrapped(model, scale=100.0)
    by_margin = is_fooled(model, run_quickly("bim", confident, images, labels, epsilon=0.25).images, labels)
    by_entropy = is_fooled(
        model, run_quickly("bim", confident, images, labels, epsilon=0.25, loss="cross_entropy").images, labels
    )
    unscaled = is_fooled(model, run_quickly("bim", model, images, labels, epsilon=0.25, loss="cross_entropy").images, labels)
    by_log_odds = is_fooled(model, run_quickly("bim_ce", confident, images, labels, epsilon=0.25).images, labels)
    assert bool(by_margin.all())
    assert bool(by_log_odds.all()), "the papers' loss in exact arithmetic does not stop"
    assert bool(unscaled.all()), "it is the scale that stops cross-entropy, not the loss"
    assert float(by_entropy.float().mean()) < 0.1


@pytest.mark.parametrize("name", ["cw", "cw_cold", "ddn", "bim"])
def test_log_probabilities_are_fooled_like_logits(name: str) -> None:
    model, images, labels = centred_problem(10, 20)
    epsilon = 0.3 if name == "bim" else None
    candidates = run_quickly(name, LogSoftmax(model), images, labels, epsilon=epsilon).images
    assert bool(is_fooled(model, candidates, labels).all())


@pytest.mark.parametrize("name", ["cw", "cw_cold"])
def test_binary_images_are_fooled(name: str) -> None:
    model, _, _ = centred_problem(10)
    images = binary_images(20)
    with torch.no_grad():
        labels = model(images).argmax(1)
    strength = {"searches": 6, "steps": 150} if name == "cw_cold" else {}
    candidates = run_quickly(name, model, images, labels, **strength).images
    assert bool(is_fooled(model, candidates, labels).all())


def test_every_saturated_feature_that_helps_moves_within_fifty_steps() -> None:
    model, _, _ = centred_problem(2)
    images = binary_images(400)
    with torch.no_grad():
        labels = model(images).argmax(1)
        near = (margin(model(images), labels) > -0.5) & (margin(model(images), labels) < -0.1)
    images, labels = images[near], labels[near]
    assert len(images) >= 5
    candidates = cw_cold(model, images, labels, keys(len(images)), searches=1, steps=50, initial_c=100.0).images
    assert bool(is_fooled(model, candidates, labels).all())
    _, slope = gaps(model, images, labels)
    slope = slope[torch.arange(len(images)), 1 - labels]
    flat = images.flatten(1)
    helps = ((flat == 0) & (slope > 0.1)) | ((flat == 1) & (slope < -0.1))
    moved = (candidates.flatten(1) - flat).abs()
    assert int(helps.sum()) > 20
    assert float(moved[helps].min()) > 1e-3
