"""What a run keeps on disk: finished cells, and finished batches of unfinished ones, so that a kill costs one batch.

Beside a cell `bim.json` lie, while it is being worked on, journals `bim.partial-*.jsonl`: a first line with the cell's
identity, then one line a finished batch. Any run of the same identity, resumed or sharded, picks them all up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from robustboard.benchmark.candidates import are_kept, candidates_path, gathered, write_candidates
from robustboard.benchmark.cascade import CASCADES, fooled_already
from robustboard.benchmark.cells import BuiltModel, Cell
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BatchRecord, ExampleRecord, lacks_candidates
from robustboard.benchmark.records import CellResult, ProtocolBlock
from robustboard.benchmark.results import read_cell, write_cell


def is_finished(cell: Cell, *, with_candidates: bool = False) -> bool:
    """Whether the cell's file is there and of the same identity, `with_candidates` if asked, and, for a worst case, everything
    that it joined still is, and nothing that came since fools one of its survivors.
    A damaged or foreign file counts as not there. A result that only another version of the protocol sets apart is taken
    over: the protocol has changed elsewhere."""
    try:
        there = read_cell(cell.path)
    except InputError:
        return False
    if there.identity != cell.identity:
        if there.protocol.name != cell.protocol.name or there.identity != cell.identity_under(there.protocol.version):
            return False
        there = _taken_over(there, cell)
    if with_candidates and not are_kept(there.candidates, cell.path):
        return False
    if not cell.attack.is_cascade:
        return True
    beside = {other.attack.name: other for other in fellows(cell)}
    if any(name not in beside or beside[name].identity != identity for name, identity in there.joined.items()):
        return False
    rows = zip(there.per_example.index, there.per_example.correct_clean, there.per_example.fooled, strict=True)
    survivors = {index for index, right, fooled in rows if right and not fooled}
    newcomers = [other for name, other in beside.items() if name not in there.joined]
    return not survivors & {record.index for record in fooled_already(newcomers, sorted(survivors))}


def _taken_over(there: CellResult, cell: Cell) -> CellResult:
    """The result under the new version's identity, written; worst cases beside it that joined it know it by that from now on."""
    newer = replace(there, identity=cell.identity, protocol=ProtocolBlock(cell.protocol.name, cell.protocol.version))
    write_cell(newer, cell.path)
    for path in (cell.path.with_stem(name) for name in CASCADES):
        try:
            worst = read_cell(path)
        except InputError:
            continue
        if worst.joined.get(there.attack.name) == there.identity:
            write_cell(replace(worst, joined={**worst.joined, there.attack.name: cell.identity}), path)
    return newer


def fellows(cell: Cell) -> list[CellResult]:
    """The readable cells of the same model, examples' data set, norm and ε beside a worst case: what it joins."""
    threat, found = cell.attack.threat, []
    for path in sorted(cell.path.parent.glob("*.json")):
        try:
            other = read_cell(path)
        except InputError:
            continue
        same_model = _is_of(other, cell.model)
        same_protocol = (other.protocol.name, other.environment.seed) == (cell.protocol.name, cell.protocol.seed)
        same_threat = (other.attack.norm, other.attack.eps) == (threat.norm, threat.epsilon)
        if same_model and same_protocol and same_threat and other.attack.name not in CASCADES:
            found.append(other)
    return found


def _is_of(result: CellResult, model: BuiltModel) -> bool:
    its = result.model
    return (its.weights_sha256, its.source, its.code) == (model.weights_sha256, model.subject.source, model.code)


def is_of_another_model(cell: Cell) -> bool:
    """Whether what lies where the cell goes is a result of other weights or other code."""
    try:
        return not _is_of(read_cell(cell.path), cell.model)
    except InputError:
        return False


def left_before(cell: Cell) -> list[BatchRecord]:
    """What a worst case that is to be run again, because cells that it joined have changed, knows already: the examples that its
    own attacks left, none of them failing. They would leave them again. With them goes their share of the cost, by iterations.
    The new cell's environment is that of the run that finishes it. Nothing for other cells."""
    try:
        there = read_cell(cell.path)
    except InputError:
        return []
    if not cell.attack.is_cascade or there.identity != cell.identity:
        return []
    rows, cost = there.per_example, there.cost
    attacked = [at for at, iterations in enumerate(rows.iterations) if iterations]
    left = [at for at in attacked if rows.correct_clean[at] and not (rows.found[at] or rows.attack_failed[at])]
    share = sum(rows.iterations[at] for at in left) / max(1, sum(rows.iterations[at] for at in attacked))
    size = max(1, cost.batch_size)
    return [
        BatchRecord(
            [ExampleRecord(rows.index[at], True, rows.clean_confidence[at], iterations=rows.iterations[at]) for at in some],
            attacked=len(some),
            forwards=round(cost.forwards * len(attacked) * share * len(some) / len(left)),
            backwards=round(cost.backwards * len(attacked) * share * len(some) / len(left)),
            seconds=cost.seconds * share * len(some) / len(left),
            peak_memory_bytes=cost.peak_memory_bytes,
        )
        for some in (left[first : first + size] for first in range(0, len(left), size))
    ]


