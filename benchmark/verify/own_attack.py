"""A cell's own attack, made anew from what the cell says of it: name, version, and every parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping

from robustboard.attacks.attack import AttackCard, attack_cards
from robustboard.attacks.losses import Head
from robustboard.benchmark.cascade import CASCADE_VERSION, CASCADES, Stage, cascade
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BoundAttack
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.records import AttackBlock

_STAGE = re.compile(r"(?P<name>\S+) (?P<version>\d+): (?P<parameters>.*)")


def own_attack(attack: AttackBlock, head: Head) -> BoundAttack:
    """The attack that a cell records, ready to be called. Raises `InputError`, the reason in words, where it is not here: from a
    file, of another version, or a library's, which draws its random numbers by the batch and need not do the same again."""
    try:
        if attack.name in CASCADES:
            return _cascade(attack, head)
        return _card(attack.name, attack.version).bind(head, **attack.params)
    except (ValueError, TypeError, KeyError) as trouble:
        raise InputError(f"its parameters are none of {attack.name}'s here") from trouble


def _cascade(attack: AttackBlock, head: Head) -> BoundAttack:
    if attack.version != CASCADE_VERSION:
        raise InputError(f"{attack.name} is of version {CASCADE_VERSION} here, and the cell's of {attack.version}")
    told = [str(attack.params[f"stage {number}"]) for number in range(1, len(attack.params) + 1)]
    return cascade([_stage(text, attack, head) for text in told], head)


def _stage(text: str, attack: AttackBlock, head: Head) -> Stage:
    """A stage as its cascade's cell describes it: "bim 1: loss margin, step 0.0333, steps 40"."""
    found = _STAGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no stage")
    card = _card(found["name"], int(found["version"]))
    words = [part.split(" ", 1) for part in found["parameters"].split(", ") if part]
    given = _typed(dict(words), card)
    return Stage(card.name, card.bind(head, **given), Threat(card.norm, attack.eps, card.aim))


def _typed(words: Mapping[str, str], card: AttackCard) -> dict[str, float | int | str]:
    """The parameters, each of the kind of its default."""
    defaults = card.parameters()
    return {name: type(defaults[name])(value) for name, value in words.items()}


def _card(name: str, version: int) -> AttackCard:
    card = attack_cards().get(name)
    if card is None:
        raise InputError(f"{name} is none of the attacks here, whose results depend on the example alone")
    if card.version != version:
        raise InputError(f"{name} is of version {card.version} here, and the cell's of {version}")
    return card
