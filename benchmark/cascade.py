"""The worst case: example by example the union of everything run in a norm, and strong attacks, in turn, on who survived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import Norm, Proposal
from robustboard.attacks.losses import Head
from robustboard.attacks.randomness import derive
from robustboard.benchmark.evaluate import BoundAttack, ExampleRecord, propose
from robustboard.benchmark.judge import TOLERANCE, CountedModel, Threat, judge
from robustboard.benchmark.records import CellResult

CASCADES: Mapping[str, Norm] = {"worst_case": "linf", "worst_case_l2": "l2"}
"""The cells that join all others of a norm, by name."""
CASCADE_VERSION = 1
"""Raised whenever the same stages would leave other survivors."""


@dataclass(frozen=True)
class Stage:
    """One attack of a cascade, ready to be called, and what it is allowed."""

    name: str
    attack: BoundAttack
    threat: Threat


def cascade(stages: Sequence[Stage], head: Head) -> BoundAttack:
    """The stages one after the other as one attack, each on the survivors of those before it.

    Whether an example survived is for the judge to say. What a stage could not do does not stop the next; an example that
    survived everything although a stage failed on it says so in the proposal's `failures`.
    """

    def attack(
        model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0
    ) -> Proposal:
        # The judge's passes are not the attack's cost.
        judged = model.network if isinstance(model, CountedModel) else model
        best, iterations = images.clone(), torch.zeros_like(labels)
        failures = [""] * len(images)
        rows = torch.arange(len(images), device=images.device)
        for number, stage in enumerate(stages):
            x, y = images[rows], labels[rows]
            proposal = propose(stage.attack, model, x, y, derive(keys[rows], number), epsilon, row_share)
            verdict = judge(judged, x, y, proposal.images, stage.threat, head)
            admitted = proposal.failures or [""] * len(rows)
            broken = [mine or theirs for mine, theirs in zip(admitted, verdict.failures, strict=True)]
            whole = torch.tensor([not text for text in broken], device=images.device)
            fooled = whole & verdict.adversarial & (verdict.distance <= epsilon + TOLERANCE)
            best[rows[fooled]] = proposal.images[fooled]
            iterations[rows] += proposal.iterations
            for row, text in zip(rows.tolist(), broken, strict=True):
                failures[row] = failures[row] or (text and f"{stage.name}: {text}")
            for row in rows[fooled].tolist():
                failures[row] = ""
            rows = rows[~fooled]
            if not len(rows):
                break
        return Proposal(best, iterations, failures=failures)

    return attack


def fooled_already(cells: Iterable[CellResult], indices: Sequence[int]) -> list[ExampleRecord]:
    """Of the examples `indices`, those right clean that some cell fooled within its ε, each at the smallest distance."""
    found: dict[int, ExampleRecord] = {}
    for cell in cells:
        rows = cell.per_example
        for at, index in enumerate(rows.index):
            distance = rows.distance[at]
            if not (rows.fooled[at] and rows.correct_clean[at]) or distance is None:
                continue
            known = found.get(index)
            if known is None or known.distance is None or distance < known.distance:
                confidence = rows.confidence[at]
                sure = rows.clean_confidence[at]
                found[index] = ExampleRecord(index, True, sure, True, True, distance, confidence, taken_over=cell.attack.name)
    return [found[index] for index in indices if index in found]
