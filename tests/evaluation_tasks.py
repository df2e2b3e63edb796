"""Tasks on tensors in memory, attacks that do what they are told and models that answer what they are told."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from conftest import Linear
from robustboard.attacks.attack import Proposal
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.evaluate import BatchSizer, ExampleRecord, Task, evaluate_examples
from robustboard.benchmark.judge import Threat, look_clean

EPSILON = 0.1


def task_for(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Callable[..., Proposal], threat: Threat | None = None
) -> Task:
    """A task on tensors in memory."""
    threat = threat or Threat("linf", EPSILON, "budget")
    clean = look_clean(model, images, labels, "softmax")
    examples = Dataset("memory", "test", images, labels)
    return Task(model, "softmax", examples, range(len(labels)), clean, attack, "test", threat, seed=0, device=torch.device("cpu"))


def records(task: Task, size: int = 8) -> list[ExampleRecord]:
    """The records of all examples, in order."""
    batches = evaluate_examples(task, range(len(task.indices)), BatchSizer(size, automatic=False))
    return sorted((example for batch in batches for example in batch.examples), key=lambda example: example.index)


def to_edge(images: Tensor, labels: Tensor, model: Linear, by: float) -> Tensor:
    """A step of `by` along the sign that lowers the label's lead in a two-class linear model."""
    towards = (model.weight[1 - labels] - model.weight[labels]).sign().reshape(images.shape)
    return (images + by * towards).detach()


def proposes(make: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Proposal]:
    """An attack that returns whatever `make` makes of images and labels, and claims one iteration."""

    def attack(
        model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0
    ) -> Proposal:
        return Proposal(make(images, labels), torch.ones_like(labels))

    return attack


class Answers(nn.Module):
    """A model that answers whatever it is told to."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> object:
        return self.answer(images)
