"""One side of a contest on one network: how long, how strong, how many passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import AttackCard, Proposal
from robustboard.attacks.libraries.library import all_cards
from robustboard.attacks.losses import Head
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.judge import CountedModel, Threat, Verdict, ask, judge
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
    """One run of a side, what the judge made of the candidates, and which of them (N,) are the errors that were sought."""

    verdict: Verdict
    reached: Tensor


def timed(side: Side, network: Network, epsilon: float, batch_size: int) -> Timing:
    """Run a side over all examples in batches and judge what it proposes; the judging is not timed. A library meets the model
    as it is: ours fills up small batches, which is ours to pay for."""
    card = all_cards()[side.attack]
    counted = CountedModel(network.module, filled=":" not in side.attack)
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
    made = torch.cat(candidates)
    verdict = judge(network.module, network.images, network.labels, made, threat, network.head)
    reached = verdict.adversarial & torch.tensor([not failure for failure in verdict.failures])
    if side.next_class:
        reached &= ask(network.module, made).argmax(1) == (network.labels + 1) % network.classes
    return Timing(seconds, counted.forwards, counted.backwards, verdict, reached)


def strength(timing: Timing, measure: Measure, longest: float) -> float:
    """What the measure says about a run; distances are cut at `longest`, which also stands for "none found"."""
    verdict, reached = timing.verdict, timing.reached
    if measure == "mean distance":
        return float(torch.where(reached, verdict.distance, longest).clamp_max(longest).mean())
    if measure == "failure at t = 0.5":
        return float((reached & (verdict.confidence > 0.5)).float().mean())
    share = float(reached.float().mean())
    return share if measure == "targets reached" else 1 - share


def best_batch_size(side: Side, network: Network, epsilon: float) -> int:
    """The size of `BATCH_SIZES`, none beyond the number of examples, at which a side is fastest; the largest for one that
    takes its images one at a time whatever the batch."""
    if side.one_at_a_time:
        return len(network.images)
    sizes = sorted({min(size, len(network.images)) for size in BATCH_SIZES})
    if len(sizes) == 1:
        return sizes[0]
    return min(sizes, key=lambda size: timed(side, network, epsilon, size).seconds)


def _callable(
    card: AttackCard, side: Side, head: Head, targets: Tensor | None
) -> Callable[[nn.Module, Tensor, Tensor, Tensor, float], Proposal]:
    bound = card.bind(head, **side.parameters)

    def attack(model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, epsilon: float) -> Proposal:
        if targets is None:
            return bound(model, images, labels, keys, epsilon=epsilon)
        return card.function(model, images, labels, keys, epsilon=epsilon, targets=targets, **side.parameters)

    return attack
