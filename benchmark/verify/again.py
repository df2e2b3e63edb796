"""A few of the examples that a cell records as robust, put to the cell's own attack again: none may fall.

A candidate shows that an example was fooled. That one was not fooled only the attack itself shows; since one example's result
depends on that example alone, a few of them are enough to ask for.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustboard.attacks.losses import margin
from robustboard.attacks.projections import norms
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BoundAttack, propose
from robustboard.benchmark.judge import TOLERANCE, CountedModel, Threat, ask, is_out_of_memory, judge
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.verify.agreement import Causes, threat_of
from robustboard.benchmark.verify.judging import BORDER, Asked
from robustboard.benchmark.verify.own_attack import own_attack

AT_MOST = 4
"""So many examples a cell are attacked again where no number is asked for …"""
PASSES = 3000
"""… as far as so many passes, forwards and backwards, go, an attack that is cut short among them."""
SAME_DISTANCE = 1e-3
"""Two runs of one attack may find distances that differ by so much."""

NONE_AGAIN = "none of its robust examples was attacked again to the end"
FEWER_AGAIN = "fewer of its robust examples were attacked again than were drawn"


@dataclass(frozen=True)
class Draw:
    """How many robust examples of a cell are attacked again, whatever that takes; None: as `AT_MOST` and `PASSES` say. Which
    ones, `seed` decides: who made the cell does not know it."""

    wanted: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Again:
    """Of how many examples that a cell records as robust how many its attack was run on again, to the end."""

    robust: int
    attacked: int


class _SpentError(BaseException):
    """All passes are spent. Not an `Exception`: an attack's own troubles are caught, and this is none."""


@dataclass(frozen=True)
class _Example:
    """What is attacked: a clean image (1, C, H, W), its label (1,), and the threat."""

    image: Tensor
    label: Tensor
    threat: Threat


class _LimitedModel(CountedModel):
    """A model that answers so many passes, and of what it was asked keeps the nearest image that fooled it."""

    def __init__(self, network: nn.Module, limit: float, example: _Example) -> None:
        super().__init__(network)
        self.limit = limit
        self.example = example
        self.nearest: Tensor | None = None
        self._distance = math.inf

    @property
    def spent(self) -> int:
        return self.forwards + self.backwards

    def forward(self, images: Tensor) -> Tensor:
        if self.spent + len(images) > self.limit:
            raise _SpentError
        logits = super().forward(images)
        self._look(images.detach(), logits.detach())
        return logits

    def _look(self, images: Tensor, logits: Tensor) -> None:
        wrong = margin(logits, self.example.label.expand(len(images))) > 0
        distances = norms(images - self.example.image, self.example.threat.norm)
        distances = torch.where(wrong, distances, torch.full_like(distances, math.inf))
        at = int(distances.argmin())
        if float(distances[at]) < self._distance:
            self.nearest, self._distance = images[[at]], float(distances[at])


def attack_again(cell: CellResult, asked: Asked, draw: Draw, causes: Causes) -> Again:
    """Run the cell's own attack on some of its robust examples, and add each that falls, and why fewer were attacked than were
    drawn."""
    rows = cell.per_example
    robust = [index for index, right, hit in zip(rows.index, rows.correct_clean, rows.fooled, strict=True) if right and not hit]
    chosen = _drawn([index for index in robust if asked.right(index)], cell, draw)
    try:
        attack = own_attack(cell.attack, asked.clean.head) if chosen else None
    except InputError as trouble:
        causes.remark(f"{NONE_AGAIN}: {trouble}")
        attack = None
    attacked = 0 if attack is None else _attacked(cell, chosen, attack, asked, draw, causes)
    return Again(len(robust), attacked)


def _drawn(robust: Sequence[int], cell: CellResult, draw: Draw) -> list[int]:
    wanted = AT_MOST if draw.wanted is None else draw.wanted
    return random.Random(f"{draw.seed} {cell.identity}").sample(robust, min(wanted, len(robust)))


def _attacked(cell: CellResult, chosen: Sequence[int], attack: BoundAttack, asked: Asked, draw: Draw, causes: Causes) -> int:
    """On how many of the examples the attack was run to the end; those that fell, to the end or before, are among the causes
    then."""
    left, done = PASSES if draw.wanted is None else math.inf, 0
    for index in chosen:
        example = _example(cell, index, asked)
        model = _LimitedModel(asked.network, left, example)
        is_cut = False
        try:
            candidates = _proposed(cell, index, attack, model)
        except _SpentError:
            is_cut = True
            # What an attack for the shortest distance has found within ε it does not lose again.
            candidates = model.nearest if cell.attack.aim == "minimum" else None
            causes.remark(f"{FEWER_AGAIN if done else NONE_AGAIN}: {PASSES:,} passes go no further; --again 1 has no such limit")
        except Exception as trouble:
            if not is_out_of_memory(trouble):
                raise
            causes.remark(f"{FEWER_AGAIN if done else NONE_AGAIN}: memory runs out; try another --device")
            return done
        left -= model.spent
        fall = None if candidates is None else _fall(cell, index, candidates, example, asked)
        if fall:
            causes.blame(index, "again", f"it is recorded as robust, but {cell.attack.name}, run again, fools the model: {fall}")
        if is_cut:
            return done
        if fall is None:
            causes.remark(f"{FEWER_AGAIN}: on some the attack failed, which says nothing")
        else:
            done += 1
    return done


def _example(cell: CellResult, index: int, asked: Asked) -> _Example:
    images, labels = asked.data_set.images[[index]], asked.data_set.labels[[index]]
    return _Example(images.to(asked.device), labels.to(asked.device), threat_of(cell))


def _proposed(cell: CellResult, index: int, attack: BoundAttack, model: _LimitedModel) -> Tensor | None:
    """What the attack proposes for an example, (1, C, H, W); None where it fails."""
    example = model.example
    keys = make_keys(cell.environment.seed, torch.tensor([index]), cell.attack.name).to(example.image.device)
    proposal = propose(attack, model, example.image, example.label, keys, example.threat.epsilon, 1.0)
    return None if any(proposal.failures) else proposal.images


def _fall(cell: CellResult, index: int, candidates: Tensor, example: _Example, asked: Asked) -> str | None:
    """By what an example falls that was attacked again, in words; "" where it stands, or where rounding decides; None where the
    candidate breaks a rule."""
    threat = example.threat
    verdict = judge(asked.network, example.image, example.label, candidates, threat, asked.clean.head)
    distance, lead = float(verdict.distance[0]), float(verdict.lead[0])
    if any(verdict.failures):
        return None
    if not verdict.adversarial[0] or lead <= BORDER:
        return ""
    recorded = cell.per_example.distance[cell.per_example.index.index(index)]
    is_as_recorded = recorded is not None and abs(distance - recorded) <= SAME_DISTANCE * max(1.0, recorded)
    if distance > threat.epsilon + TOLERANCE or is_as_recorded:
        return ""
    found = int(ask(asked.network, verdict.images)[0].argmax())
    text = f"class {found} at confidence {float(verdict.confidence[0]):.4f}, distance {distance:.4f} for ε = {threat.epsilon:g}"
    there, here = (cell.environment.processor, cell.cost.device), (current_environment()["processor"], str(asked.device))
    if there != here:
        text += f" (it was run on {there[0]}, where rounding may have led the attack elsewhere; the example falls all the same)"
    return text
