"""Checks 1, 2, 3, 16 and 17: gradients that are zero, flat or wild, each on a model that has them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attack_problems import Wrapped
from diagnosis_problems import COUNT, examined, finding, honest
from robustboard.benchmark.canaries.models import Around, quantised


class Wavy(nn.Module):
    """Two classes whose lead has fast waves of a given height: the gradient points anywhere (gradient shattering)."""

    def __init__(self, network: nn.Module, height: float, frequency: float) -> None:
        super().__init__()
        self.network, self.height, self.frequency = network, height, frequency

    def forward(self, images: Tensor) -> Tensor:
        wave = self.height * torch.sin(self.frequency * images.flatten(1).sum(1, keepdim=True))
        logits: Tensor = self.network(images)
        return logits + wave * torch.tensor([1.0, -1.0])


def test_quantised_input_has_zero_gradients_by_both_losses() -> None:
    model, images, labels, epsilon = honest()
    found = finding(1, examined(Around(model, before=quantised), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures == {"zero by margin": 1.0, "zero by cross_entropy": 1.0}
    assert found.examples == list(range(COUNT))


def test_a_saturated_softmax_has_zero_gradients_by_cross_entropy_alone() -> None:
    model, images, labels, epsilon = honest()
    examination = examined(Wrapped(model, 300.0), images, labels, epsilon)
    found = finding(1, examination)
    assert found.verdict == "fail"
    assert found.figures["zero by margin"] == 0
    assert float(found.figures["zero by cross_entropy"]) > 0.8
    losses = finding(2, examination)
    assert losses.verdict == "fail"
    assert float(losses.figures["cross-entropy"]) > float(losses.figures["margin"]) == 0.5


def test_a_saturated_softmax_shows_when_its_logits_are_scaled_down() -> None:
    model, images, labels, epsilon = honest()
    found = finding(3, examined(Wrapped(model, 300.0), images, labels, epsilon))
    assert found.verdict == "fail"
    assert "× 0.1 by cross-entropy" in found.reason
    # The margin has no scale: by it nothing changes, and larger scales flatten only what is not looked at.
    assert {found.figures[name] for name in ("unchanged", "× 0.1", "× 10", "× 100", "-100", "+100")} == {0.5}


def test_logits_that_a_shift_drowns_in_rounding_are_found() -> None:
    model, images, labels, epsilon = honest()
    found = finding(3, examined(Wrapped(model, 1e-6), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures["-100"] != found.figures["unchanged"]


def test_scaling_an_honest_models_logits_up_is_not_held_against_it() -> None:
    # By cross-entropy a hundredfold of these logits leaves more: the loss' fault, at a scale that the model does not have.
    model, images, labels, epsilon = honest()
    found = finding(3, examined(Wrapped(model, 3.0), images, labels, epsilon))
    assert found.verdict == "pass"
    assert float(found.figures["× 100 by cross-entropy"]) > float(found.figures["unchanged by cross-entropy"])


def test_a_climb_that_does_not_rise_is_found() -> None:
    model, images, labels, epsilon = honest()
    found = finding(16, examined(Around(model, before=quantised), images, labels, epsilon))
    assert found.verdict == "fail"
    assert found.figures["mean rise of the margin"] == 0
    assert len(found.examples) == found.figures["left"]


def test_a_margin_with_fast_waves_is_unstable() -> None:
    model, images, labels, epsilon = honest()
    found = finding(17, examined(Wavy(model, 0.5, 200.0), images, labels, epsilon))
    assert found.verdict == "fail"
    assert float(found.figures["mean relative change"]) > 0.1


class Breaking(nn.Module):
    """A network that answers NaN once it is told to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.broken = network, False

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits * torch.nan if self.broken else logits


def test_a_margin_that_is_not_a_number_is_not_stable() -> None:
    model, images, labels, epsilon = honest()
    network = Breaking(model)
    examination = examined(network, images, labels, epsilon)
    assert len(examination.left_by_bim.rows)
    network.broken = True
    found = finding(17, examination)
    assert (found.verdict, found.figures["mean relative change"]) == ("fail", "nan")


def test_shattered_gradients_make_bim_weaker_than_what_needs_none() -> None:
    model, images, labels, epsilon = honest()
    examination = examined(Wavy(model, 0.1, 100.0), images, labels, epsilon)
    assert {number: finding(number, examination).verdict for number in (7, 8, 11)} == {7: "fail", 8: "fail", 11: "fail"}


def test_where_nothing_is_left_there_is_nothing_to_climb() -> None:
    model, images, labels, _ = honest()
    examination = examined(model, images, labels, 0.5)
    for number in (16, 17):
        found = finding(number, examination)
        assert (found.verdict, found.reason) == ("not applicable", "BIM left no example")
