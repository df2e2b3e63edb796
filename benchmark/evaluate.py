"""The batched loop: one attack on one model over examples, batch by batch, each batch a record that can be saved.

One example's record depends on that example alone: its key comes from the seed, its index and the attack; batches are
cut, halved after running out of memory and halved around an example that makes the attack raise, without a trace.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import Proposal
from robustboard.attacks.losses import Head
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import ModelFaultError
from robustboard.benchmark.judge import Clean, CountedModel, Threat, Verdict, first_line, is_out_of_memory, judge

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
    row_share: float = 1.0

    def after(self, count: int, seconds: float) -> None:
        """Take note of a finished batch."""
        if self.automatic and count == self.size:
            if seconds < self.quick_s:
                self.size = min(self.size * 2, self.largest)
            elif seconds > 4 * self.quick_s:
                self.size = max(1, self.size // 2)

    def halve(self, count: int) -> bool:
        """After running out of memory with `count` examples: whether a smaller batch is left to try. Attacks that put several
        rows an example into the model take fewer at once, too."""
        self.size, self.largest = max(1, count // 2), max(1, count // 2)
        self.row_share /= 2
        return count > 1 or self.row_share >= 1 / 64


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
            record = _attack_batch(task, batch, CountedModel(task.network), sizer.row_share)
        except Exception as trouble:
            if not is_out_of_memory(trouble):
                raise
            if not sizer.halve(len(batch)):
                raise ModelFaultError("memory runs out on a single example: try another --device") from trouble
            _free_memory(task.device)
            continue
        sizer.after(len(batch), time.perf_counter() - started)
        waiting = waiting[len(batch) :]
        yield record


def _attack_batch(task: Task, positions: Sequence[int], counted: CountedModel, row_share: float) -> BatchRecord:
    """Attack and judge one batch. An exception of the attack is bisected down to the examples that cause it; the passes of
    the failed tries are counted too."""
    rows = torch.as_tensor(list(positions))
    images = task.examples.images[rows].to(task.device)
    labels = task.examples.labels[rows].to(task.device)
    indices = torch.as_tensor([task.indices[p] for p in positions])
    keys = make_keys(task.seed, indices, task.label).to(task.device)
    if task.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(task.device)
    started, before = time.perf_counter(), (counted.forwards, counted.backwards)
    try:
        # Copies: what an attack does to its inputs cannot touch the judging.
        made = task.attack(counted, images.clone(), labels.clone(), keys, epsilon=task.threat.epsilon, row_share=row_share)
        proposal, failure = _checked(made, len(positions)), ""
    except Exception as trouble:
        if is_out_of_memory(trouble):
            raise
        wasted = BatchRecord([], 0, *_passes(counted, before), time.perf_counter() - started)
        if len(positions) > 1:
            half = len(positions) // 2
            parts = [_attack_batch(task, part, counted, row_share) for part in (positions[:half], positions[half:])]
            return _joined(wasted, *parts)
        proposal = Proposal(images, torch.zeros_like(labels))
        failure = f"the attack raised {type(trouble).__name__}: {first_line(trouble)}"
    passes = _passes(counted, before)
    verdict = judge(task.network, images, labels, proposal.images, task.threat, task.head)
    if failure:
        verdict = replace(verdict, failures=[failure])
    examples = [_record(task, position, at, proposal, verdict) for at, position in enumerate(positions)]
    seconds = time.perf_counter() - started
    has_start = proposal.from_start is not None
    return BatchRecord(examples, len(positions), *passes, seconds, _peak_memory(task.device), has_start)


def _checked(made: object, count: int) -> Proposal:
    """What an attack returned, if it is a proposal for `count` examples; its images are for the judge to check."""
    if not isinstance(made, Proposal):
        raise TypeError(f"it returned {type(made).__name__}, not a Proposal")
    for name in ("iterations", "from_start"):
        values = getattr(made, name)
        if values is not None and (not isinstance(values, Tensor) or values.shape != (count,)):
            raise TypeError(f"its {name} are not one number an example")
    return made


def _passes(counted: CountedModel, before: tuple[int, int]) -> tuple[int, int]:
    return counted.forwards - before[0], counted.backwards - before[1]


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


def _joined(*records: BatchRecord) -> BatchRecord:
    return BatchRecord(
        [example for record in records for example in record.examples],
        sum(record.attacked for record in records),
        sum(record.forwards for record in records),
        sum(record.backwards for record in records),
        sum(record.seconds for record in records),
        max(record.peak_memory_bytes for record in records),
        any(record.has_start for record in records),
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
