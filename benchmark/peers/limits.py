"""How close each attack is to its limit: its passes against a fixed batch's, its time against its passes', its memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from robustboard.attacks.attack import AttackCard
from robustboard.attacks.libraries.library import all_cards
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.judge import CountedModel
from robustboard.benchmark.memory import peak_memory
from robustboard.benchmark.peers.contests import CIFAR10, MNIST, MNIST_AT
from robustboard.benchmark.peers.fixed_loop import Passes, Strength, fixed_passes
from robustboard.benchmark.peers.measure import Network, Spent
from robustboard.benchmark.peers.pace import Pace, go_both_ways, in_turn
from robustboard.benchmark.peers.run import load_network
from robustboard.benchmark.protocols import Protocol, load_protocol

EXAMPLES = 128
"""The runner's largest batch on a processor."""
FEWER = {
    MNIST: {"jsma": 32, "spsa": 32},
    MNIST_AT: {"spsa": 8},
    CIFAR10: {"fab_t": 64, "cw": 32, "ddn": 32, "fmn": 32, "jsma": 64, "spsa": 16},
}
"""Where so many would take minutes."""
TARGETS = {MNIST: 0.8, MNIST_AT: 0.8, CIFAR10: 0.9}
"""The efficiency to reach: a pass of the small network is so short that an attack's own arithmetic shows."""
ATTACKS = [
    "fgsm",
    "bim",
    "pgd",
    "pgd_t",
    "apgd_ce",
    "apgd_t",
    "fab_t",
    "square",
    "autoattack",
    "cw",
    "ddn",
    "fmn",
    "spsa",
    "jsma",
    "max_confidence",
]
WITH_SURVIVORS = ["pgd_t", "apgd_t", "square", "spsa", "max_confidence"]
"""On the network where most examples stay to the end: what an attack costs once batches no longer run empty."""
CHOSEN = {MNIST: ATTACKS, MNIST_AT: WITH_SURVIVORS, CIFAR10: ATTACKS}
HEADING = "Close to the limit"
NOTE = """Each attack alone, on one batch of n examples that the network has right, at the strength of the protocol `standard` for
that data set; what it does not mention is at its defaults. **passes**: rows forward + back, an example. **of a fixed batch**:
their share of those that a loop would make in which every example takes every step: 100 % where nobody can leave early.
**passes/wall**: the time that the passes alone would take at the best batch size, over the time that the attack took, both the
median of runs made in turn, after one that finds no memory to reuse (a run of 2 s and more is the only one and counts); above 1
where more rows than there are images go at once (spsa), or the machine slowed down meanwhile; *slow* is below 0.8 on MNIST, 0.9
on CIFAR-10. **filled**: rows that only fill up batches to a multiple of four, against those asked for: where one example of many
fights on, its passes cost as much as four. **peak memory**: by how much the resident memory of the process rose (the kernel's
high-water mark) above where it stood with the network and the images loaded; in brackets, the same for one pass forward and back
of that batch. `cw_cold` and `lbfgs`, which no board runs, are left out: they take minutes; so are `apgd_dlr`, `fgsm_ce`,
`bim_ce`, `pgd_ce` and the attacks whose names end in `_l2` and `_linf`, which are the loops of those shown with another loss or
norm."""


@dataclass(frozen=True)
class Limit:
    """One attack on one network: passes and `fixed` passes an example, forward rows that only `filled` small batches against
    those asked for, the median of the runs' seconds, `efficiency`, and the peak bytes beyond the model of the attack and of a
    single pass of the same batch (None where the system does not tell)."""

    attack: str
    model: str
    n: int
    forwards: float
    backwards: float
    fixed: Passes | None
    filled: float
    seconds: float
    efficiency: float
    target: float
    peak_bytes: int | None
    pass_bytes: int | None

    @property
    def share(self) -> float | None:
        """Passes made, of those that a fixed batch would make."""
        return None if self.fixed is None else (self.forwards + self.backwards) / self.fixed.total


