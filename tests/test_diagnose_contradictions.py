"""Checks 7 to 12: attacks that contradict one another, by cells made by hand and on models that mislead the stronger one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from diagnosis_problems import COUNT, examined, finding, honest, subject
from handmade import make_cell
from robustboard.benchmark.canaries.models import Around, Noisy, quantised
from robustboard.benchmark.diagnose.record import Finding
from robustboard.benchmark.records import CellResult


def by_cells(number: int, *cells: CellResult) -> Finding:
    return finding(number, examined(*honest(), cells=cells))


def fooled(*positions: int, n: int = 1000) -> list[int]:
    return [1 if position in positions else 0 for position in range(n)]


def cell(attack: str, fallen: Sequence[int], n: int = 1000) -> CellResult:
    return make_cell(attack=attack, correct=[1] * n, fooled=fooled(*fallen, n=n))


@pytest.mark.parametrize(
    ("by_spsa", "verdict", "said"),
    [
        ([1, 2], "pass", "black-box fools 0 that white-box left"),
        ([1, 2, 7], "warn", "black-box fools 1 that white-box left (example 7)"),
        ([1, 7, 9], "warn", "black-box fools 2 that white-box left (examples 7, 9)"),
        ([7, 8, 9], "fail", "black-box fools 3 that white-box left (examples 7, 8, 9)"),
    ],
)
def test_black_box_against_white_box_in_the_cells(by_spsa: list[int], verdict: str, said: str) -> None:
    # 0.2 points of 1,000 are two; what one of several white-box attacks fooled is not left.
    found = by_cells(7, cell("bim", [1]), cell("fgsm", [2]), cell("spsa", by_spsa))
    assert (found.verdict, found.reason, found.looked_at) == (verdict, said, "cells")


def test_a_black_box_attack_on_fewer_examples_is_held_against_those() -> None:
    found = by_cells(7, cell("bim", [1, 900]), cell("spsa", [5], n=10))
    assert found.figures == {"n": 10, "left by white-box": 9, "fooled by black-box": 1}


def test_an_ensemble_of_both_kinds_is_neither() -> None:
    # Its Square would hide what spsa finds, and its APGD is no black box.
    found = by_cells(7, cell("bim", [1]), cell("autoattack", [1, 2, 3, 4]), cell("spsa", [2, 3, 4]))
    assert (found.verdict, found.examples) == ("fail", [2, 3, 4])
    found = by_cells(7, cell("bim", [1]), cell("torchattacks:autoattack", [2, 3, 4]))
    assert (found.verdict, found.looked_at) == ("pass", "model")


def test_what_one_step_leaves_is_no_sign_that_gradients_mislead() -> None:
    found = by_cells(7, cell("fgsm", [1]), cell("spsa", range(100)))
    assert (found.verdict, found.looked_at) == ("pass", "model")
    found = by_cells(7, cell("fgsm", [1]), cell("bim", [1], n=10), cell("spsa", [50, 60, 70], n=200))
    assert (found.verdict, found.looked_at, found.figures["n"]) == ("pass", "cells", 10)


def test_quantised_input_falls_to_an_attack_that_needs_no_gradient() -> None:
    model, images, labels, epsilon = honest()
    found = finding(7, examined(Around(model, before=quantised), images, labels, epsilon))
    assert (found.verdict, found.looked_at) == ("fail", "model")
    # What is within ε of an error is known.
    assert 8 <= len(found.examples) <= COUNT / 2


@pytest.mark.parametrize(
    ("by_fgsm", "by_bim", "verdict"),
    [
        (range(10), range(10), "pass"),
        ([11], range(10), "warn"),
        (range(100, 106), range(10), "fail"),
        (range(11), range(10), "fail"),
    ],
)
def test_one_step_against_many_in_the_cells(by_fgsm: Sequence[int], by_bim: Sequence[int], verdict: str) -> None:
    found = by_cells(8, cell("fgsm", by_fgsm), cell("bim", by_bim))
    assert (found.verdict, found.looked_at) == (verdict, "cells")
    assert found.examples == sorted(set(by_fgsm) - set(by_bim))


def test_a_cell_alone_is_not_compared_with_what_was_run_here() -> None:
    assert by_cells(8, cell("fgsm", range(30))).looked_at == "model"


def test_random_noise_finds_what_masked_gradients_hide() -> None:
    model, images, labels, epsilon = honest()
    found = finding(9, examined(Around(model, before=quantised), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures["draws an example"] == 10_000


def test_a_survivor_that_a_cell_fooled_is_none() -> None:
    model, images, labels, epsilon = honest()
    masked = Around(model, before=quantised)
    everything = make_cell(attack="spsa", correct=[1] * COUNT, fooled=[1] * COUNT)
    examination = examined(masked, images, labels, epsilon, cells=[everything], others=[subject(model)])
    for number in (9, 10, 11):
        assert finding(number, examination).reason == "no example survived"


def test_transfer_from_the_same_model_without_its_mask() -> None:
    model, images, labels, epsilon = honest()
    masked = Around(model, before=quantised)
    found = finding(10, examined(masked, images, labels, epsilon, others=[subject(model, "plain")]))
    assert found.verdict == "fail"
    assert found.figures["fooled by way of plain"] == len(found.examples) >= 8
    assert finding(10, examined(masked, images, labels, epsilon)).verdict == "not applicable"


def stairs(images: Tensor) -> Tensor:
    """x − sin(32πx) / 32π: flat at the multiples of 1/16, and nowhere else."""
    return images - torch.sin(2 * math.pi * 16 * images) / (2 * math.pi * 16)


def test_restarts_leave_the_flat_place_that_every_image_lies_on() -> None:
    model, images, _, epsilon = honest()
    images = (16 * images).round() / 16
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = finding(11, examined(Around(model, before=stairs), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures["fooled by five restarts"] == len(found.examples)


class TwoSides(nn.Module):
    """Falls to who moves the first feature almost by ε and, after that, the second: until then the second has no gradient. Any
    other feature that has moved costs more than the two can win."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, images: Tensor) -> Tensor:
        moved = (images.flatten(1) - 0.5) / (0.95 * self.epsilon)
        first, second = moved[:, 0].clamp(max=1), moved[:, 1].clamp(max=1)
        climbed = torch.where(moved[:, 0] >= 1, 1 + second, first)
        rise = climbed - 1.9 - 100 * moved[:, 2:].abs().sum(1)
        return torch.stack([-rise, rise], 1)


def test_a_way_of_two_sides_takes_twice_the_iterations() -> None:
    images, labels = torch.full((COUNT, 1, 8, 8), 0.5), torch.zeros(COUNT, dtype=torch.int64)
    found = finding(11, examined(TwoSides(0.1), images, labels, 0.1))
    assert found.verdict == "fail"
    assert found.figures == {"survivors": COUNT, "fooled by twice the iterations": COUNT, "fooled by five restarts": 0}


def test_a_randomised_model_falls_within_a_small_radius_and_not_within_a_large_one() -> None:
    model, images, labels, epsilon = honest()
    torch.manual_seed(0)
    found = finding(12, examined(Noisy(model, 1.0), images, labels, epsilon))
    assert found.verdict == "fail"
    assert len(found.examples) == found.figures["after"] <= int(found.figures["before candidates are carried over"])


def test_an_attack_that_is_weaker_at_a_larger_radius_is_excused_by_its_own_candidates() -> None:
    # Waves of period 0.06 in the lead, which steps of ε/30 follow at ε/4 and step over at ε.
    model, images, labels, epsilon = honest()
    found = finding(12, examined(Around(model, before=stairs), images, labels, 4 * epsilon))
    assert found.verdict == "pass"
    assert found.figures["after"] == 0
