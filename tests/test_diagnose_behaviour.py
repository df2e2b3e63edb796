"""Checks 4, 5, 6 and 22: what a model does before it is attacked, each on a model that does it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attack_problems import LogSoftmax
from diagnosis_problems import examined, finding, honest
from robustboard.benchmark.canaries.models import Around, Noisy
from robustboard.benchmark.diagnose.behaviour import backward_passes_inside
from robustboard.benchmark.diagnose.record import Finding

Build = Callable[[nn.Module], nn.Module]


class Forward(nn.Module):
    """A network with a forward pass of its own."""

    def __init__(self, network: nn.Module, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.pass_through = network, forward

    def forward(self, images: Tensor) -> Tensor:
        return self.pass_through(self.network, images)


def found_in(number: int, build: Build) -> Finding:
    model, images, labels, epsilon = honest()
    torch.manual_seed(0)
    return finding(number, examined(build(model), images, labels, epsilon))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda model: Around(model, after=lambda z: z.softmax(1)), "probabilities"),
        (LogSoftmax, "log-probabilities"),
    ],
)
def test_outputs_that_are_no_logits(build: Build, said: str) -> None:
    found = found_in(4, build)
    assert found.verdict == "fail"
    assert found.figures == {"outputs": said}


def test_a_randomised_layer() -> None:
    found = found_in(5, lambda model: Noisy(model, 1e-3))
    assert found.verdict == "fail"
    assert "from pass to pass" in found.reason
    assert float(found.figures["largest change over five passes"]) > 1e-4


def by_batch_statistics(model: nn.Module) -> nn.Module:
    """BatchNorm as in training mode, whatever mode the network is in."""
    return nn.Sequential(model, nn.BatchNorm1d(2, track_running_stats=False))


def test_batch_norm_in_training_mode() -> None:
    found = found_in(5, by_batch_statistics)
    assert found.verdict == "fail"
    assert "beside other images" in found.reason
    assert found.figures["largest change over five passes"] == 0


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda network, x: network(x.detach()), "no graph"),
        (lambda network, x: torch.from_numpy(network(x).numpy()), "RuntimeError"),
        (lambda network, x: network(x.detach()) + 0 * network.weight.sum().requires_grad_(), "does not reach"),
    ],
)
def test_outputs_without_a_gradient_graph(forward: Callable[[nn.Module, Tensor], Tensor], said: str) -> None:
    found = found_in(6, lambda model: Forward(model, forward))
    assert found.verdict == "fail"
    assert said in found.reason


def purified(network: nn.Module, images: Tensor) -> Tensor:
    """A step up the largest logit before the answer: optimisation at inference time."""
    with torch.enable_grad():
        inner = images.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(inner).square().sum(), inner)
    logits: Tensor = network(images + 0.01 * gradient)
    return logits


def test_autograd_inside_the_forward_pass() -> None:
    found = found_in(6, lambda model: Forward(model, purified))
    assert found.verdict == "fail"
    assert "calls autograd inside" in found.reason


def test_a_plain_pass_takes_nothing_back_that_it_put_by() -> None:
    model, images, _, _ = honest()
    assert backward_passes_inside(nn.Sequential(model, nn.ReLU(), nn.Linear(2, 2)), images) == 0


def into_training(network: nn.Module, images: Tensor) -> Tensor:
    network.train()
    logits: Tensor = network(images)
    return logits


def seeded(network: nn.Module, images: Tensor) -> Tensor:
    torch.manual_seed(7)
    logits: Tensor = network(images)
    return logits + 1e-3 * torch.randn_like(logits)


def with_gradients(network: nn.Module, images: Tensor) -> Tensor:
    """A backward pass that is meant for the image and reaches the parameters, too."""
    with torch.enable_grad():
        network(images.detach().requires_grad_(True)).sum().backward()
    logits: Tensor = network(images)
    return logits


@pytest.mark.parametrize(
    ("forward", "said"), [(into_training, "modes"), (seeded, "torch's random state"), (with_gradients, ".grad")]
)
def test_what_an_attack_on_the_model_leaves_behind(forward: Callable[[nn.Module, Tensor], Tensor], said: str) -> None:
    found = found_in(22, lambda model: Forward(model, forward))
    assert found.verdict == "fail"
    assert said in found.reason


def test_looking_leaves_the_parameters_gradients_as_they_were() -> None:
    model, images, labels, epsilon = honest()
    examination = examined(model, images, labels, epsilon)
    model.weight.grad = torch.ones_like(model.weight)
    assert finding(22, examination).verdict == "pass"
    assert torch.equal(model.weight.grad, torch.ones_like(model.weight))
    assert not model.weight.requires_grad
