"""An implementation under test, and the ways of calling it: judged as in a run, or bare, to see what it leaves behind."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustboard.attacks.attack import AttackCard, Proposal
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.canaries.models import Raising
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.evaluate import ExampleRecord, Task, evaluate_examples, make_sizer
from robustboard.benchmark.judge import CountedModel, Threat, Verdict, judge, look_clean, prepared

CPU = torch.device("cpu")
MODERATE: dict[str, dict[str, Any]] = {
    "cw_cold": {"searches": 5, "steps": 150, "rate": 0.03, "initial_c": 0.1},
    "lbfgs": {"searches": 10, "iterations": 20},
    "max_confidence": {"steps": 20, "step": 1.0},
    "square": {"queries": 1000},
    "square_l2": {"queries": 2000},
    "autoattack": {"queries": 1000},
    "autoattack_l2": {"queries": 1000},
    "torchattacks:square": {"queries": 1000},
    "foolbox:cw": {"searches": 4, "steps": 1000},
    "art:cw": {"searches": 5},
    "adv_lib:cw": {"searches": 4, "steps": 1000},
}
"""Where an attack's defaults would take long on the canaries; all others run at their defaults."""


@dataclass(frozen=True)
class Contender:
    """An attack's card and the settings that it is graded with."""

    card: AttackCard
    settings: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, parameter: str) -> bool:
        """Whether the attack can be told `parameter`, those included that only bound memory or name targets."""
        return parameter in inspect.signature(self.card.function).parameters

    def told(self, **parameters: float) -> Contender:
        """The same with `parameters`, of which those are left out that it does not take."""
        return Contender(self.card, {**self.settings, **{name: value for name, value in parameters.items() if self.takes(name)}})

    def threat(self, epsilon: float) -> Threat:
        """The rules at a budget."""
        return Threat(self.card.norm, epsilon, self.card.aim)

    def records(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        view: Callable[[nn.Module], nn.Module] = lambda network: network,
    ) -> list[ExampleRecord]:
        """What a run would record of images (N, C, H, W), in one batch. The attack sees the network through `view`, the judge
        as it is."""
        bound = self.card.bind(**self.settings)

        def attack(model: nn.Module, *arguments: Any, **parameters: Any) -> Proposal:
            return bound(view(model), *arguments, **parameters)

        data = Dataset("canary", "test", images, labels)
        with prepared(network, CPU) as ready:
            clean = look_clean(ready, images, labels, "softmax")
            threat = self.threat(epsilon)
            task = Task(ready, "softmax", data, range(len(labels)), clean, attack, self.card.name, threat, 0, CPU)
            batches = list(evaluate_examples(task, range(len(labels)), make_sizer(len(labels), CPU)))
        return sorted((record for batch in batches for record in batch.examples), key=lambda record: record.index)

    def candidates(
        self, network: nn.Module, images: Tensor, labels: Tensor, epsilon: float, first: int = 0, **more: Any
    ) -> tuple[Tensor, Verdict]:
        """The proposed images and what the judge says of them; `first` is the index of the first, `more` may hold `targets`.
        Raises what the attack raises."""
        with prepared(network, CPU) as ready:
            made = self._call(self.card.function, CountedModel(ready), images, labels, epsilon, first, more)
            return made.images, judge(ready, images, labels, made.images, self.threat(epsilon), "softmax")

    def leftovers(self, network: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> list[str]:
        """What a bare call, without the care that is taken of libraries here, changed or kept that is not its own: modes,
        `.grad`, random states, the graph; and an exception that is not the canary's."""
        modes = [module.training for module in network.modules()]
        before = _random_states()
        graph, raised = False, ""
        try:
            made = self._call(inspect.unwrap(self.card.function), CountedModel(network), images, labels, epsilon, 0, {})
            graph = made.images.requires_grad
        except Exception as trouble:
            raised = type(trouble).__name__
        after = _random_states()
        checks = {
            "modes": [module.training for module in network.modules()] != modes,
            "parameters' .grad": any(parameter.grad is not None for parameter in network.parameters()),
            **{f"{name}'s random state": before[name] != after[name] for name in before},
            "the autograd graph, which the images hold": graph,
            f"an exception ({raised})": bool(raised) and not isinstance(network, Raising),
        }
        return [what for what, changed in checks.items() if changed]

    def _call(
        self,
        function: Callable[..., Proposal],
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        first: int,
        more: Mapping[str, Any],
    ) -> Proposal:
        told = {"norm": self.card.norm} if self.takes("norm") else {}
        keys = make_keys(0, torch.arange(first, first + len(labels)), self.card.name)
        given = {**self.card.preset, **told, **self.settings, **more}
        return function(model, images.clone(), labels.clone(), keys, epsilon=epsilon, **given)


def settings_note() -> str:
    """What is not graded at its defaults, and how it is."""
    told = [f"{name} ({', '.join(f'{k} {v:g}' for k, v in settings.items())})" for name, settings in MODERATE.items()]
    return f"Not at their defaults, to save time: {', '.join(told)}."


def contender(card: AttackCard) -> Contender:
    """The attack at moderate strength."""
    return Contender(card, MODERATE.get(card.name, {}))


def _random_states() -> dict[str, object]:
    return {"torch": torch.get_rng_state().tolist(), "NumPy": str(np.random.get_state()), "Python": random.getstate()}
