"""What a run keeps on disk: finished cells, and finished batches of unfinished ones, so that a kill costs one batch.

Beside a cell `bim.json` lie, while it is being worked on, journals `bim.partial-*.jsonl`: a first line with the cell's
identity, then one line a finished batch. Any run of the same identity, resumed or sharded, picks them all up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from robustboard.benchmark.cascade import CASCADES, fooled_already
from robustboard.benchmark.cells import Cell
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BatchRecord, ExampleRecord
from robustboard.benchmark.judge import Clean
from robustboard.benchmark.records import (
    SCHEMA,
    AttackBlock,
    CellResult,
    Cost,
    DatasetBlock,
    EnvironmentBlock,
    ModelBlock,
    Outcome,
    PerExample,
    ProtocolBlock,
)
from robustboard.benchmark.results import read_cell, write_cell
from robustboard.benchmark.statistics import wilson

QUANTILES = (10, 25, 50, 75, 90)
EPS_MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def is_finished(cell: Cell) -> bool:
    """Whether the cell's file is there and of the same identity, and, for a worst case, everything that it joined still is,
    and nothing that came since fools one of its survivors.
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
        mine = (cell.model.weights_sha256, cell.model.subject.source, cell.model.code)
        same_model = (other.model.weights_sha256, other.model.source, other.model.code) == mine
        same_protocol = (other.protocol.name, other.environment.seed) == (cell.protocol.name, cell.protocol.seed)
        same_threat = (other.attack.norm, other.attack.eps) == (threat.norm, threat.epsilon)
        if same_model and same_protocol and same_threat and other.attack.name not in CASCADES:
            found.append(other)
    return found


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
    """Remove what a kill at the last moment left beside a finished cell: journals, half-written files."""
    Journal(cell).remove()
    for path in cell.path.parent.glob(f".{cell.path.name}.*"):
        path.unlink(missing_ok=True)


class Journal:
    """The finished batches of one cell. `shard` names this process's own file among those of its fellows."""

    def __init__(self, cell: Cell, shard: str = "0-of-1") -> None:
        self._folder = cell.path.parent
        self._stem = cell.path.stem
        self._identity = cell.identity
        self._path = self._folder / f"{self._stem}.partial-{shard}.jsonl"

    def read(self) -> list[BatchRecord]:
        """Every whole batch of this identity, from all journals of the cell, none twice; half-written lines are passed over."""
        found: list[BatchRecord] = []
        seen: set[int] = set()
        for record in (record for path in self._files() for record in self._batches(path)):
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


def assemble(
    cell: Cell,
    clean: Clean,
    batches: Sequence[BatchRecord],
    device: str,
    started: str,
    joined: Sequence[CellResult] = (),
) -> CellResult:
    """The cell's result from all its batches; `joined` are the cells that a worst case goes on from. Raises ValueError when
    an example is missing."""
    by_index = {example.index: example for batch in batches for example in batch.examples}
    missing = [index for index in cell.attack.indices if index not in by_index]
    if missing:
        raise ValueError(f"{len(missing)} examples are not evaluated yet, the first is {missing[0]}")
    examples = [by_index[index] for index in cell.attack.indices]
    subject, attack = cell.model.subject, cell.attack
    return CellResult(
        schema=SCHEMA,
        identity=cell.identity,
        protocol=ProtocolBlock(cell.protocol.name, cell.protocol.version),
        dataset=DatasetBlock(
            cell.examples.name,
            cell.examples.split,
            len(examples),
            list(attack.indices),
            cell.fingerprint,
            cell.examples.note,
        ),
        model=ModelBlock(
            subject.name,
            cell.model.weights_sha256,
            cell.model.parameters,
            subject.source,
            subject.head,
            clean.output,
            subject.expected_clean_accuracy,
            cell.model.code,
        ),
        attack=AttackBlock(
            attack.name,
            attack.implementation,
            attack.version,
            attack.threat.norm,
            attack.threat.aim,
            attack.threat.epsilon,
            dict(attack.parameters),
        ),
        outcome=_outcome(cell, examples, any(batch.has_start for batch in batches)),
        per_example=_per_example(examples),
        cost=_cost(batches, device),
        environment=EnvironmentBlock(**current_environment(), seed=cell.protocol.seed, started=started, finished=now()),
        joined={other.attack.name: other.identity for other in joined},
    )


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _outcome(cell: Cell, examples: Sequence[ExampleRecord], has_start: bool) -> Outcome:
    n, threat = len(examples), cell.attack.threat
    right = [example for example in examples if example.correct_clean]
    robust = sum(not example.fooled for example in right)
    fooled = [example for example in right if example.fooled]
    found = [example for example in right if example.found]
    failures = [example.failure for example in examples if example.failure]
    distances = [example.distance for example in found if example.distance is not None]
    confidences = [example.confidence for example in fooled if example.confidence is not None]
    return Outcome(
        clean_accuracy=len(right) / n,
        robust_accuracy=robust / n,
        robust_accuracy_ci95=wilson(robust, n),
        n=n,
        n_fooled=sum(example.fooled for example in examples),
        n_attack_failures=len(failures),
        unfooled=(len(right) - len(found)) / n,
        upper_bound_only=bool(failures),
        failure_reasons={reason: failures.count(reason) for reason in sorted(set(failures))},
        distance_quantiles=_quantiles(distances),
        robust_accuracy_at=_curve(right, threat.epsilon, n) if threat.aim == "minimum" and threat.norm != "l0" else [],
        confidence_on_fooled=round(float(np.mean(confidences)), 4) if confidences else None,
        fooled_after_rounding=sum(example.fooled_rounded for example in right),
        from_start=round(sum(example.from_start for example in found) / len(found), 4) if has_start and found else None,
    )


def _curve(right: Sequence[ExampleRecord], epsilon: float, n: int) -> list[tuple[float, float]]:
    radii = [round(multiple * epsilon, 6) for multiple in EPS_MULTIPLES]
    return [(radius, sum(not _within(example, radius) for example in right) / n) for radius in radii]


def _within(example: ExampleRecord, radius: float) -> bool:
    return example.distance is not None and example.distance <= radius + 1e-6


def _quantiles(distances: Sequence[float]) -> dict[str, float]:
    if not distances:
        return {}
    values = np.percentile(distances, QUANTILES)
    return {f"p{q}": round(float(value), 5) for q, value in zip(QUANTILES, values, strict=True)}


def _per_example(examples: Sequence[ExampleRecord]) -> PerExample:
    return PerExample(
        index=[example.index for example in examples],
        correct_clean=[1 if example.correct_clean else 0 for example in examples],
        fooled=[1 if example.fooled else 0 for example in examples],
        found=[1 if example.found else 0 for example in examples],
        distance=[_rounded(example.distance) for example in examples],
        confidence=[_rounded(example.confidence) for example in examples],
        clean_confidence=[round(example.clean_confidence, 4) for example in examples],
        attack_failed=[1 if example.failure else 0 for example in examples],
        iterations=[example.iterations for example in examples],
    )


def _cost(batches: Sequence[BatchRecord], device: str) -> Cost:
    attacked = max(1, sum(batch.attacked for batch in batches))
    return Cost(
        seconds=round(sum(batch.seconds for batch in batches), 3),
        forwards=round(sum(batch.forwards for batch in batches) / attacked, 2),
        backwards=round(sum(batch.backwards for batch in batches) / attacked, 2),
        peak_memory_bytes=max(batch.peak_memory_bytes for batch in batches),
        device=device,
        batch_size=max(batch.attacked for batch in batches),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
