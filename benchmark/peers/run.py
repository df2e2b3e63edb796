"""Run the contests and lay out the table: ratio, strength, and how close ours comes to the passes alone."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.environment import version_of
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.judge import look_clean, prepared
from robustboard.benchmark.peers.contests import EPSILON, Contest, Side, contests
from robustboard.benchmark.peers.measure import Network, Timing, best_batch_size, strength, timed
from robustboard.models.registry import load_model, read_cards

ROUNDS = 3
LONG_S = 100.0
"""A side that has taken so many seconds in all runs no more: what disturbs for a moment is lost in a run so long."""
TOLERANCE = 1e-9
TITLE = f"""# Against the libraries

`make peers`: ours and each peer on the same network, images and number of threads, in turn, each at its best batch size, the
fastest of {ROUNDS} rounds, or of fewer where a side took {LONG_S:.0f} s and more. A ratio counts only where ours is at least as
strong.
"""


@dataclass(frozen=True)
class Entry:
    """One side's part of a line: seconds (the best of the rounds), batch size, strength, passes an example."""

    attack: str
    seconds: float
    batch_size: int
    strength: float
    forwards: float
    backwards: float


@dataclass(frozen=True)
class Line:
    """A contest run. `ratio` is that to the slowest side it is measured by."""

    line: str
    model: str
    n: int
    measure: str
    at_least: float
    ours: Entry
    peers: tuple[Entry, ...]
    reference: Entry | None
    ratio: float
    as_strong: bool

    @property
    def reached(self) -> bool:
        """Whether ours is as fast as was to be reached, and as strong."""
        return self.ratio >= self.at_least and self.as_strong


def run_contest(contest: Contest, network: Network, rounds: int = ROUNDS) -> Line:
    """Ours and the peers in turn, `rounds` times, a side that takes long fewer; each at its best batch size, the fastest round
    counts."""
    norm = all_cards()[contest.ours.attack].norm
    epsilon = EPSILON[network.name.split("/")[0]][norm]
    extra = (contest.reference,) if contest.reference else ()
    sides = (contest.ours, *contest.peers, *extra)
    sizes = {side.attack: best_batch_size(side, network, epsilon) for side in sides}
    best: dict[str, Timing] = {}
    spent = dict.fromkeys(sizes, 0.0)
    for _ in range(rounds):
        for side in sides:
            if spent[side.attack] > LONG_S:
                continue
            timing = timed(side, network, epsilon, sizes[side.attack])
            spent[side.attack] += timing.seconds
            if side.attack not in best or timing.seconds < best[side.attack].seconds:
                best[side.attack] = timing
    longest = max(_longest(timing) for timing in best.values())
    entries = {side.attack: _entry(side, best[side.attack], contest, longest, sizes, len(network.images)) for side in sides}
    ours, peers = entries[contest.ours.attack], tuple(entries[side.attack] for side in contest.peers)
    reference = entries[contest.reference.attack] if contest.reference else None
    return Line(
        contest.line,
        contest.model,
        len(network.images),
        contest.measure,
        contest.at_least,
        ours,
        peers,
        reference,
        _ratio(contest, ours, peers),
        _is_as_strong(contest, ours, peers, reference),
    )


def _entry(side: Side, timing: Timing, contest: Contest, longest: float, sizes: dict[str, int], n: int) -> Entry:
    value = strength(timing, contest.measure, longest)
    return Entry(side.attack, timing.seconds, sizes[side.attack], value, timing.forwards / n, timing.backwards / n)


def _longest(timing: Timing) -> float:
    found = timing.verdict.distance[timing.reached]
    return float(found.max()) if len(found) else 0.0


def _ratio(contest: Contest, ours: Entry, peers: Sequence[Entry]) -> float:
    if contest.measure == "mean distance":
        return min(peers, key=lambda peer: peer.strength).seconds / ours.seconds
    return min(peer.seconds for peer in peers) / ours.seconds


def _is_as_strong(contest: Contest, ours: Entry, peers: Sequence[Entry], reference: Entry | None) -> bool:
    if contest.measure in ("targets reached", "failure at t = 0.5"):
        return all(ours.strength >= peer.strength - TOLERANCE for peer in peers)
    near = reference is None or ours.strength <= contest.near * reference.strength
    return near and all(ours.strength <= contest.shorter * peer.strength + TOLERANCE for peer in peers)


def load_network(name: str, n: int, data: Path | None) -> Network:
    """A registry network and the first `n` test examples that it has right. Raises `InputError` where data or entry lack."""
    card = read_cards()[name]
    examples = load_dataset(card.dataset, "test", data).select(range(4 * n))
    module = load_model(card)
    with prepared(module, torch.device("cpu"), channels_last=True) as network:
        clean = look_clean(network, examples.images, examples.labels, card.head)
    rows = clean.correct.nonzero().squeeze(1)[:n]
    module.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(name, card.head, module, examples.images[rows], examples.labels[rows], 10)


def chosen_contests(lines: Sequence[str]) -> list[Contest]:
    """The contests of these lines, all where none is named. Raises `InputError` for a line that does not exist."""
    known = list(dict.fromkeys(contest.line for contest in contests()))
    for line in lines:
        if line not in known:
            raise InputError(f"there is no contest {line!r}{suggest(line, known)}; there are {', '.join(known)}")
    return [contest for contest in contests() if not lines or contest.line in lines]


def run_contests(chosen: Iterable[Contest], data: Path | None, note: Callable[[str], None]) -> list[Line]:
    """All lines, one after the other; `note` is told about each when it is done."""
    lines = []
    for contest in chosen:
        line = run_contest(contest, load_network(contest.model, contest.n, data))
        note(f"{line.line} on {line.model}: {line.ratio:.2f}× (to reach {line.at_least:g}×)")
        lines.append(line)
    return lines


def render(lines: Sequence[Line], style: str = "github") -> str:
    """The table, and what it was measured with."""
    headers = ["attack", "model (n)", "ratio", "to reach", "", "measure", "ours", "peers"]
    rows = [
        [
            line.line,
            f"{line.model} ({line.n})",
            f"{line.ratio:.2f}×",
            f"{line.at_least:g}×",
            "✓" if line.reached else "as strong, too slow" if line.as_strong else "weaker: does not count",
            line.measure,
            _told(line.ours),
            "; ".join(_told(entry) for entry in (*line.peers, *([line.reference] if line.reference else []))),
        ]
        for line in lines
    ]
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "torchattacks", "foolbox"))
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True) + f"\n\n{versions}; {machine}.\n"


def page(lines: Sequence[Line]) -> str:
    """The committed page."""
    return f"{TITLE}\n{render(lines)}"


def _told(entry: Entry) -> str:
    passes = f"{entry.forwards:.0f} + {entry.backwards:.0f} passes"
    return f"{entry.attack} {entry.strength:.4g} in {entry.seconds:.2f} s ({passes} an example, batch {entry.batch_size})"


def as_json(lines: Sequence[Line]) -> list[dict[str, object]]:
    """Every field of every line."""
    return [{**asdict(line), "reached": line.reached} for line in lines]
