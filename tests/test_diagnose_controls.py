"""Checks 13, 14 and 23: answers that are known beforehand, and models and cells that do not give them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diagnosis_problems import COUNT, examined, finding, honest, subject, undefended
from handmade import make_cell
from robustboard.benchmark.canaries.models import Around, Noisy, quantised
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult
from test_diagnose_behaviour import by_batch_statistics


def test_an_unbounded_attack_that_leaves_examples() -> None:
    model, images, labels, epsilon = honest()
    found = finding(13, examined(Around(model, before=quantised), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures["left at ε = 0.5"] == found.figures["left at ε = 1"] == len(found.examples)
    assert len(found.examples) > COUNT / 2 + 3 * (COUNT / 4) ** 0.5


def minimum(distance: float | None, attack: str = "cw") -> CellResult:
    """An L2 attack on MNIST, with this median distance; None: never fooled."""
    cell = make_cell(attack=attack, dataset="mnist", fooled=(1,) * 20)
    distances = [1.0] * 5 + [distance] * 10 + [20.0 if distance else None] * 5
    return replace(cell, attack=replace(cell.attack, aim="minimum"), per_example=replace(cell.per_example, distance=distances))


@pytest.mark.parametrize(("distance", "verdict"), [(1.5, "pass"), (8.99, "pass"), (9.0, "fail"), (None, "fail")])
def test_a_median_distance_that_no_mnist_model_can_have(distance: float | None, verdict: str) -> None:
    assert finding(13, examined(*honest(), cells=[minimum(distance)], dataset="mnist")).verdict == verdict
    # Elsewhere any distance may be true, but never to be fooled is not.
    elsewhere = finding(13, examined(*honest(), cells=[minimum(distance)])).verdict
    assert elsewhere == ("pass" if distance else "fail")


def test_one_attack_that_gets_near_shows_that_another_is_at_fault() -> None:
    weak, strong = minimum(None, "torchattacks:cw"), minimum(1.5)
    assert finding(13, examined(*honest(), cells=[weak, strong], dataset="mnist")).verdict == "pass"
    assert finding(13, examined(*honest(), cells=[weak], dataset="mnist")).verdict == "fail"


def test_a_file_of_candidates_that_fools_few_says_nothing_about_the_model() -> None:
    cell = minimum(None)
    cell = replace(cell, attack=replace(cell.attack, name="adversarials_theirs_l2"))
    assert finding(13, examined(*honest(), cells=[cell], dataset="mnist")).verdict == "pass"


def test_without_a_budget_a_randomised_model_is_fooled() -> None:
    model, images, labels, epsilon = honest()
    torch.manual_seed(1)
    found = finding(14, examined(Noisy(model, 1.0), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.examples


def test_without_a_budget_a_batch_dependent_model_is_fooled() -> None:
    model, images, labels, epsilon = honest()
    network = by_batch_statistics(model)
    with torch.no_grad():
        # Half of the labels are wrong for it: without those the batch is another.
        labels = torch.where(images.flatten(1).mean(1) > images.mean(), labels, 1 - labels)
    assert finding(14, examined(network, images, labels, epsilon)).verdict == "fail"


def test_a_control_that_withstands_shows_a_broken_attack() -> None:
    model, images, labels, epsilon = honest()
    control = subject(Around(undefended(), before=quantised), "relu")
    found = finding(23, examined(model, images, labels, epsilon, control=control))
    assert (found.verdict, found.looked_at) == ("fail", "model")
    assert "on the undefended relu" in found.reason


@pytest.mark.parametrize(("share", "verdict"), [(1.0, "fail"), (0.99, "not applicable")])
def test_within_less_than_the_standard_radius_an_undefended_model_may_stand(share: float, verdict: str) -> None:
    model, images, labels, _ = honest()
    epsilon = share * load_protocol("standard").plan("digits").linf
    control = subject(Around(undefended(), before=quantised), "relu")
    assert finding(23, examined(model, images, labels, epsilon, control=control, dataset="digits")).verdict == verdict


@pytest.mark.parametrize(("left", "verdict"), [(0, "pass"), (10, "pass"), (11, "fail")])
def test_the_controls_own_cell_is_taken_where_there_is_one(left: int, verdict: str) -> None:
    fooled = [0] * left + [1] * (1000 - left)
    cell = make_cell(attack="bim", correct=[1] * 1000, fooled=fooled)
    found = finding(23, examined(*honest(), control=subject(undefended(), "relu"), control_cell=cell))
    assert (found.verdict, found.looked_at) == (verdict, "cells")


def test_without_an_undefended_model_there_is_no_control() -> None:
    assert finding(23, examined(*honest())).verdict == "not applicable"
