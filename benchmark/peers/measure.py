"""One side of a contest on one network: how long, how strong, how many passes, and how long those passes must take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import AttackCard, Proposal
from robustboard.attacks.libraries.library import all_cards
from robustboard.attacks.losses import Head
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.judge import CountedModel, Threat, Verdict, judge
from robustboard.benchmark.peers.contests import Measure, Side

BATCH_SIZES = (32, 128)
"""Each side takes the one it is faster with."""


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode with examples (n, C, H, W) and labels (n,) that it has right."""

    name: str
    head: Head
    module: nn.Module
    images: Tensor
    labels: Tensor
    classes: int


@dataclass(frozen=True)
class Spent:
    """Seconds of one run of an attack, and the rows that went forward and back."""

    seconds: float
    forwards: int
    backwards: int


@dataclass(frozen=True)
class Timing(Spent):
    """One run of a side, and what the judge made of the candidates."""

    verdict: Verdict


def timed(side: Side, network: Network, epsilon: float, batch_size: int) -> Timing:
    """Run a side over all examples in batches and judge what it proposes; the judging is not timed."""
    card = all_cards()[side.attack]
    counted = CountedModel(network.module)
    candidates, seconds = [], 0.0
    for start in range(0, len(network.images), batch_size):
        part = slice(start, start + batch_size)
        images, labels = network.images[part], network.labels[part]
        keys = make_keys(0, torch.arange(len(network.images))[part], "peers")
        aims = (labels + 1) % network.classes if side.next_class else None
        attack = _callable(card, side, network.head, aims)
        began = time.perf_counter()
        proposal = attack(counted, images.clone(), labels, keys, epsilon)
        seconds += time.perf_counter() - began
        candidates.append(proposal.images.detach())
    threat = Threat(card.norm, epsilon, card.aim)
    verdict = judge(network.module, network.images, network.labels, torch.cat(candidates), threat, network.head)
    return Timing(seconds, counted.forwards, counted.backwards, verdict)


def strength(timing: Timing, measure: Measure, longest: float) -> float:
    """What the measure says about a run; distances are cut at `longest`, which also stands for "none found"."""
    verdict = timing.verdict
    whole = torch.tensor([not failure for failure in verdict.failures])
    fooled = verdict.adversarial & whole
    if measure == "mean distance":
        return float(torch.where(fooled, verdict.distance, longest).clamp_max(longest).mean())
    if measure == "failure at t = 0.5":
        return float((fooled & (verdict.confidence > 0.5)).float().mean())
    share = float(fooled.float().mean())
    return share if measure == "found" else 1 - share


def best_batch_size(side: Side, network: Network, epsilon: float) -> int:
    """The size of `BATCH_SIZES`, none beyond the number of examples, at which a side is fastest; the largest for one that
    takes its images one at a time whatever the batch."""
    if side.one_at_a_time:
        return len(network.images)
    sizes = sorted({min(size, len(network.images)) for size in BATCH_SIZES})
    if len(sizes) == 1:
        return sizes[0]
    return min(sizes, key=lambda size: timed(side, network, epsilon, size).seconds)


def pass_seconds(network: Network, sizes: Sequence[int] = (8, 16, 32, 64, 128, 256)) -> tuple[float, float]:
    """Seconds a row of one forward pass without a graph, and of one forward and backward pass, at the best batch size."""

    def forward(images: Tensor) -> None:
        with torch.no_grad():
            network.module(images)

    def both(images: Tensor) -> None:
        variable = images.detach().requires_grad_(True)
        torch.autograd.grad(network.module(variable).sum(), variable)

    return _per_row(forward, network.images, sizes), _per_row(both, network.images, sizes)


def efficiency(spent: Spent, seconds: tuple[float, float]) -> float:
    """The time that the passes alone would take at the best batch size over the time that the attack took."""
    forward, both = seconds
    backwards = min(spent.backwards, spent.forwards)
    # Further gradients of the same forward pass cost a backward pass each.
    again = spent.backwards - backwards
    floor = (spent.forwards - backwards) * forward + backwards * both + again * (both - forward)
    return floor / spent.seconds


def fastest(once: Callable[[], Spent], first: Spent | None = None, patience_s: float = 2.0, most: int = 5) -> Spent:
    """The fastest of several runs, which others on the machine disturbed least: `most` of them, but none begun after
    `patience_s`. `first` is one that was made before."""
    runs = [once() if first is None else first]
    while len(runs) < most and sum(run.seconds for run in runs) < patience_s:
        runs.append(once())
    return min(runs, key=lambda run: run.seconds)


def _per_row(once: Callable[[Tensor], None], images: Tensor, sizes: Sequence[int]) -> float:
    best = float("inf")
    for size in sizes:
        batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size]
        once(batch)
        rounds = max(3, 512 // size)
        began = time.perf_counter()
        for _ in range(rounds):
            once(batch)
        best = min(best, (time.perf_counter() - began) / (rounds * size))
    return best


def _callable(
    card: AttackCard, side: Side, head: Head, targets: Tensor | None
) -> Callable[[nn.Module, Tensor, Tensor, Tensor, float], Proposal]:
    bound = card.bind(head, **side.parameters)

    def attack(model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, epsilon: float) -> Proposal:
        if targets is None:
            return bound(model, images, labels, keys, epsilon=epsilon)
        return card.function(model, images, labels, keys, epsilon=epsilon, targets=targets, **side.parameters)

    return attack
