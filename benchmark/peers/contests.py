"""The contests: which attack against which peers, on which network, with what strength, and the ratio to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Measure = Literal["robust accuracy", "mean distance", "failure at t = 0.5", "targets reached"]
"""What is compared beside the time. Strong is low, but for the last two, where it is high."""


@dataclass(frozen=True)
class Side:
    """An attack, ours or "library:attack", and its parameters. `next_class`: aimed at (y + 1) mod K, as torchattacks' JSMA is,
    and only there successful. `one_at_a_time`: it loops over the images, so that there is no batch size to look for."""

    attack: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    next_class: bool = False
    one_at_a_time: bool = False


@dataclass(frozen=True)
class Contest:
    """One line of the table, on the first `n` test examples that the network has right.

    `ours` is to be as strong as each of `peers` and `at_least` times as fast. Where distances are measured, the peer to beat
    is the strongest: ours must be shorter than `shorter` times its mean, and at most `near` times that of `reference`.
    """

    line: str
    model: str
    n: int
    measure: Measure
    at_least: float
    ours: Side
    peers: tuple[Side, ...]
    shorter: float = 1.0
    reference: Side | None = None
    near: float = 1.01


MNIST, MNIST_AT = "mnist/relu-cnn_32_64_256", "mnist/relu-fast_at"
CIFAR10, CIFAR10_AT = "cifar10/relu", "cifar10/relu-fast_at"
EPSILON = {"mnist": {"linf": 0.3, "l2": 2.0, "l0": 113.0}, "cifar10": {"linf": 8 / 255, "l2": 0.5, "l0": 445.0}}


def contests() -> list[Contest]:
    """Every line, in the order of the table."""
    return [
        _jsma(MNIST, 128, 15),
        _jsma(CIFAR10, 128, 50),
        _cw(),
        _spsa(MNIST, 8, 5),
        _spsa(MNIST_AT, 8, 1.5),
        *(_steps(attack, model, goal) for attack in ("bim", "pgd") for model, goal in ((MNIST, 2.2), (MNIST_AT, 0.95))),
        _fgsm(),
        _max_confidence(MNIST, 1.5),
        _max_confidence(MNIST_AT, 1.0),
        _autoattack(MNIST, 128, 1.3),
        _autoattack(MNIST_AT, 24, 1.0),
    ]


def _jsma(model: str, n: int, goal: float) -> Contest:
    ours = Side("jsma", {"theta": 1.0}, next_class=True)
    theirs = Side("torchattacks:jsma", {"theta": 1.0}, next_class=True, one_at_a_time=True)
    return Contest("jsma", model, n, "targets reached", goal, ours, (theirs,))


def _cw() -> Contest:
    peers = Side("foolbox:cw", {"searches": 9, "steps": 1000}), Side("torchattacks:cw", {"steps": 1000})
    return Contest("cw", MNIST, 32, "mean distance", 30, Side("cw"), peers, 0.99, Side("ddn", {"steps": 1000}))


def _spsa(model: str, n: int, goal: float) -> Contest:
    strength = {"directions": 128, "iterations": 100, "delta": 0.01, "rate": 0.01}
    return Contest("spsa", model, n, "robust accuracy", goal, Side("spsa", strength), (Side("torchattacks:spsa", strength),))


def _steps(attack: str, model: str, goal: float) -> Contest:
    peers = (
        Side(f"foolbox:{attack}", {"steps": 40, "step": 1 / 30}),
        Side(f"torchattacks:{attack}", {"steps": 40, "alpha": EPSILON["mnist"]["linf"] / 30}),
    )
    return Contest(attack, model, 256, "robust accuracy", goal, Side(attack, {"steps": 40, "step": 1 / 30}), peers)


def _fgsm() -> Contest:
    return Contest("fgsm", MNIST, 512, "robust accuracy", 0.95, Side("fgsm"), (Side("foolbox:fgsm"), Side("torchattacks:fgsm")))


def _max_confidence(model: str, goal: float) -> Contest:
    # Steps that fall find more in fewer of them: the contest is against nine runs of the library, not against 40 steps. The near
    # way is for networks trained with negatives, which these are not.
    ours = Side("max_confidence", {"steps": 32, "near_step": 0.0})
    theirs = Side("torchattacks:max_confidence", {"steps": 40, "alpha": EPSILON["mnist"]["linf"] / 15})
    return Contest("max_confidence", model, 64, "failure at t = 0.5", goal, ours, (theirs,))


def _autoattack(model: str, n: int, goal: float) -> Contest:
    ours, theirs = Side("autoattack", {"steps": 100}), Side("torchattacks:autoattack", {"steps": 100})
    return Contest("autoattack", model, n, "robust accuracy", goal, ours, (theirs,))
