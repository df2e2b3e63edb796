"""The batched loop: one attack on one model over examples, batch by batch, each batch a record that can be saved.

One example's record depends on that example alone: its key comes from the seed, its index and the attack; batches are
cut, halved after running out of memory and halved around an example that makes the attack raise, without a trace.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from robustboard.attacks.attack import Proposal
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.judge import Clean, CountedModel, Head, Threat, Verdict, first_line, is_out_of_memory, judge
from torch import nn

BoundAttack = Callable[..., Proposal]


@dataclass(frozen=True)
class ExampleRecord:
    """What became of one example. `distance` and `confidence` are None where no adversarial example was found."""

    index: int
    correct_clean: bool
    clean_confidence: float
    fooled: bool = False
    found: bool = False
    distance: float | None = None
    confidence: float | None = None
    fooled_rounded: bool = False
    failure: str = ""
    iterations: int = 0
    from_start: bool = False


@dataclass(frozen=True)
class BatchRecord:
    """A finished batch and what it cost. `attacked` counts the examples that the attack was run on."""

    examples: list[ExampleRecord]
    attacked: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    has_start: bool = False


@dataclass
class BatchSizer:
    """How many examples to take next. "auto" starts at 32, doubles while a batch is quick, and always halves on running
    out of memory; a batch that is lost to a kill then costs under a minute. Processors gain nothing beyond `largest` 128,
    where activations leave the cache."""

    size: int = 32
    automatic: bool = True
    largest: int = 128
    quick_s: float = 12.0
    used: int = field(default=0)

    def after(self, count: int, seconds: float) -> None:
        """Take note of a finished batch."""
        self.used = max(self.used, count)
        if self.automatic and count == self.size:
            if seconds < self.quick_s:
                self.size = min(self.size * 2, self.largest)
            elif seconds > 4 * self.quick_s:
                self.size = max(1, self.size // 2)

    def halve(self, count: int) -> bool:
        """After running out of memory with `count` examples: whether a smaller batch is left to try."""
        self.size, self.largest = max(1, count // 2), max(1, count // 2)
        return count > 1


def make_sizer(batch_size: int | None, device: torch.device) -> BatchSizer:
    """A fixed size, or, for None, an automatic one."""
    if batch_size is not None:
        return BatchSizer(batch_size, automatic=False)
    return BatchSizer(largest=4096) if device.type == "cuda" else BatchSizer()


@dataclass(frozen=True)
class Task:
    """One attack on one model over `examples`, of which `indices` are the places in the split; the clean pass is done."""

    network: nn.Module
    head: Head
    examples: Dataset
    indices: Sequence[int]
    clean: Clean
    attack: BoundAttack
    label: str
    threat: Threat
    seed: int
    device: torch.device


def evaluate_examples(task: Task, positions: Sequence[int], sizer: BatchSizer) -> Iterator[BatchRecord]:
    """Records of the examples at `positions` of the task's examples, in batches. Clean errors are not attacked (except
    for the aim "confidence") and come first."""
    attacks_errors = task.threat.aim == "confidence"
    spared = [p for p in positions if not (attacks_errors or bool(task.clean.correct[p]))]
    if spared:
        yield BatchRecord([_clean_error(task, position) for position in spared])
    skipped = set(spared)
    waiting = [p for p in positions if p not in skipped]
    while waiting:
        batch = waiting[: sizer.size]
        started = time.perf_counter()
        try:
            record = _attack_batch(task, batch)
        except Exception as trouble:
            if not is_out_of_memory(trouble) or not sizer.halve(len(batch)):
                raise
            _free_memory(task.device)
            continue
        sizer.after(len(batch), time.perf_counter() - started)
        waiting = waiting[len(batch) :]
        yield record


def _attack_batch(task: Task, positions: Sequence[int]) -> BatchRecord:
    """Attack and judge one batch. An exception of the attack is bisected down to the examples that cause it."""
    rows = torch.as_tensor(list(positions))
    images = task.examples.images[rows].to(task.device)
    labels = task.examples.labels[rows].to(task.device)
    indices = torch.as_tensor([task.indices[p] for p in positions])
    keys = make_keys(task.seed, indices, task.label).to(task.device)
    counted = CountedModel(task.network)
    if task.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(task.device)
    started = time.perf_counter()
    try:
        # Copies: what an attack does to its inputs cannot touch the judging.
        proposal = task.attack(counted, images.clone(), labels.clone(), keys, epsilon=task.threat.epsilon)
        failure = ""
    except Exception as trouble:
        if is_out_of_memory(trouble):
            raise
        if len(positions) > 1:
            half = len(positions) // 2
            return _joined(_attack_batch(task, positions[:half]), _attack_batch(task, positions[half:]))
        proposal = Proposal(images, torch.zeros_like(labels))
        failure = f"the attack raised {type(trouble).__name__}: {first_line(trouble)}"
    verdict = judge(task.network, images, labels, proposal.images, task.threat, task.head)
    if failure:
        verdict.failures[:] = [failure]
    examples = [_record(task, position, at, proposal, verdict) for at, position in enumerate(positions)]
    seconds = time.perf_counter() - started
    has_start = proposal.from_start is not None
    return BatchRecord(
        examples, len(positions), counted.forwards, counted.backwards, seconds, _peak_memory(task.device), has_start
    )


def _record(task: Task, position: int, at: int, proposal: Proposal, verdict: Verdict) -> ExampleRecord:
    adversarial, failure = bool(verdict.adversarial[at]), verdict.failures[at]
    correct = bool(task.clean.correct[position])
    distance = float(verdict.distance[at])
    # A failed candidate was replaced by the clean image: it can only be wrong where the clean image is.
    counts = adversarial and (not failure or not correct)
    within = distance <= task.threat.epsilon + 1e-6
    return ExampleRecord(
        index=int(task.indices[position]),
        correct_clean=correct,
        clean_confidence=float(task.clean.confidence[position]),
        fooled=counts and within,
        found=counts,
        distance=distance if counts else None,
        confidence=float(verdict.confidence[at]) if counts else None,
        fooled_rounded=counts and within and bool(verdict.adversarial_rounded[at]),
        failure=failure,
        iterations=int(proposal.iterations[at]),
        from_start=counts and proposal.from_start is not None and bool(proposal.from_start[at]),
    )


def _clean_error(task: Task, position: int) -> ExampleRecord:
    return ExampleRecord(int(task.indices[position]), False, float(task.clean.confidence[position]), distance=0.0)


def _joined(first: BatchRecord, second: BatchRecord) -> BatchRecord:
    return BatchRecord(
        first.examples + second.examples,
        first.attacked + second.attacked,
        first.forwards + second.forwards,
        first.backwards + second.backwards,
        first.seconds + second.seconds,
        max(first.peak_memory_bytes, second.peak_memory_bytes),
        first.has_start or second.has_start,
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