def make_room(cell: Cell) -> str:
    """Before a cell is written: move a file that is no result aside, and say so; "" where there is none."""
    if not cell.path.exists():
        return ""
    try:
        read_cell(cell.path)
    except InputError as trouble:
        aside = cell.path.with_name(f"{cell.path.name}.not-a-result")
        cell.path.replace(aside)
        return f"{trouble}; it is kept as {aside.name}"
    return ""


def tidy(cell: Cell) -> None:
    """Remove what a kill at the last moment left beside a finished cell: journals, half-written files. Journals of a run that
    keeps the candidates, which the cell does not have, are left to it."""
    journal = Journal(cell)
    keeps = any(example.candidate for record in journal.read(with_candidates=False) for example in record.examples)
    if not keeps or read_cell(cell.path).candidates is not None:
        journal.remove()
    for path in cell.path.parent.glob(f".{cell.path.stem}.*"):
        path.unlink(missing_ok=True)


def finish(cell: Cell, result: CellResult, examples: Mapping[int, ExampleRecord], *, with_candidates: bool) -> None:
    """Write a finished cell, and before it, if asked, the candidates of its examples: a cell names no file that is not there.
    A worst case says whose candidates are those of the examples that it took over. Candidates of an older result go."""
    if with_candidates:
        own = {index: example.candidate for index, example in examples.items() if example.found and not example.taken_over}
        taken_over: dict[str, list[int]] = {}
        for index, example in sorted(examples.items()):
            if example.taken_over:
                taken_over.setdefault(example.taken_over, []).append(index)
        packed = gathered(own, tuple(cell.examples.images.shape[1:]))
        result = replace(result, candidates=write_candidates(packed, cell.path, taken_over))
    write_cell(result, cell.path)
    if not with_candidates:
        candidates_path(cell.path).unlink(missing_ok=True)
    Journal(cell).remove()


class Journal:
    """The finished batches of one cell. `shard` names this process's own file among those of its fellows."""

    def __init__(self, cell: Cell, shard: str = "0-of-1") -> None:
        self._folder = cell.path.parent
        self._stem = cell.path.stem
        self._identity = cell.identity
        self._path = self._folder / f"{self._stem}.partial-{shard}.jsonl"

    def read(self, *, with_candidates: bool) -> list[BatchRecord]:
        """Every whole batch of this identity, from all journals of the cell, none twice; half-written lines are passed over.
        `with_candidates`, a batch of a run that kept none is not whole, unless there was nothing to keep."""
        found: list[BatchRecord] = []
        seen: set[int] = set()
        for record in (record for path in self._files() for record in self._batches(path)):
            if with_candidates and lacks_candidates(record):
                continue
            indices = {example.index for example in record.examples}
            if not indices <= seen:
                found.append(record)
                seen |= indices
        return found

    def append(self, record: BatchRecord) -> None:
        """Add a finished batch and see it onto the disk. Raises `InputError` when the disk refuses."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._path.exists() or not self._is_ours(self._path):
                self._path.write_text(json.dumps({"identity": self._identity}) + "\n", encoding="utf-8")
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(asdict(record)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as trouble:
            raise InputError(
                f"cannot write {self._path}: {trouble.strerror}; what was saved is kept: make room, or choose another --out"
            ) from trouble

    def remove(self) -> None:
        """Drop the journals: the cell is finished."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._stem}.partial-*.jsonl"))

    def _is_ours(self, path: Path) -> bool:
        try:
            with path.open(encoding="utf-8") as file:
                return bool(json.loads(file.readline())["identity"] == self._identity)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _batches(self, path: Path) -> Iterable[BatchRecord]:
        if not self._is_ours(path):
            return
        try:
            lines = path.read_text(encoding="utf-8").splitlines()[1:]
        except FileNotFoundError:  # a fellow shard finished the cell meanwhile
            return
        for line in lines:
            try:
                fields = json.loads(line)
                examples = [ExampleRecord(**example) for example in fields.pop("examples")]
                yield BatchRecord(examples, **fields)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
