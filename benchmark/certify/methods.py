"""The three methods, example by example: who is proved robust, who is fooled, and by what means."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustboard.attacks import projections
from robustboard.attacks.losses import Head
from robustboard.attacks.pgd import pgd
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.certify.crown import crown_boxes, lower_bounds
from robustboard.benchmark.certify.exact import Stage, search, stages
from robustboard.benchmark.certify.interval import Box, ball, interval_boxes, rounding_error
from robustboard.benchmark.certify.layers import Affine, Layer
from robustboard.benchmark.certify.record import Means, MethodName, Verdict
from robustboard.benchmark.certify.trace import trace
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.judge import TOLERANCE, CountedModel, Threat, judge

VERSIONS: Mapping[MethodName, int] = {"interval": 1, "crown": 1, "exact": 2}
TIME_LIMIT_S = 60.0
_BATCH = 4


@dataclass(frozen=True)
class Task:
    """What is to be certified: a network in evaluation mode on the CPU, its examples with their positions in the split, who
    of them is right clean (N,), and the L∞ radius."""

    network: nn.Module = field(repr=False)
    head: Head
    examples: Dataset = field(repr=False)
    indices: Sequence[int]
    correct: Tensor = field(repr=False)
    epsilon: float
    seed: int

    @property
    def radius(self) -> float:
        """The radius to prove for: the judge lets a candidate be over ε by its tolerance."""
        return self.epsilon + TOLERANCE

    def layers(self) -> list[Layer]:
        """The network as a chain. Raises `UncertifiableError`."""
        return trace(self.network, tuple(self.examples.images.shape[1:]))


@dataclass(frozen=True)
class ExampleAnswer:
    """What was found out about one example; `rounding` is the margin set aside for float32. `margin`: for an example that the
    solver left undecided, what the label's logit leads by at least if nothing is rounded; None where it does not say."""

    index: int
    verdict: Verdict
    means: Means
    seconds: float
    rounding: float = 0.0
    margin: float | None = None


@dataclass(frozen=True)
class Margins:
    """Lower bounds of Z_label − Z_j for every class j (N, K), infinite for the label itself; the boxes they came from; and
    the rounding (N, K) that a bound has to exceed."""

    boxes: list[Box]
    lower: Tensor
    rounding: Tensor

    @property
    def open(self) -> Tensor:
        """The wrong classes that the bounds leave possible (N, K)."""
        return ~(self.lower > self.rounding)

    def of(self, row: int) -> Margins:
        """The margins of one example."""
        boxes = [Box(box.lower[row : row + 1], box.upper[row : row + 1]) for box in self.boxes]
        return Margins(boxes, self.lower[row : row + 1], self.rounding[row : row + 1])


def margins(layers: Sequence[Layer], images: Tensor, labels: Tensor, radius: float, *, by_interval: bool = False) -> Margins:
    """Bounds over the balls of images (N, C, H, W) with labels (N,), by CROWN or by intervals alone. CROWN's are never
    looser: of the two the better is taken."""
    start = ball(images, radius)
    boxes = interval_boxes(layers, start) if by_interval else crown_boxes(layers, start)[0]
    units = torch.eye(layers[-1].shape_out[0], dtype=torch.float64)
    rows = units[labels][:, None] - units
    nonlinear = [place for place, layer in enumerate(layers) if not isinstance(layer, Affine)]
    lower = lower_bounds(layers, boxes, rows, down_to=nonlinear[-1] + 1 if nonlinear else 0)
    if not by_interval:
        lower = torch.maximum(lower, lower_bounds(layers, boxes, rows))
    error = rounding_error(layers, boxes)
    own = units[labels].bool()
    return Margins(boxes, lower.masked_fill(own, torch.inf), error + error[own][:, None])


def answers(task: Task, method: MethodName, positions: Sequence[int], time_limit: float) -> Iterator[ExampleAnswer]:
    """The answers for the examples at `positions`, one by one as they are found.

    Raises `UncertifiableError` before the first where the network holds what the method does not know.
    """
    layers = task.layers()
    parts = stages(layers) if method == "exact" else []
    wrong = [position for position in positions if not bool(task.correct[position])]
    yield from (ExampleAnswer(task.indices[position], "misclassified", "clean", 0.0) for position in wrong)
    right = [position for position in positions if bool(task.correct[position])]
    for start in range(0, len(right), _BATCH):
        rows = right[start : start + _BATCH]
        began = time.perf_counter()
        batch = task.examples.select(rows)
        found = margins(layers, batch.images, batch.labels, task.radius, by_interval=method == "interval")
        each = (time.perf_counter() - began) / len(rows)
        for place, row in enumerate(rows):
            answer = _by_bounds(task.indices[row], found.of(place), method, each)
            if method == "exact" and answer.verdict == "undecided":
                answer = _by_search(task, parts, row, found.of(place), answer, time_limit)
            yield answer


def _by_bounds(index: int, found: Margins, method: MethodName, seconds: float) -> ExampleAnswer:
    verdict: Verdict = "undecided" if bool(found.open.any()) else "robust"
    return ExampleAnswer(index, verdict, "interval" if method == "interval" else "crown", seconds, float(found.rounding.max()))


def _by_search(
    task: Task, parts: Sequence[Stage], row: int, found: Margins, answer: ExampleAnswer, time_limit: float
) -> ExampleAnswer:
    """Projected gradient descent first, which is cheap, then the solver for every wrong class that is left."""
    began = time.perf_counter()
    images, labels = task.examples.images[row : row + 1], task.examples.labels[row : row + 1]
    verdict: Verdict = "robust"
    means: Means = "milp"
    leads: list[float | None] = []
    keys = make_keys(task.seed, torch.tensor([answer.index]), "certify")
    attacked = pgd(CountedModel(task.network), images, labels, keys, epsilon=task.epsilon, restarts=3)
    if _is_fooled(task, images, labels, attacked.images):
        verdict, means = "fooled", "pgd"
    else:
        for wrong in found.open[0].nonzero().flatten().tolist():
            slack = float(found.rounding[0, wrong])
            sought = search(parts, found.boxes, int(labels[0]), wrong, slack, time_limit)
            if sought.status == "empty":
                continue
            verdict = "undecided"
            leads.append(sought.margin)
            if sought.point is not None and _is_fooled(task, images, labels, sought.point.float().reshape(images.shape)):
                verdict = "fooled"
                break
    known = [lead for lead in leads if lead is not None] if verdict == "undecided" else []
    margin = min(known) if known and len(known) == len(leads) else None
    return replace(answer, verdict=verdict, means=means, seconds=answer.seconds + time.perf_counter() - began, margin=margin)


def _is_fooled(task: Task, images: Tensor, labels: Tensor, candidates: Tensor) -> bool:
    candidates = projections.linf(candidates, images, task.epsilon)
    verdict = judge(task.network, images, labels, candidates, Threat("linf", task.epsilon, "budget"), task.head)
    return bool(verdict.adversarial[0]) and not verdict.failures[0]
