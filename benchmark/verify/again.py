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

from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BoundAttack, propose
from robustboard.benchmark.judge import TOLERANCE, CountedModel, ask, is_out_of_memory, judge
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.verify.agreement import Causes, threat_of
from robustboard.benchmark.verify.judging import BORDER, Asked
from robustboard.benchmark.verify.own_attack import own_attack

AT_MOST = 4
"""So many examples a cell are attacked again where no number is asked for …"""
PASSES = 1500
"""… as far as so many passes, forwards and backwards, go, an attack that is cut short among them."""
COSTLY = ("cw", "spsa")
"""What would spend them on one example and not come to its end. A cascade does not either, but whom its first attacks fool falls
before."""
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


class _LimitedModel(CountedModel):
    """A model that answers so many passes."""

    def __init__(self, network: nn.Module, limit: float) -> None:
        super().__init__(network)
        self.limit = limit

    @property
    def spent(self) -> int:
        return self.forwards + self.backwards

    def forward(self, images: Tensor) -> Tensor:
        if self.spent + len(images) > self.limit:
            raise _SpentError
        return super().forward(images)


def attack_again(cell: CellResult, asked: Asked, draw: Draw, causes: Causes) -> Again:
    """Run the cell's own attack on some of its robust examples, and add each that falls, and why fewer were attacked than were
    drawn."""
    rows = cell.per_example
    robust = [index for index, right, hit in zip(rows.index, rows.correct_clean, rows.fooled, strict=True) if right and not hit]
    chosen = _drawn([index for index in robust if asked.right(index)], cell, draw)
    try:
        attack = _ready(cell, asked, draw) if chosen else None
    except InputError as trouble:
        causes.remark(f"{NONE_AGAIN}: {trouble}")
        attack = None
    attacked = 0 if attack is None else _attacked(cell, chosen, attack, asked, draw, causes)
    return Again(len(robust), attacked)


def _drawn(robust: Sequence[int], cell: CellResult, draw: Draw) -> list[int]:
    wanted = AT_MOST if draw.wanted is None else draw.wanted
    return random.Random(f"{draw.seed} {cell.identity}").sample(robust, min(wanted, len(robust)))


def _ready(cell: CellResult, asked: Asked, draw: Draw) -> BoundAttack:
    """The cell's attack. Raises `InputError`, the reason in words, where it is not to be run."""
    if draw.wanted is None and cell.attack.name in COSTLY:
        raise InputError(f"{cell.attack.name} takes thousands of passes an example; --again 1 runs it on one")
    return own_attack(cell.attack, asked.clean.head)


def _attacked(cell: CellResult, chosen: Sequence[int], attack: BoundAttack, asked: Asked, draw: Draw, causes: Causes) -> int:
    """On how many of the examples the attack was run to the end; those that fell are among the causes then."""
    left, done = PASSES if draw.wanted is None else math.inf, 0
    for index in chosen:
        model = _LimitedModel(asked.network, left)
        try:
            fall = _fall(cell, index, attack, model, asked)
        except _SpentError:
            causes.remark(f"{FEWER_AGAIN if done else NONE_AGAIN}: {PASSES:,} passes go no further; --again 1 has no such limit")
            return done
        except Exception as trouble:
            if not is_out_of_memory(trouble):
                raise
            causes.remark(f"{FEWER_AGAIN if done else NONE_AGAIN}: memory runs out; try another --device")
            return done
        left -= model.spent
        if fall is None:
            causes.remark(f"{FEWER_AGAIN}: on some the attack failed, which says nothing")
            continue
        done += 1
        if fall:
            causes.blame(index, "again", f"it is recorded as robust, but {cell.attack.name}, run again, fools the model: {fall}")
    return done


def _fall(cell: CellResult, index: int, attack: BoundAttack, model: _LimitedModel, asked: Asked) -> str | None:
    """By what an example falls that was attacked again, in words; "" where it stands, or where rounding decides; None where the
    attack failed on it."""
    image, label = asked.data_set.images[[index]].to(asked.device), asked.data_set.labels[[index]].to(asked.device)
    keys = make_keys(cell.environment.seed, torch.tensor([index]), cell.attack.name).to(asked.device)
    threat = threat_of(cell)
    proposal = propose(attack, model, image, label, keys, threat.epsilon, 1.0)
    verdict = judge(asked.network, image, label, proposal.images, threat, asked.clean.head)
    distance, lead = float(verdict.distance[0]), float(verdict.lead[0])
    if any([*proposal.failures, *verdict.failures]):
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
