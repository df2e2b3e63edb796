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
from robustboard.benchmark.errors import ModelFaultError

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


class Fickle(nn.Module):
    """A network that answers NaN from the third call on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.network(images)
        return logits if self.calls < 3 else logits * torch.nan


def test_an_answer_that_is_not_a_number_is_another_answer() -> None:
    found = found_in(5, Fickle)
    assert found.verdict == "fail"
    assert found.figures["largest change over five passes"] == "inf"


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


def purified_by_function(network: nn.Module, images: Tensor) -> Tensor:
    """The same by torch.func, which bears nobody watching."""
    gradient = torch.func.grad(lambda inner: network(inner).square().sum())(images.detach())
    logits: Tensor = network(images + 0.01 * gradient)
    return logits


@pytest.mark.parametrize("forward", [purified, purified_by_function])
def test_gradients_inside_the_forward_pass(forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
    found = found_in(6, lambda model: Forward(model, forward))
    assert found.verdict == "fail"
    assert "calls autograd inside" in found.reason


@pytest.mark.parametrize("trouble", [TypeError("no gradients here"), KeyError("x")])
def test_whatever_the_model_raises_where_a_gradient_is_asked_for_there_is_none(trouble: Exception) -> None:
    def refusing(network: nn.Module, images: Tensor) -> Tensor:
        if images.requires_grad:
            raise trouble
        logits: Tensor = network(images)
        return logits

    found = found_in(6, lambda model: Forward(model, refusing))
    assert found.verdict == "fail"
    assert type(trouble).__name__ in found.reason


def test_memory_that_runs_out_is_no_property_of_the_model() -> None:
    def hungry(network: nn.Module, images: Tensor) -> Tensor:
        if images.requires_grad:
            raise torch.OutOfMemoryError("out of memory")
        logits: Tensor = network(images)
        return logits

    for number in (1, 6):
        with pytest.raises(ModelFaultError, match=f"memory runs out at check {number}"):
            found_in(number, lambda model: Forward(model, hungry))


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
