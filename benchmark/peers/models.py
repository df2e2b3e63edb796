"""Whether the time of an attack follows the network's own: BIM's step beside one pass forward and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from robustboard.benchmark.peers.contests import CIFAR10, MNIST, Side
from robustboard.benchmark.peers.measure import Network, best_batch_size, timed
from robustboard.benchmark.peers.pace import Pace, in_turn
from robustboard.benchmark.peers.run import load_network
from robustboard.models.registry import read_cards

MODELS = (
    "mnist/relu-mlp_32-fast_at",
    "mnist/relu",
    "mnist/relog",
    "mnist/relog-maxout_4",
    "mnist/relog-minmaxout_4_2-sigmoid_out",
    MNIST,
    "cifar10/relog",
    CIFAR10,
)
EXAMPLES = 64
STEPS = 20
NO_WAY = 1e-6
"""An ε within which no example is done, so that all take every step."""
HEADING = "Cost against the model"
NOTE = f"""**a pass** is one forward and back, an example, at the best batch size; **a step** is one of {STEPS} of `bim` on
{EXAMPLES} examples that all stay to the end (ε = {NO_WAY:g}), with its share of the last look. The quotient is the same wherever
a network's own arithmetic is most of the work; the attack's takes some microseconds an image, more than the smallest's."""


@dataclass(frozen=True)
class Size:
    """A network: its parameters, seconds of a pass forward and back an example, and of a step of `bim` an example."""

    model: str
    parameters: int
    pass_seconds: float
    step_seconds: float

    @property
    def quotient(self) -> float:
        """A step in passes; 1 is the limit."""
        return self.step_seconds / self.pass_seconds


def measure_models(data: Path | None, note: Callable[[str], None], models: Sequence[str] = MODELS) -> list[Size]:
    """Each network; `note` is told about each when it is done. Raises `InputError` where data or entry lack."""
    rows = []
    for model in models:
        rows.append(size_of(load_network(model, EXAMPLES, data)))
        note(f"{model}: a step of bim takes {rows[-1].quotient:.2f} passes")
    return rows


def size_of(network: Network) -> Size:
    """A pass and a step of a registry network, in turn."""
    side = Side("bim", {"steps": STEPS, "step": 1 / STEPS})
    size = best_batch_size(side, network, NO_WAY)
    turns = in_turn(lambda: timed(side, network, NO_WAY, size), Pace.of(network))
    parameters = read_cards()[network.name].parameters
    return Size(network.name, parameters, turns.middle[1], turns.seconds / turns.runs[0].backwards)


def render(rows: Sequence[Size], style: str) -> str:
    """The table."""
    headers = ["model", "parameters", "a pass, µs", "a step of bim, µs", "step / pass"]
    cells = [
        [
            row.model,
            f"{row.parameters:,}",
            f"{1e6 * row.pass_seconds:.0f}",
            f"{1e6 * row.step_seconds:.0f}",
            f"{row.quotient:.2f}",
        ]
        for row in rows
    ]
    return tabulate(cells, headers=headers, tablefmt=style, disable_numparse=True)


def as_json(rows: Sequence[Size]) -> list[dict[str, object]]:
    """Every field of every row."""
    return [{**asdict(row), "quotient": row.quotient} for row in rows]
