"""What a fixed batch would cost: the passes of each attack if every example took every step and nobody left.

Most implementations are such a loop. The formulas follow from an attack's parameters alone; the passes of the attacks here
are these exactly where no example is ever done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robustboard.attacks.fab import BISECTIONS


@dataclass(frozen=True)
class Strength:
    """Everything that decides how many steps there are: an attack's parameters, ε in units of its norm, and the classes."""

    parameters: Mapping[str, Any]
    epsilon: float
    classes: int

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]


@dataclass(frozen=True)
class Passes:
    """Rows that go forward, and rows that a gradient comes back through, an example."""

    forwards: int
    backwards: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.forwards + self.backwards

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forwards + other.forwards, self.backwards + other.backwards)


def fixed_passes(attack: str, strength: Strength) -> Passes | None:
    """The passes an example of `attack` in a fixed batch, or None for an attack without such a loop."""
    formula = _FORMULAS.get(attack)
    return None if formula is None else formula(strength)


def _walks(count: int, steps: int) -> Passes:
    """`count` times: forward and back a step, and once more forward for the last iterate."""
    return Passes(count * (steps + 1), count * steps)


def _fgsm(_: Strength) -> Passes:
    return Passes(1, 1)


def _bim(strength: Strength) -> Passes:
    return _walks(1, strength["steps"])


def _with_restarts(strength: Strength) -> Passes:
    return _walks(strength["restarts"], strength["steps"])


def _pgd_t(strength: Strength) -> Passes:
    return Passes(1) + _walks(strength["restarts"] * (strength.classes - 1), strength["steps"])


def _targets(wanted: int, classes: int) -> int:
    return min(wanted, classes - 1)


def _apgd_t(strength: Strength) -> Passes:
    return Passes(1) + _walks(strength["restarts"] * _targets(strength["target_classes"], strength.classes), strength["steps"])


def _fab_t(strength: Strength) -> Passes:
    """The bisection at the end takes part where a success was found, as it is nearly always."""
    steps = strength["restarts"] * _targets(strength["target_classes"], strength.classes) * strength["steps"]
    return Passes(1 + 2 * steps + BISECTIONS, steps)


def _square(strength: Strength) -> Passes:
    return Passes(1 + strength["restarts"] * strength["queries"])


def _autoattack(strength: Strength) -> Passes:
    """The four, and a look at what each proposes."""
    own = {"steps": strength["steps"], "queries": strength["queries"], "restarts": 1, "target_classes": 9}
    alike = Strength(own, strength.epsilon, strength.classes)
    return Passes(4) + _with_restarts(alike) + _apgd_t(alike) + _fab_t(alike) + _square(alike)


def _minimum_walks(strength: Strength, steps: int, classes: int, restarts: int) -> Passes:
    """DDN and FMN: a walk away from the label and one towards each class, for whose order the model is asked first."""
    towards = _targets(classes, strength.classes)
    return Passes(1 if classes else 0) + _walks(restarts * (1 + towards), steps)


def _ddn(strength: Strength) -> Passes:
    return _minimum_walks(strength, strength["steps"], strength["classes"], strength["restarts"])


def _cw(strength: Strength) -> Passes:
    """FMN, a look at what it found, and the walk that shortens it."""
    restarts = strength["start_restarts"]
    start = _minimum_walks(strength, strength["start_steps"], strength["start_classes"], restarts)
    return start + Passes(1) + _walks(1, strength["steps"])


def _cw_cold(strength: Strength) -> Passes:
    return _walks(strength["searches"], strength["steps"])


def _spsa(strength: Strength) -> Passes:
    return Passes(strength["iterations"] * (1 + 2 * strength["directions"]) + 1)


def _jsma(strength: Strength) -> Passes:
    """Every wrong class beside the others, two gradients a step, at the first one a class for all of them; without the one row
    a batch that tells how many classes."""
    pairs, targets = int(strength.epsilon) // 2, strength.classes - 1
    return Passes(1 + targets * pairs, strength.classes + 2 * targets * (pairs - 1))


def _max_confidence(strength: Strength) -> Passes:
    ways = 2 if strength.parameters["near_step"] else 1
    return Passes(1) + _walks(ways * (strength.classes - 1), strength["steps"])


_FORMULAS: dict[str, Callable[[Strength], Passes]] = {
    "fgsm": _fgsm,
    "bim": _bim,
    "pgd": _with_restarts,
    "pgd_t": _pgd_t,
    "apgd_ce": _with_restarts,
    "apgd_t": _apgd_t,
    "fab_t": _fab_t,
    "square": _square,
    "autoattack": _autoattack,
    "cw": _cw,
    "cw_cold": _cw_cold,
    "ddn": _ddn,
    "fmn": _ddn,
    "spsa": _spsa,
    "jsma": _jsma,
    "max_confidence": _max_confidence,
}
