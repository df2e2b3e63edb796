"""The batched loop: one attack on one model over examples, batch by batch, each batch a record that can be saved.

One example's record depends on that example alone: its key comes from the seed, its index and the attack; batches are
cut, halved after running out of memory and halved around an example that makes the attack raise, without a trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import Proposal
from robustboard.attacks.losses import Head
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.candidates import pack
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import ModelFaultError, first_line
from robustboard.benchmark.judge import TOLERANCE, Clean, CountedModel, Threat, Verdict, is_out_of_memory, judge, wrong_shape
from robustboard.benchmark.memory import forget_peak, peak_of

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
    candidate: str = ""
    """What fooled the model, packed by `candidates.pack`, where candidates are kept."""
    taken_over: str = ""
    """For a worst case: the attack whose cell had fooled the example already."""


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


def lacks_candidates(record: BatchRecord) -> bool:
    """Whether the batch is of a run that kept none, and there was something to keep."""
    return any(example.found and not example.candidate for example in record.examples)


@dataclass
class BatchSizer:
    """How many examples to take next. "auto" doubles while a batch is quick, and beyond that, up to four times as long, as long
    as it pays: where steps cost the same however many examples take them, small batches would take many times as long. It
    halves where a batch is slow and half of it is no dearer an example, and always on running out of memory: a batch that is
    lost to a kill then costs about a minute, or a twentieth of the work that is left. Processors gain little beyond `largest`
    128 for the memory it takes."""

    size: int = 32
    automatic: bool = True
    largest: int = 128
    quick_s: float = 12.0
    row_share: float = 1.0
    known: dict[int, float] = field(default_factory=dict)
    """Seconds an example in the last batch of each size."""

    def after(self, count: int, seconds: float, left: int = 0) -> None:
        """Take note of a finished batch; so many examples are `left`."""
        if not self.automatic or count != self.size:
            return
        self.known[count] = seconds / count
        quick_s = max(self.quick_s, left * seconds / count / 80)
        half, double, slow = max(1, count // 2), min(2 * count, self.largest), seconds > 4 * quick_s
        promising = seconds < quick_s or (not slow and self._pays(half, count, untried=True))
        if self._pays(count, double, untried=promising):
            self.size = double
        elif slow and not self._pays(half, count, untried=False):
            self.size = half

    def _pays(self, few: int, many: int, *, untried: bool) -> bool:
        """Whether an example is clearly cheaper in a batch of `many` than in one of `few`; `untried` where one is not known."""
        if few not in self.known or many not in self.known:
            return untried
        return self.known[many] * 1.3 < self.known[few]

    def halve(self, count: int) -> bool:
        """After running out of memory with `count` examples: whether a smaller batch is left to try. Attacks that put several
        rows an example into the model take fewer at once, too."""
        self.size, self.largest = max(1, count // 2), max(1, count // 2)
        self.row_share /= 2
        return count > 1 or self.row_share >= 1 / 64


def make_sizer(batch_size: int | None, device: torch.device, first: int = 32) -> BatchSizer:
    """A fixed size, or, for None, an automatic one that begins with `first`; on a GPU, where a step of few examples takes as
    long as one of many, with sixteen times as many."""
    if batch_size is not None:
        return BatchSizer(batch_size, automatic=False)
    return BatchSizer(16 * first, largest=4096) if device.type == "cuda" else BatchSizer(first)


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
    keep_candidates: bool = False


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
        waiting = waiting[len(batch) :]
        sizer.after(len(batch), time.perf_counter() - started, len(waiting))
        yield record


def _attack_batch(task: Task, positions: Sequence[int], counted: CountedModel, row_share: float) -> BatchRecord:
    """Attack and judge one batch."""
    rows = torch.as_tensor(list(positions))
    images = task.examples.images[rows].to(task.device)
    labels = task.examples.labels[rows].to(task.device)
    indices = torch.as_tensor([task.indices[p] for p in positions])
    keys = make_keys(task.seed, indices, task.label).to(task.device)
    forget_peak(task.device)
    started = time.perf_counter()
    proposal = propose(task.attack, counted, images, labels, keys, task.threat.epsilon, row_share)
    forwards, backwards = counted.forwards, counted.backwards
    verdict = judge(task.network, images, labels, proposal.images, task.threat, task.head)
    if proposal.failures:
        broken = zip(proposal.failures, verdict.failures, strict=True)
        verdict = replace(verdict, failures=[admitted or seen for admitted, seen in broken])
    examples = [_record(task, position, at, proposal, verdict) for at, position in enumerate(positions)]
    seconds = time.perf_counter() - started
    if task.keep_candidates:
        packed = pack(task.network, images, labels, verdict, task.threat, task.head)
        examples = [
            replace(example, candidate=text if example.found else "") for example, text in zip(examples, packed, strict=True)
        ]
    has_start = proposal.from_start is not None
    return BatchRecord(examples, len(positions), forwards, backwards, seconds, peak_of(task.device), has_start)


def propose(
    attack: BoundAttack, model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, epsilon: float, row_share: float
) -> Proposal:
    """What an attack proposes for a batch. An exception is bisected down to the examples that cause it: for each of those the
    image itself is proposed, with the failure. Raises only when memory runs out."""
    try:
        # Copies: what an attack does to its inputs cannot touch the judging.
        return _checked(attack(model, images.clone(), labels.clone(), keys, epsilon=epsilon, row_share=row_share), len(images))
    except Exception as trouble:
        if is_out_of_memory(trouble):
            raise
        if len(images) == 1:
            failure = f"the attack raised {type(trouble).__name__}: {first_line(trouble)}"
            return Proposal(images, torch.zeros_like(labels), failures=[failure])
    half = len(images) // 2
    parts = [slice(half), slice(half, None)]
    return _joined(
        *(_fitting(propose(attack, model, images[p], labels[p], keys[p], epsilon, row_share), images[p]) for p in parts)
    )


def _fitting(proposal: Proposal, images: Tensor) -> Proposal:
    """The proposal, if its candidates are like `images`; else the images themselves, each with the failure."""
    made: object = proposal.images
    if isinstance(made, Tensor) and made.shape == images.shape:
        return proposal
    return replace(proposal, images=images, failures=[wrong_shape(made, images)] * len(images))


def _joined(first: Proposal, second: Proposal) -> Proposal:
    """The proposals for two halves of a batch as one; of a half that failed no candidate came from a start."""
    halves = (first, second)
    starts = [torch.zeros_like(h.iterations, dtype=torch.bool) if h.from_start is None else h.from_start for h in halves]
    has_start = any(h.from_start is not None for h in halves)
    return Proposal(
        torch.cat([h.images.detach().to(first.images) for h in halves]),
        torch.cat([h.iterations for h in halves]),
        torch.cat(starts) if has_start else None,
        [text for h in halves for text in (h.failures or [""] * len(h.iterations))],
    )


def _checked(made: object, count: int) -> Proposal:
    """What an attack returned, if it is a proposal for `count` examples; its images are for the judge to check."""
    if not isinstance(made, Proposal):
        raise TypeError(f"it returned {type(made).__name__}, not a Proposal")
    for name in ("iterations", "from_start"):
        values = getattr(made, name)
        if values is not None and (not isinstance(values, Tensor) or values.shape != (count,)):
            raise TypeError(f"its {name} are not one number an example")
    if len(made.failures) not in (0, count):
        raise TypeError(f"it admits {len(made.failures)} failures for {count} examples")
    return made


def _record(task: Task, position: int, at: int, proposal: Proposal, verdict: Verdict) -> ExampleRecord:
    adversarial, failure = bool(verdict.adversarial[at]), verdict.failures[at]
    correct = bool(task.clean.correct[position])
    distance = float(verdict.distance[at])
    # A failed candidate was replaced by the clean image: it can only be wrong where the clean image is.
    counts = adversarial and (not failure or not correct)
    within = distance <= task.threat.epsilon + TOLERANCE
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


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
