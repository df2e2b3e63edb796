"""What the checks look at: a model on a few dozen examples, its cells, and the attacks and the judge it is put to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from robustboard.attacks.libraries.library import all_cards
from robustboard.attacks.losses import margin
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.evaluate import propose
from robustboard.benchmark.judge import TOLERANCE, Clean, CountedModel, Threat, Verdict, ask, judge
from robustboard.benchmark.protocols import DatasetPlan, Protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.subjects import Subject

EXAMPLES = 48
"""How many of the protocol's examples are put to the model, at most."""


@dataclass(frozen=True)
class Attempt:
    """What an attack came to on `rows` (n,) of the examples: its candidates (n, C, H, W), the clean image where one broke a
    rule, what the judge found, who is fooled within ε (n,) bool, and each one's failure, "" if none."""

    rows: Tensor
    images: Tensor
    verdict: Verdict
    fooled: Tensor
    failures: list[str]


@dataclass(frozen=True)
class Examination:
    """A prepared network, its clean pass over `examples` (at `indices` of the split), the protocol, and the model's cells by
    attack. `others` are further models of the registry, `control` is its undefended one, `control_cell` that one's BIM.

    What several checks need is computed when the first asks for it, and kept.
    """

    network: nn.Module = field(repr=False)
    clean: Clean = field(repr=False)
    examples: Dataset = field(repr=False)
    indices: Sequence[int]
    protocol: Protocol
    cells: Mapping[str, CellResult] = field(default_factory=dict)
    others: Sequence[Subject] = ()
    control: Subject | None = None
    control_cell: CellResult | None = None

    @property
    def images(self) -> Tensor:
        return self.examples.images

    @property
    def labels(self) -> Tensor:
        return self.examples.labels

    @property
    def plan(self) -> DatasetPlan:
        """The protocol's numbers for the data set."""
        return self.protocol.plan(self.examples.name)

    @property
    def right(self) -> Tensor:
        """The rows of the examples that are right clean (n,)."""
        return self.clean.correct.nonzero().flatten()

    @cached_property
    def classes(self) -> int:
        """How many the model tells apart."""
        return ask(self.network, self.images[:1]).shape[1]

    def positions(self, rows: Tensor) -> list[int]:
        """The positions in the split of the examples at `rows` (n,)."""
        return [self.indices[row] for row in rows.tolist()]

    def attack(
        self,
        name: str,
        rows: Tensor | None = None,
        *,
        epsilon: float | None = None,
        through: nn.Module | None = None,
        **parameters: Any,
    ) -> Attempt:
        """An L∞ attack at the protocol's strength, but for `parameters`, on `rows` (n,), by default all that are right clean,
        judged within `epsilon`, by default the protocol's. The attack sees the model `through` another, the judge as it is."""
        rows = self.right if rows is None else rows
        images, labels = self.images[rows], self.labels[rows]
        threat = Threat("linf", self.plan.linf if epsilon is None else epsilon, "budget")
        card = all_cards()[name]
        bound = card.bind(self.clean.head, **{**self.protocol.parameters(self.examples.name, card), **parameters})
        keys = make_keys(self.protocol.seed, torch.tensor(self.positions(rows), dtype=torch.int64), name)
        if not len(rows):
            return _nothing(rows, images)
        proposal = propose(bound, CountedModel(through or self.network), images, labels, keys, threat.epsilon, 1.0)
        verdict = judge(self.network, images, labels, proposal.images, threat, self.clean.head)
        admitted = proposal.failures or [""] * len(rows)
        failures = [mine or theirs for mine, theirs in zip(admitted, verdict.failures, strict=True)]
        whole = torch.tensor([not failure for failure in failures])
        kept = images.clone()
        if bool(whole.any()):
            kept[whole] = proposal.images.detach()[whole].to(images).clamp(0, 1)
        fooled = whole & verdict.adversarial & (verdict.distance <= threat.epsilon + TOLERANCE)
        return Attempt(rows, kept, verdict, fooled, failures)

    @cached_property
    def bim(self) -> Attempt:
        """The protocol's BIM."""
        return self.attack("bim")

    @cached_property
    def fgsm(self) -> Attempt:
        """The protocol's FGSM."""
        return self.attack("fgsm")

    @cached_property
    def bim_by_cross_entropy(self) -> Attempt:
        """The protocol's BIM, climbing cross-entropy in place of the margin."""
        return self.attack("bim", loss="cross_entropy")

    @cached_property
    def left_by_bim(self) -> Attempt:
        """Of `bim` those that it did not fool."""
        return chosen(self.bim, ~self.bim.fooled)

    @cached_property
    def survivors(self) -> Tensor:
        """The rows (n,) that count as robust: left by BIM, and by every L∞ cell that the model has."""
        fallen = {index for cell in self.cells_of("linf") for index, fooled in outcomes(cell).items() if fooled}
        rows = self.left_by_bim.rows
        return rows[torch.tensor([position not in fallen for position in self.positions(rows)], dtype=torch.bool)]

    def cells_of(self, norm: str) -> list[CellResult]:
        """The model's cells of a norm, worst cases among them."""
        return [cell for cell in self.cells.values() if cell.attack.norm == norm]

    def margins(self, images: Tensor, rows: Tensor) -> Tensor:
        """The margins (n,) of images (n, C, H, W) that belong to `rows` (n,)."""
        return margin(ask(self.network, images), self.labels[rows])


def outcomes(cell: CellResult) -> dict[int, bool]:
    """Position in the split -> whether the example was fooled, for those right clean."""
    rows = zip(cell.per_example.index, cell.per_example.correct_clean, cell.per_example.fooled, strict=True)
    return {index: bool(fooled) for index, right, fooled in rows if right}


def chosen(attempt: Attempt, wanted: Tensor) -> Attempt:
    """The part of an attempt that a mask (n,) bool names."""
    verdict = attempt.verdict
    part = Verdict(
        verdict.adversarial[wanted],
        verdict.distance[wanted],
        verdict.confidence[wanted],
        verdict.adversarial_rounded[wanted],
        _masked(verdict.failures, wanted),
    )
    return Attempt(attempt.rows[wanted], attempt.images[wanted], part, attempt.fooled[wanted], _masked(attempt.failures, wanted))


def _masked(values: Sequence[str], wanted: Tensor) -> list[str]:
    return [value for value, kept in zip(values, wanted.tolist(), strict=True) if kept]


def _nothing(rows: Tensor, images: Tensor) -> Attempt:
    none = torch.zeros(0, dtype=torch.bool)
    return Attempt(rows, images, Verdict(none, torch.zeros(0), torch.zeros(0), none, []), none, [])