def measure_limits(data: Path | None, note: Callable[[str], None]) -> list[Limit]:
    """Every attack of `CHOSEN` on its networks; `note` is told about each when done. Raises `InputError` if data lack."""
    protocol = load_protocol("standard")
    return [
        row
        for model, attacks in CHOSEN.items()
        for row in _on_network(load_network(model, EXAMPLES, data), attacks, protocol, note)
    ]


def _on_network(network: Network, attacks: Sequence[str], protocol: Protocol, note: Callable[[str], None]) -> Iterator[Limit]:
    pace = Pace.of(network)
    for name in attacks:
        row = _row(all_cards()[name], first(network, FEWER.get(network.name, {}).get(name, EXAMPLES)), protocol, pace)
        note(f"{name} on {network.name}: {row.seconds:.2f} s, passes/wall {row.efficiency:.2f}")
        yield row


def first(network: Network, n: int) -> Network:
    """The network with its first `n` examples."""
    images, labels = network.images[:n], network.labels[:n]
    return Network(network.name, network.head, network.module, images, labels, network.classes)


def strength_of(card: AttackCard, network: Network, protocol: Protocol) -> Strength:
    """The protocol's strength for the network's data set, the attack's defaults where it says nothing."""
    dataset = network.name.split("/")[0]
    given = {**card.parameters(), **protocol.parameters(dataset, card)}
    return Strength(given, protocol.threat(dataset, card, network.images[0].numel()).epsilon, network.classes)


@dataclass(frozen=True)
class Run(Spent):
    """One run of an attack, and how many rows went forward with those that fill up small batches."""

    rows: int


def attack_once(card: AttackCard, network: Network, strength: Strength) -> Run:
    """One run on all examples as one batch."""
    attack, filled = card.bind(network.head, **strength.parameters), CountedModel(network.module)
    counted = CountedModel(filled)
    keys = make_keys(0, torch.arange(len(network.images)), "peers")
    began = time.perf_counter()
    attack(counted, network.images, network.labels, keys, epsilon=strength.epsilon)
    return Run(time.perf_counter() - began, counted.forwards, counted.backwards, filled.forwards)


def _row(card: AttackCard, network: Network, protocol: Protocol, pace: Pace) -> Limit:
    strength, n = strength_of(card, network, protocol), len(network.images)
    peaks: list[int | None] = []

    def once() -> Run:
        if peaks:
            return attack_once(card, network, strength)
        # Only the first run is measured: it finds all memory given back, and is not timed where others follow.
        runs: list[Run] = []
        peaks.append(peak_memory(lambda: runs.append(attack_once(card, network, strength))))
        return runs[0]

    turns = in_turn(once, pace)
    run = turns.runs[0]
    return Limit(
        card.name,
        network.name,
        n,
        run.forwards / n,
        run.backwards / n,
        fixed_passes(card.name, strength),
        run.rows / run.forwards - 1,
        turns.seconds,
        turns.efficiency,
        TARGETS[network.name],
        peaks[0],
        peak_memory(lambda: go_both_ways(network.module, network.images)),
    )


def render(rows: Sequence[Limit], style: str) -> str:
    """The table."""
    headers = [
        "attack",
        "model (n)",
        "passes",
        "of a fixed batch",
        "seconds",
        "passes/wall",
        "",
        "filled",
        "peak memory (a pass)",
    ]
    cells = [
        [
            row.attack,
            f"{row.model} ({row.n})",
            f"{row.forwards:.1f} + {row.backwards:.1f}",
            "—" if row.fixed is None or row.share is None else f"{row.share:.1%} of {row.fixed.total:,}",
            f"{row.seconds:.2f}",
            f"{row.efficiency:.2f}",
            "" if row.efficiency >= row.target else "slow",
            f"{row.filled:.0%}",
            f"{_megabytes(row.peak_bytes)} ({_megabytes(row.pass_bytes)})",
        ]
        for row in rows
    ]
    return tabulate(cells, headers=headers, tablefmt=style, disable_numparse=True)


def _megabytes(count: int | None) -> str:
    return "—" if count is None else f"{count / 1e6:.0f} MB"


def as_json(rows: Sequence[Limit]) -> list[dict[str, object]]:
    """Every field of every row."""
    return [{**asdict(row), "share": row.share} for row in rows]
