"""Checks 15 and 18 to 21: what attacks hand back, by cells made by hand and on models that spoil it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from diagnosis_problems import COUNT, examined, finding, honest, undefended
from handmade import make_cell, with_outcome
from robustboard.benchmark.canaries.models import Around, FiniteAt, Noisy, Raising, constant, quantised
from robustboard.benchmark.diagnose.examination import Examination
from robustboard.benchmark.protocols import load_protocol
from test_diagnose_behaviour import by_batch_statistics


def test_a_randomised_model_loses_its_successes() -> None:
    model, images, labels, epsilon = honest()
    torch.manual_seed(0)
    found = finding(15, examined(Noisy(model, 0.3), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures["watched"] == 12


def test_an_attack_that_ends_in_nan_is_a_failure_with_its_reason() -> None:
    model, images, labels, epsilon = honest()
    found = finding(18, examined(FiniteAt(model, images), images, labels, epsilon))
    assert (found.verdict, found.looked_at) == ("fail", "model")
    assert "fgsm failed on 24: the model's outputs on the candidate are not finite" in found.reason
    assert "the attack raised FloatingPointError: the model's outputs are not finite on the way" in found.reason
    assert found.figures["fgsm"] == COUNT


class RaisingLater(nn.Module):
    """A network that raises wherever a gradient is asked for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.raising = network, Raising(network)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = (self.raising if images.requires_grad else self.network)(images)
        return logits


def test_an_attack_that_raises_is_a_failure_with_its_reason() -> None:
    model, images, labels, epsilon = honest()
    examination = examined(RaisingLater(model), images, labels, epsilon)
    found = finding(18, examination)
    assert found.verdict == "fail"
    assert f"fgsm failed on {COUNT}: the attack raised RuntimeError: the canary raises" in found.reason
    assert finding(6, examination).verdict == "fail"


def test_every_cell_that_an_attack_could_not_do_is_told_with_its_reasons() -> None:
    reasons = {"the candidate is over budget": 2, "the candidate is not finite": 1}
    broken = with_outcome(make_cell(attack="spsa", failures=3), failure_reasons=reasons)
    found = finding(18, examined(*honest(), cells=[make_cell(attack="fgsm"), make_cell(attack="bim"), broken]))
    assert (found.verdict, found.looked_at) == ("fail", "cells")
    assert found.figures == {"fgsm": 0, "bim": 0, "spsa": 3}
    assert found.reason == "spsa failed on 2: the candidate is over budget; spsa failed on 1: the candidate is not finite"


@pytest.mark.parametrize(
    ("attack", "params", "share"),
    [
        ("bim", {"steps": 10, "step": 0.05}, 0.5),
        ("bim", {"steps": 40, "step": 1 / 30}, 4 / 3),
        ("fgsm", {"steps": 10, "alpha": 0.01}, 0.5),  # in pixels, as torchattacks and ART give it; ε is 0.2
        ("spsa", {"iterations": 1, "rate": 0.01}, 0.05),  # one Adam step, torchattacks' default
        ("max_confidence", {"steps": 4, "step": 0.2}, 0.5),  # its steps fall along a line: 0.2 · (4 + 1) / 2
    ],
)
def test_steps_that_together_are_shorter_than_epsilon(attack: str, params: dict[str, float], share: float) -> None:
    found = finding(19, examined(*honest(), cells=[make_cell(attack=attack, params=params)]))
    assert found.figures[f"{attack}, in ε"] == pytest.approx(share, abs=1e-4)
    assert found.verdict == ("pass" if share >= 1 else "fail")
    assert found.looked_at == "cells"


def test_without_cells_the_protocols_own_steps_are_looked_at() -> None:
    examination = examined(*honest(), dataset="digits")
    found = finding(19, replace(examination, protocol=load_protocol("standard")))
    assert (found.verdict, found.looked_at) == ("pass", "protocol")
    assert found.figures["bim, in ε"] == pytest.approx(4 / 3, abs=1e-4)


def masked() -> Examination:
    model, images, labels, epsilon = honest()
    return examined(Around(model, before=quantised), images, labels, epsilon)


def test_candidates_that_are_the_images_themselves() -> None:
    found = finding(20, masked())
    assert found.verdict == "fail"
    assert found.figures["unchanged"] == found.figures["left"]


def test_a_constant_answer_is_told() -> None:
    _, images, _, epsilon = honest()
    found = finding(20, examined(constant(images), images, torch.zeros(COUNT, dtype=torch.int64), epsilon))
    assert found.verdict == "fail"
    assert "the model answers the same to all of them" in found.reason


class Brightness(nn.Module):
    """Sees the mean of an image alone, and never enough of it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lead = 2 - images.flatten(1).mean(1)
        return torch.stack([lead, -lead], 1)


def test_candidates_of_one_value_all_over() -> None:
    _, images, _, epsilon = honest()
    bright = 1 - epsilon * images  # within ε of white, which is where every step leads
    found = finding(20, examined(Brightness(), bright, torch.zeros(COUNT, dtype=torch.int64), epsilon))
    assert (found.verdict, found.examples) == ("fail", list(range(COUNT)))
    assert found.figures == {"left": COUNT, "unchanged": 0, "of one value": COUNT, "constant answer": 1}
    assert f"an image of one value for {COUNT}" in found.reason


def test_verdicts_that_depend_on_the_batch() -> None:
    model, images, labels, epsilon = honest()
    found = finding(21, examined(by_batch_statistics(model), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.examples


def test_successes_that_rounding_undoes_are_reported_and_are_no_failure() -> None:
    _, images, _, _ = honest()
    images = (255 * images).round() / 255
    model = undefended()
    with torch.no_grad():
        labels = model(images).argmax(1)
    # ε is less than half a step of 8 bits: every candidate rounds back to its image.
    found = finding(21, examined(model, images, labels, 1.9e-3))
    assert found.verdict == "pass"
    assert int(found.figures["fooled"]) > 0
    assert found.figures["fooled after rounding to 8 bits"] == 0
