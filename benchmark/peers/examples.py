"""Whether the time an example stays the same as there are more of them: the runner on 100, 1,000 and 10,000."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from robustboard.benchmark.cells import cell_path
from robustboard.benchmark.peers.contests import MNIST
from robustboard.benchmark.protocols import Protocol, adjusted, load_protocol
from robustboard.benchmark.results import read_cell
from robustboard.benchmark.run import Request, run
from robustboard.benchmark.subjects import registry_subjects

ATTACKS = ("fgsm", "bim")
ROUNDS = {100: 5, 1_000: 3, 10_000: 1}
"""How many runs there are at so many examples; the fastest counts."""
HEADING = "Cost against the number of examples"
NOTE = f"""`robustboard run` on {MNIST}, in its own batches, at the strength of the protocol `standard`. **attack and
judge** is what the result's file says; **all else** is the rest of that run: reading data and model, the clean pass, the journal
and the file."""


@dataclass(frozen=True)
class Scale:
    """One attack on `n` examples: seconds an example of attacking and judging, and seconds of the run's remainder."""

    attack: str
    model: str
    n: int
    seconds_an_example: float
    other_seconds: float


def measure_examples(
    data: Path | None, note: Callable[[str], None], model: str = MNIST, rounds: dict[int, int] | None = None
) -> list[Scale]:
    """Each attack at each number of examples, `rounds` times; `note` is told about each. Raises `InputError` where data lack."""
    rows = []
    for attack in ATTACKS:
        for n, times in (rounds or ROUNDS).items():
            rows.append(min((_once(attack, model, n, data) for _ in range(times)), key=lambda row: row.seconds_an_example))
            note(f"{attack} on {n:,} examples: {1000 * rows[-1].seconds_an_example:.2f} ms an example")
    return rows


def _once(attack: str, model: str, n: int, data: Path | None) -> Scale:
    dataset, name = model.split("/")
    protocol = adjusted(load_protocol("standard"), n=n, epsilon=None, indices=None)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        request = _request(protocol, dataset, model, attack, Path(folder), data)
        run(request)
        passed = time.perf_counter() - began
        seconds = read_cell(cell_path(request.folder, dataset, name, attack)).cost.seconds
    return Scale(attack, model, n, seconds / n, passed - seconds)


def _request(protocol: Protocol, dataset: str, model: str, attack: str, out: Path, data: Path | None) -> Request:
    return Request(
        protocol=protocol,
        datasets=[dataset],
        subjects=registry_subjects([model], [dataset]),
        attacks=[attack],
        out=out,
        data=data,
        device="cpu",
        quiet=True,
    )


def render(rows: Sequence[Scale], style: str) -> str:
    """The table."""
    headers = ["attack", "examples", "attack and judge, ms an example", "all else, s"]
    cells = [[row.attack, f"{row.n:,}", f"{1000 * row.seconds_an_example:.2f}", f"{row.other_seconds:.2f}"] for row in rows]
    return tabulate(cells, headers=headers, tablefmt=style, disable_numparse=True)


def as_json(rows: Sequence[Scale]) -> list[dict[str, object]]:
    """Every field of every row."""
    return [asdict(row) for row in rows]
