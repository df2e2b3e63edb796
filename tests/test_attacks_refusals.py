"""What attacks refuse: schedules that fall short, parameters they do not have, batches that are no images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attack_problems import (
    QUICK,
    attack_names,
    budget,
    run_quickly,
    two_layer_problem,
)
from conftest import keys
from robustboard.attacks import attack as attack_module
from robustboard.attacks.attack import AttackCard, Model, Proposal, attack_cards
from robustboard.attacks.jsma import jsma
from robustboard.attacks.pgd import pgd

EVERY = attack_names()
SCHEDULED = [name for name, card in attack_cards().items() if {"steps", "step"} <= set(card.parameters())]
FALLING = ("pgd_t", "max_confidence")


@pytest.mark.parametrize("name", SCHEDULED)
def test_schedules_that_cannot_reach_the_edge_are_refused(name: str) -> None:
    model, images, labels = two_layer_problem(count=2)
    card = attack_cards()[name]
    step = 2 / 11 if name in FALLING else 0.1  # ten of them, or ten falling from it to none, are ε
    more = {"near_step": step} if name == "max_confidence" else {}
    with pytest.raises(ValueError, match="reach"):
        card.function(model, images, labels, keys(2), epsilon=0.1, steps=9, step=step, **more)
    with pytest.raises(ValueError, match="reach"):
        card.bind(steps=9, step=step, **more)
    card.function(model, images, labels, keys(2), epsilon=0.1, steps=10, step=step, **more)  # exactly ε is enough


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"near_step": 0.01}, "reach"), ({"near_step": -0.1}, "positive")],
)
def test_max_confidence_refuses_a_second_way_that_cannot_arrive(wrong: dict[str, float], told: str) -> None:
    model, images, labels = two_layer_problem(count=2)
    card = attack_cards()["max_confidence"]
    with pytest.raises(ValueError, match=told):
        card.function(model, images, labels, keys(2), epsilon=0.1, **wrong)
    with pytest.raises(ValueError, match=told):
        card.bind(**wrong)


@pytest.mark.parametrize(
    ("name", "other"),
    [(name, {key: value}) for name, card in attack_cards().items() for key in card.preset for value in ("margin", 7)],
)
def test_a_name_holds_what_it_stands_for(name: str, other: dict[str, object]) -> None:
    card = attack_cards()[name]
    with pytest.raises(ValueError, match=f"{name} stands for"):
        card.bind(**other)
    card.bind(**card.preset)


@pytest.mark.parametrize("theta", [0.0, 2.0, -1.5])
def test_jsma_refuses_a_theta_that_is_no_change_of_a_feature(theta: float) -> None:
    model, images, labels = two_layer_problem(count=2)
    with pytest.raises(ValueError, match="theta"):
        jsma(model, images, labels, keys(2), epsilon=4, theta=theta)


@pytest.mark.parametrize("name", EVERY)
def test_unknown_parameters_are_refused_by_name(name: str) -> None:
    card: AttackCard = attack_cards()[name]
    with pytest.raises(ValueError, match="no_such_parameter"):
        card.bind(no_such_parameter=1)
    bound = card.bind(**QUICK.get(name, {}))
    model, images, labels = two_layer_problem()
    epsilon = budget(name, images)
    assert torch.equal(
        bound(model, images, labels, keys(12), epsilon=epsilon).images, run_quickly(name, model, images, labels).images
    )


def test_registering_keeps_a_contributors_own_decorators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_module, "_cards", dict(attack_cards()))
    seen: list[bool] = []

    @attack_module.register("guarded", norm="linf", aim="budget", version=1, source="this test")
    @torch.no_grad()
    def guarded(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float) -> Proposal:
        seen.append(torch.is_grad_enabled())
        return Proposal(images, labels)

    model, images, labels = two_layer_problem(count=2)
    guarded(model, images, labels, keys(2), epsilon=0.1)
    attack_cards()["guarded"].bind()(model, images, labels, keys(2), epsilon=0.1)
    assert seen == [False, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images, labels: (2 * images - 1, labels), "must lie in \\[0, 1\\], these go from -"),
        (lambda images, labels: (images.nan_to_num() * float("nan"), labels), "must lie in"),
        (lambda images, labels: (images.flatten(1), labels), "must be floating point"),
        (lambda images, labels: ((255 * images).byte(), labels), "must be floating point"),
        (lambda images, labels: (images, labels.float()), "labels must be integers"),
        (lambda images, labels: (images, labels[:1]), "labels must be integers"),
        (lambda images, labels: (images, labels - 5), "must not be negative"),
        (lambda images, labels: (images[:0], labels[:0]), "labels must be integers"),
    ],
)
def test_a_batch_that_is_no_images_is_refused(change: Any, said: str) -> None:
    model, images, labels = two_layer_problem(count=4)
    images, labels = change(images, labels)
    with pytest.raises(ValueError, match=said):
        pgd(model, images, labels, keys(len(labels)), epsilon=0.1)
