"""One cell's result from the records of its examples: outcome, example by example, cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustboard.benchmark.cells import Cell
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.evaluate import BatchRecord, ExampleRecord
from robustboard.benchmark.judge import TOLERANCE, Clean, Threat
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
from robustboard.benchmark.statistics import wilson
from robustboard.benchmark.store import now

QUANTILES = (10, 25, 50, 75, 90)
EPS_MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


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
    by_index = latest(batches)
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
        outcome=outcome(examples, attack.threat, any(batch.has_start for batch in batches)),
        per_example=per_example(examples),
        cost=_cost(batches, device),
        environment=EnvironmentBlock(**current_environment(), seed=cell.protocol.seed, started=started, finished=now()),
        joined={other.attack.name: other.identity for other in joined},
    )


def latest(batches: Sequence[BatchRecord]) -> dict[int, ExampleRecord]:
    """What became of each example: where batches share one, the last says."""
    return {example.index: example for batch in batches for example in batch.examples}


def outcome(examples: Sequence[ExampleRecord], threat: Threat, has_start: bool) -> Outcome:
    """What the records of a cell's examples come to; `has_start` where the attack has a cheap start. At least one is needed."""
    n = len(examples)
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
    return example.distance is not None and example.distance <= radius + TOLERANCE


def _quantiles(distances: Sequence[float]) -> dict[str, float]:
    if not distances:
        return {}
    values = np.percentile(distances, QUANTILES)
    return {f"p{q}": round(float(value), 5) for q, value in zip(QUANTILES, values, strict=True)}


def per_example(examples: Sequence[ExampleRecord]) -> PerExample:
    """The examples as a cell records them: distances and confidences to four digits."""
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
