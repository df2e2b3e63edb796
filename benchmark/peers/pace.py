"""How long a network's passes take with nothing else around them: the limit that no attack can beat."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from robustboard.benchmark.peers.measure import Network, Spent

SIZES = (8, 16, 32, 64, 128, 256)
"""The batches of which the cheapest a row is sought, for either kind of pass."""
TRIALS = 5
SHORTEST_S, LONGEST_S = 0.2, 3.0
"""Passes are timed for about as long as what stands beside them, within these bounds."""

S = TypeVar("S", bound=Spent)
Rates = tuple[float, float]
"""Seconds a row of a forward pass without a graph, and of one pass forward and back."""


@dataclass(frozen=True)
class Pace:
    """A network in evaluation mode with the images (n, C, H, W), as many as are cheapest a row, for either kind of pass."""

    module: nn.Module
    forward: Tensor
    both: Tensor

    @staticmethod
    def of(network: Network) -> Pace:
        """The cheapest of `SIZES` for either kind."""
        return Pace(
            network.module,
            _cheapest(lambda images: go_forward(network.module, images), network.images),
            _cheapest(lambda images: go_both_ways(network.module, images), network.images),
        )

    def rates(self, seconds: float) -> Rates:
        """The mean over passes of both kinds, in turn, that take about so many seconds, within bounds."""
        ends = time.perf_counter() + min(max(seconds, SHORTEST_S), LONGEST_S)
        forward = both = 0.0
        rounds = 0
        while not rounds or time.perf_counter() < ends:
            forward += _seconds(lambda: go_forward(self.module, self.forward))
            both += _seconds(lambda: go_both_ways(self.module, self.both))
            rounds += 1
        return forward / (rounds * len(self.forward)), both / (rounds * len(self.both))


@dataclass(frozen=True)
class InTurn(Generic[S]):
    """Runs of the same work, and the rates of passes timed before the first and after each."""

    runs: list[S]
    rates: list[Rates]

    @property
    def seconds(self) -> float:
        """The median of the runs after the first, which pays for what later ones find, or the only one's."""
        return median(run.seconds for run in self.runs[1:] or self.runs)

    @property
    def middle(self) -> Rates:
        """The medians of the rates: who else was on the machine disturbed the passes as he did the runs."""
        return median(forward for forward, _ in self.rates), median(both for _, both in self.rates)

    @property
    def efficiency(self) -> float:
        """The time that the passes alone would take at the best batch size over the time that the work took; 1 is the limit."""
        return alone(self.runs[0], self.middle) / self.seconds


def in_turn(once: Callable[[], S], pace: Pace, patience_s: float = 2.0, most: int = 5) -> InTurn[S]:
    """Up to `most` runs, none begun after `patience_s` of them, with passes before and after each."""
    runs: list[S] = []
    rates = [pace.rates(SHORTEST_S)]
    while not runs or (len(runs) < most and sum(run.seconds for run in runs) < patience_s):
        runs.append(once())
        rates.append(pace.rates(runs[-1].seconds))
    return InTurn(runs, rates)


def alone(spent: Spent, rates: Rates) -> float:
    """Seconds that the passes of a run would take by themselves."""
    forward, both = rates
    backwards = min(spent.backwards, spent.forwards)
    # Further gradients of the same forward pass cost a backward pass each.
    again = spent.backwards - backwards
    return (spent.forwards - backwards) * forward + backwards * both + again * (both - forward)


def go_forward(module: nn.Module, images: Tensor) -> None:
    """One forward pass without a graph."""
    with torch.no_grad():
        module(images)


def go_both_ways(module: nn.Module, images: Tensor) -> None:
    """One forward pass, and the gradient of the summed logits by the images."""
    variable = images.detach().requires_grad_(True)
    torch.autograd.grad(module(variable).sum(), variable)


def _cheapest(once: Callable[[Tensor], None], images: Tensor) -> Tensor:
    batches = [images.repeat(-(-size // len(images)), 1, 1, 1)[:size] for size in SIZES]

    def seconds_a_row(batch: Tensor) -> float:
        once(batch)
        return min(_seconds(lambda: once(batch)) for _ in range(TRIALS)) / len(batch)

    return min(batches, key=seconds_a_row)


def _seconds(once: Callable[[], None]) -> float:
    began = time.perf_counter()
    once()
    return time.perf_counter() - began
