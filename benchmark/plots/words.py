"""What pictures say about their numbers: where they come from, the attacks with every parameter, the marks of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from robustboard.attacks.attack import Norm
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.datasets import title
from robustboard.benchmark.plots.style import SUSPECT, plain
from robustboard.benchmark.radii import radius
from robustboard.benchmark.records import AttackBlock, CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.setting import SIGNS

NORMS: dict[Norm, str] = {**SIGNS, "l0": "L0"}
UNITS: dict[Norm, str] = {"linf": "L∞ distance", "l2": "L2 distance", "l0": "features changed"}
BANDS = "Bands and bars: Wilson's 95 % interval."
BOUND = "Every robust accuracy is an upper bound: a stronger attack can only lower it."
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MOST_MARKS = 6
_LONGEST = 300
"""Characters of a row's marks."""


def percent(share: float) -> str:
    """ "98.9", in %."""
    return f"{100 * share:.1f}"


def class_name(dataset: str, label: int) -> str:
    """What people call a class: CIFAR-10's have names, the others are their numbers."""
    return _CIFAR10[label] if dataset == "cifar10" and 0 <= label < len(_CIFAR10) else f"{label}"


def name_of(row: Row) -> str:
    """The model's name, marked where the row is."""
    return signed(plain(row.model), row.sign)


def signed(name: str, sign: str) -> str:
    """A model's name, with its row's sign if it has one."""
    return f"{name} {sign}".rstrip()


def marked(name: str, failed: bool) -> str:
    """An attack's name, with ▲ where it `failed` on an example."""
    return signed(name, SUSPECT if failed else "")


def where(board: Board, sizes: Iterable[int], model: str = "") -> str:
    """ "MNIST · relu · protocol standard v4 · n = 1000", or the range of `sizes`."""
    parts = [title(board.dataset), *([model] if model else []), f"protocol {plain(board.protocol)} v{board.version}"]
    found = sorted(set(sizes))
    if found:
        parts.append(f"n = {found[0]}" if len(found) == 1 else f"n = {found[0]} to {found[-1]}")
    return " · ".join(parts)


def mark_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """One sentence a marked row, why it is; of many the first six and how many more there are of each sign."""
    marked_rows = [row for row in rows if row.sign]
    found = []
    for row in marked_rows[:_MOST_MARKS]:
        found.append(f"{row.sign} {plain(row.model)}: {_reasons(row)}.")
    more = Counter(row.sign for row in marked_rows[_MOST_MARKS:])
    counts = " and ".join(f"{more[sign]} more {sign}" for sign in sorted(more))
    return (*found, *([f"{counts}: see the table."] if counts else []))


def _reasons(row: Row) -> str:
    """The row's marks, those in doubt first: as many whole ones as a few lines hold, and how many more there are."""
    marks = [plain(mark, _LONGEST) for _, mark in sorted(row.told(), key=lambda told: told[0] != SUSPECT)]
    shown = [mark for place, mark in enumerate(marks) if len("; ".join(marks[: place + 1])) <= _LONGEST]
    left = len(marks) - len(shown)
    return "; ".join(shown) + (f"; and {left} more: see the table" if left else "")


def absent_notes(rows: Sequence[Row], shown: Sequence[Row], what: Sequence[str]) -> tuple[str, ...]:
    """A sentence on the rows that are not `shown`, because they have no cell of any of `what`; none where all are."""
    gone = [plain(row.model) for row in rows if row not in shown]
    more = f" and {len(gone) - _MOST_MARKS} more" if len(gone) > _MOST_MARKS else ""
    return (f"Not shown, no cell of {' or '.join(what)}: {', '.join(gone[:_MOST_MARKS])}{more}.",) if gone else ()


def attack_words(block: AttackBlock) -> str:
    """ "bim (version 1): L∞ ε = 0.2; loss margin, steps 40, step 0.03333"; of a cascade its stages."""
    whose = "" if block.implementation == "robustboard" else f" of {plain(block.implementation)}"
    head = f"{plain(block.name)}{whose} (version {block.version}): {budget(block)}"
    if block.name in CASCADES:
        stages = [str(value).partition(":")[0] for value in block.params.values()]
        return f"{head}; survivors of all others go to {plain(', '.join(stages), 200)}." if stages else f"{head}."
    values = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in block.params.items()]
    return f"{head}; {plain(', '.join(values), 400)}." if values else f"{head}."


def cell_words(cells: Sequence[CellResult], board: Board) -> str:
    """The attack of some cells, and the protocols of those that are not the board's."""
    foreign = [cell.protocol for cell in cells if cell.protocol.name != board.protocol]
    names = dict.fromkeys(f"{plain(protocol.name)} v{protocol.version}" for protocol in foreign)
    also = f" {'Also' if len(foreign) < len(cells) else 'From'} protocol {', '.join(names)}." if names else ""
    return f"{attack_words(cells[0].attack)}{also}"


def budget(block: AttackBlock) -> str:
    """ "L∞ ε = 0.2", or for L0 "L0 ≤ 9 features"."""
    return f"L0 ≤ {block.eps:g} features" if block.norm == "l0" else f"{NORMS[block.norm]} ε = {radius(block.eps)}"
