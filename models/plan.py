"""Which models the registry is to hold: the logs' ablations, their robust references, sizes, seeds and halves. Names only."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

ADDED = ("max_fit_l1_1", "max_fit_l2_1", "sigmoid_out", "scrambling", "overlay")
"""What the logs added, one at a time, to a base of several pieces."""
PENALTIES = ("l1_1", "l2_1")
"""The rewards' opposites, to compare with."""
MNIST_BASES = ("relog-minmaxout_4_2", "relog-quadratic-minmaxout_4_2", "relog-elliptical-maxout_4")
QUADRATIC = "relog-quadratic-maxout_4-max_fit_l2_1"
"""CIFAR-10's base with quadratic units, to which the logs added a head and negatives."""

ABLATIONS: dict[str, tuple[str, ...]] = {
    "mnist": (
        "relu",
        "relog",
        "relu_relog",
        "relog-maxout_4",
        *(name for base in MNIST_BASES for name in (base, *(f"{base}-{part}" for part in (*ADDED, *PENALTIES)))),
    ),
    "cifar10": (
        "relu",
        "relog",
        "relog-maxout_4",
        "relog-minmaxout_2_4",
        "relog-minmaxout_2_4-max_fit_l2_1",
        QUADRATIC,
        f"{QUADRATIC}-sigmoid_out",
        f"{QUADRATIC}-sigmoid_out-overlay",
        f"{QUADRATIC}-sigmoid_out-scrambling",
        "relog-elliptical-maxout_4",
    ),
}
ROBUST: dict[str, tuple[str, ...]] = {
    "mnist": ("relu-fast_at", "relu-pgd_at", "relu-trades", "relog-maxout_4-pgd_at"),
    "cifar10": ("relu-fast_at", "relu-pgd_at", "relu-trades", "relog-maxout_4-fast_at"),
}
SIZES = ("relu-cnn_2_4_8", "relu-cnn_4_8_16", "relu-cnn_8_16_32", "relu-cnn_16_32_64", "relu")
"""Five MNIST networks, the smallest of fewer than 2,000 parameters."""
SEEDS = tuple(f"{name}{seed}" for name in ("relu", "relog-maxout_4") for seed in ("", *(f"-seed_{n}" for n in range(1, 5))))
"""Five runs each of the plain MNIST network and of one of the logs'."""
HALVES = ("relu-half_1", "relu-half_2")
"""Two plain MNIST networks that share no training image: what fools the one, does it fool the other?"""


def planned() -> list[str]:
    """Every planned model, "mnist/relu" and so on, each once."""
    groups = [*ABLATIONS.items(), *ROBUST.items(), ("mnist", SIZES), ("mnist", SEEDS), ("mnist", HALVES)]
    return list(dict.fromkeys(f"{dataset}/{name}" for dataset, names in groups for name in names))


def matching(patterns: Sequence[str], known: Iterable[str]) -> list[str]:
    """The names that the patterns mean, each once: a glob those of `known` and of the plan that match it, anything else
    itself. Raises ValueError for a glob that matches none."""
    names = list(dict.fromkeys([*known, *planned()]))
    found: list[str] = []
    for pattern in patterns:
        if any(sign in pattern for sign in "*?["):
            matched = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
            if not matched:
                raise ValueError(f"no model of the registry or of the plan matches {pattern!r}")
            found += matched
        else:
            found.append(pattern)
    return list(dict.fromkeys(found))
