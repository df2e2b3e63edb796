"""A cell's clean verdicts and kept candidates put to the model again, many at a time, by the judge of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robustboard.benchmark.candidates import CONFIDENCE_SLACK, distance_slack
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.judge import TOLERANCE, Clean, judge
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.verify.agreement import RECORDED, Causes, threat_of
from robustboard.benchmark.verify.gathering import gather

BATCH = 256
BORDER = 1e-5
"""Share of the largest logit below which another machine's rounding may turn a verdict: ten times what attacks keep off."""
_SURE = 2 * CONFIDENCE_SLACK


@dataclass(frozen=True)
class Asked:
    """A model that is ready to be asked, the split it is asked about, and its clean answers by place in the split."""

    network: nn.Module
    data_set: Dataset
    device: torch.device
    clean: Clean
    place: dict[int, int]

    def right(self, index: int) -> bool:
        """Whether the clean image is classified right."""
        return bool(self.clean.correct[self.place[index]])


@dataclass(frozen=True)
class Verified:
    """What the candidates of a cell show by themselves: robust accuracy, how many were judged, how many of the fooled examples
    were taken over from cells that keep none, and how many lie so near the border that rounding decides."""

    robust_accuracy: float
    judged: int
    missing: int
    bordering: int


@dataclass(frozen=True)
class _Judged:
    """The judge on one candidate."""

    adversarial: bool
    distance: float
    confidence: float
    failure: str
    lead: float
    rounded: bool


def check_clean(cell: CellResult, asked: Asked, causes: Causes) -> None:
    """Add where the model does not say of the clean images what the cell says."""
    if cell.model.output != asked.clean.output:
        causes.say(f"it says that the model returns {cell.model.output}; it returns {asked.clean.output}")
    rows = cell.per_example
    for index, told, sure in zip(rows.index, rows.correct_clean, rows.clean_confidence, strict=True):
        if bool(told) != asked.right(index) and not _borders(cell, index, asked):
            causes.blame(
                index,
                "clean",
                f"it is recorded as {_word(bool(told))} clean, but the model classifies it {_word(asked.right(index))}",
            )
        now = float(asked.clean.confidence[asked.place[index]])
        if abs(now - sure) > _SURE:
            causes.blame(
                index, "clean confidence", f"its clean confidence is recorded as {sure:.4f}, but the model's is {now:.4f}"
            )


def check_candidates(cell: CellResult, path: Path, asked: Asked, causes: Causes) -> Verified | None:
    """Judge every candidate that the cell in the file `path` names, and add where the verdict is not the recorded one. None
    where there is none to judge."""
    gathered = gather(cell, path, asked.data_set, causes)
    if gathered is None:
        return None
    shown, missing = gathered
    found = _judged(cell, shown, asked)
    bordering = 0
    rows = cell.per_example
    fooled: set[int] = set()
    for at, index in enumerate(rows.index):
        if index not in found:
            continue
        verdict = found[index]
        borders = not verdict.failure and not verdict.adversarial and verdict.lead >= -BORDER
        bordering += borders
        _compare(cell, at, verdict, causes, borders)
        if not verdict.failure and (verdict.adversarial or borders) and verdict.distance <= cell.attack.eps + TOLERANCE:
            fooled.add(index)
    if not causes.told():
        _check_rounded(cell, sum(found[index].rounded and asked.right(index) for index in fooled - _taken_over(cell)), causes)
    robust = sum(asked.right(index) and index not in fooled for index in rows.index)
    return Verified(robust / len(rows.index), len(found), missing, bordering)


def _check_rounded(cell: CellResult, rounded: int, causes: Causes) -> None:
    """Add where many more or fewer than the cell says stay fooled in 8 bits. Rounding may bring a few so near the border that
    another machine turns them."""
    told = cell.outcome.fooled_after_rounding
    if abs(told - rounded) > 1 + cell.outcome.n_fooled // 100:
        causes.say(f"it says that {told} of its examples stay fooled after rounding, but of its candidates {rounded} do")


def _taken_over(cell: CellResult) -> set[int]:
    """Whom other cells had fooled before: rounding was looked at there."""
    return set() if cell.candidates is None else {index for indices in cell.candidates.taken_over.values() for index in indices}


def _compare(cell: CellResult, at: int, verdict: _Judged, causes: Causes, borders: bool) -> None:
    rows, epsilon = cell.per_example, cell.attack.eps
    index, distance, sure = rows.index[at], rows.distance[at], rows.confidence[at]
    if verdict.failure:
        causes.blame(index, verdict.failure, f"its candidate is refused: {verdict.failure}")
        return
    if not verdict.adversarial and not borders:
        causes.blame(index, "right", "an adversarial example is recorded, but the model classifies its candidate right")
    elif sure is None or abs(verdict.confidence - sure) > _SURE:
        causes.blame(
            index, "confidence", f"its confidence is recorded as {sure}, but its candidate's is {verdict.confidence:.4f}"
        )
    slack = float(distance_slack(torch.tensor(verdict.distance), cell.attack.norm)) + RECORDED + TOLERANCE
    if distance is None or abs(verdict.distance - distance) > slack:
        causes.blame(index, "distance", f"its distance is recorded as {distance}, but its candidate's is {verdict.distance:.4f}")
    if bool(rows.fooled[at]) != (verdict.distance <= epsilon + TOLERANCE):
        word = "within" if verdict.distance <= epsilon + TOLERANCE else "over"
        told = "fooled" if rows.fooled[at] else "not fooled"
        causes.blame(index, "budget", f"it is recorded as {told}, but its candidate is {word} ε = {epsilon:g}")


def _judged(cell: CellResult, shown: Mapping[int, Tensor], asked: Asked) -> dict[int, _Judged]:
    found: dict[int, _Judged] = {}
    indices = list(shown)
    for start in range(0, len(indices), BATCH):
        part = indices[start : start + BATCH]
        images = asked.data_set.images[part].to(asked.device)
        labels = asked.data_set.labels[part].to(asked.device)
        candidates = torch.stack([shown[index] for index in part]).to(asked.device)
        verdict = judge(asked.network, images, labels, candidates, threat_of(cell), asked.clean.head)
        values = (verdict.adversarial, verdict.distance, verdict.confidence, verdict.lead, verdict.adversarial_rounded)
        adversarial, distance, sure, lead, rounded = (value.tolist() for value in values)
        for at, index in enumerate(part):
            found[index] = _Judged(adversarial[at], distance[at], sure[at], verdict.failures[at], lead[at], rounded[at])
    return found


def _borders(cell: CellResult, index: int, asked: Asked) -> bool:
    """Whether rounding decides about a clean image."""
    image, label = asked.data_set.images[[index]].to(asked.device), asked.data_set.labels[[index]].to(asked.device)
    verdict = judge(asked.network, image, label, image, threat_of(cell), asked.clean.head)
    return abs(float(verdict.lead[0])) <= BORDER


def _word(right: bool) -> str:
    return "right" if right else "wrong"
