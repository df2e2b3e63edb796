"""Where a cell's candidates are: in its own file, and, for a worst case, in those of the cells that it goes on from."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from robustboard.benchmark.candidates import Candidates, read_candidates
from robustboard.benchmark.cells import cell_path
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CandidatesBlock, CellResult
from robustboard.benchmark.results import read_cell
from robustboard.benchmark.verify.agreement import Causes


def gather(cell: CellResult, path: Path, data_set: Dataset, causes: Causes) -> tuple[dict[int, Tensor], int] | None:
    """The candidates (C, H, W) of the examples of the cell in the file `path`, and of how many that it took over none is kept.
    None where the cell keeps none, or what it kept cannot be used, which is among the causes then."""
    block = cell.candidates
    if block is None:
        return None
    rows = cell.per_example
    found = {index for index, there in zip(rows.index, rows.found, strict=True) if there}
    taken_over = {index for indices in block.taken_over.values() for index in indices}
    for index in sorted(taken_over - found):
        causes.blame(index, "taken over", "it was taken over as fooled, but is not recorded as fooled")
    try:
        candidates = _read(block, path, data_set)
    except InputError as trouble:
        causes.say(str(trouble))
        return None
    own, there = found - taken_over, set(candidates.indices)
    for index in sorted(own - there):
        causes.blame(index, "no candidate", "an adversarial example is recorded, but no candidate is kept")
    for index in sorted(there - own):
        causes.blame(index, "no verdict", "a candidate is kept, but no adversarial example is recorded")
    shown = candidates.restored(data_set, own)
    for attack, indices in block.taken_over.items():
        shown |= _taken_over(cell, path, attack, set(indices) & found, data_set, causes)
    return shown, len((taken_over & found) - set(shown))


def joined_cell(cell: CellResult, path: Path, attack: str) -> tuple[Path, CellResult]:
    """The cell of `attack` beside the worst case in the file `path`, which it joined, and its file. Raises `InputError` where
    there is none, or another than it joined."""
    try:
        beside = path.with_name(cell_path(Path(), "", "", attack).name)
        other = read_cell(beside)
    except ValueError as trouble:  # a name that no file can have
        raise InputError(f"no file can hold a cell of {attack!r}") from trouble
    if cell.joined.get(attack) != other.identity:
        raise InputError(f"{beside.name} is another cell than the one it joined")
    return beside, other


def _taken_over(
    cell: CellResult, path: Path, attack: str, wanted: set[int], data_set: Dataset, causes: Causes
) -> dict[int, Tensor]:
    """The candidates of the examples `wanted` from the cell of the attack that fooled them first; none where it keeps none."""
    try:
        beside, other = joined_cell(cell, path, attack)
        if other.candidates is None:
            return {}
        candidates = _read(other.candidates, beside, data_set)
    except InputError as trouble:
        causes.say(f"what it took over from {attack} cannot be judged: {trouble}")
        return {}
    for index in sorted(wanted - set(candidates.indices)):
        causes.blame(index, f"not by {attack}", f"it was taken over from {attack}, which has no candidate for it")
    return candidates.restored(data_set, wanted)


def _read(block: CandidatesBlock, path: Path, data_set: Dataset) -> Candidates:
    candidates, shape = read_candidates(block, path), tuple(data_set.images.shape[1:])
    if tuple(candidates.wholes.shape[1:]) != shape:
        raise InputError(f"its candidates have the shape {tuple(candidates.wholes.shape[1:])}, the images {shape}")
    return candidates
