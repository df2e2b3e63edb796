"""Boards as records: one row a cell, its numbers as numbers, with what is missing and the marks of its model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from robustboard.benchmark.canaries.grades import Grade, summary, version_of
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.optimality import optimalities
from robustboard.benchmark.report.success_fail import of_cell
from robustboard.benchmark.report.tables import CASCADE_OF, is_bound

State = Literal["measured", "missing", "not run"]


@dataclass(frozen=True)
class ResultRow:
    """One cell of a board, or one that is not there. Accuracies are shares of all n examples; None, or an empty text, where there
    is no such number."""

    protocol: str
    protocol_version: int
    dataset: str
    model: str
    """Empty where a whole data set was not run."""
    attack: str
    """Empty where a whole model was not run."""
    state: State
    """Measured; missing, as planned and no readable result of it here; or not run, for the reason."""
    reason: str = ""
    norm: str = ""
    aim: str = ""
    eps: float | None = None
    n: int | None = None
    clean_accuracy: float | None = None
    robust_accuracy: float | None = None
    """An upper bound always; where `upper_bound_only`, of an attack that failed on some examples, too."""
    robust_low: float | None = None
    robust_high: float | None = None
    """Wilson's 95 % interval."""
    upper_bound_only: bool = False
    worst_case: float | None = None
    """The model's, per example over everything run in this norm."""
    worst_case_n: int | None = None
    worst_case_upper_bound_only: bool = False
    """Whether an attack of the norm failed, or the cascade of attacks that belongs to it is not run."""
    above_worst_case: float | None = None
    """By what share of its examples this cell's robust accuracy lies above the worst case of the same; None in a norm without."""
    certified_accuracy: float | None = None
    """The model's, a lower bound within the same L∞ ε; its robust accuracy where `certified_exact`."""
    certified_by: str = ""
    certified_exact: bool = False
    n_fooled: int | None = None
    n_attack_failures: int | None = None
    unfooled: float | None = None
    median_distance: float | None = None
    """Among the examples right clean and fooled at any distance."""
    optimality: float | None = None
    """How near a minimum-norm attack comes to the best distances known, 1 for as near."""
    confidence_on_fooled: float | None = None
    coverage_at_half: float | None = None
    """Of max-confidence attacks: the share of clean images with a confidence above ½."""
    success_at_half: float | None = None
    """The share of clean images that are right with a confidence above ½."""
    failure_at_half: float | None = None
    """The share that is wrong with a confidence above ½ under attack: a lower bound where `upper_bound_only`."""
    success_fail_area: float | None = None
    """Under the curve of success against failure: 1 is best."""
    forwards: float | None = None
    backwards: float | None = None
    """Passes an attacked example."""
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    device: str = ""
    seed: int | None = None
    implementation: str = ""
    attack_version: int | None = None
    params: str = ""
    """Every parameter of the attack, as a JSON object."""
    canaries: str = ""
    """How many models with known answers the implementation passed: "23/23"."""
    parameters: int | None = None
    """The model's trainable numbers."""
    output: str = ""
    source: str = ""
    weights_sha256: str = ""
    data_note: str = ""
    candidates: int | None = None
    """How many candidates are kept beside the cell; None where none are."""
    git_commit: str = ""
    finished: str = ""
    identity: str = ""
    flags: tuple[str, ...] = ()
    """The marks of the model's row, and what is missing of it, a sentence each."""
    sign: str = ""
    """▲ where a mark puts the number that sorts the board in doubt, △ where they leave it what it is."""

    def plain(self) -> dict[str, Any]:
        """By name, the flags as a JSON list."""
        return {**asdict(self), "flags": json.dumps(self.flags, ensure_ascii=False)}


def rows_of(boards: Iterable[Board], grades: Sequence[Grade] = (), known: Sequence[CellResult] = ()) -> list[ResultRow]:
    """The boards' cells, model by model in the order of the boards, then what is missing or not run. `grades` and `known` as for
    `tables.render`."""
    found: list[ResultRow] = []
    for board in boards:
        for row in board.rows:
            found += _of_model(board, row, grades, known)
        where = (board.protocol, board.version, board.dataset)
        found += [ResultRow(*where, absent.model, "", "not run", absent.reason) for absent in board.not_run]
    return found


def to_csv(rows: Sequence[ResultRow]) -> str:
    """A line a row under the names of `ResultRow`'s fields; numbers in full, nothing where there is none, params and flags as
    JSON. Texts are as they are: a spreadsheet may take one that begins with = for a formula."""
    lines = io.StringIO()
    # Lines end as in RFC 4180: the writer quotes a carriage return in a name only where it ends lines, too.
    writer = csv.DictWriter(lines, [field.name for field in fields(ResultRow)])
    writer.writeheader()
    writer.writerows(row.plain() for row in rows)
    return lines.getvalue()


def flags_of(row: Row) -> tuple[str, ...]:
    """The row's marks, and what is missing of it."""
    return tuple(mark for _, mark in row.told())


def _of_model(board: Board, row: Row, grades: Sequence[Grade], known: Sequence[CellResult]) -> list[ResultRow]:
    near, flags = optimalities(row.cells, known), flags_of(row)
    found = [_of_cell(row, cell, grades, near.get(name), flags) for name, cell in row.cells.items()]
    for name in row.missing:
        found.append(
            ResultRow(board.protocol, board.version, board.dataset, row.model, name, "missing", flags=flags, sign=row.sign)
        )
    return found


def _of_cell(row: Row, cell: CellResult, grades: Sequence[Grade], optimality: float | None, flags: tuple[str, ...]) -> ResultRow:
    attack, outcome, cost, environment = cell.attack, cell.outcome, cell.cost, cell.environment
    worst = row.worst_case(attack.norm) if attack.norm in CASCADE_OF else None
    proof = row.certificate if attack.norm == "linf" else None
    return ResultRow(
        protocol=cell.protocol.name,
        protocol_version=cell.protocol.version,
        dataset=cell.dataset.name,
        model=cell.model.name,
        attack=attack.name,
        state="measured",
        norm=attack.norm,
        aim=attack.aim,
        eps=attack.eps,
        n=outcome.n,
        clean_accuracy=outcome.clean_accuracy,
        robust_accuracy=outcome.robust_accuracy,
        robust_low=outcome.robust_accuracy_ci95[0],
        robust_high=outcome.robust_accuracy_ci95[1],
        upper_bound_only=outcome.upper_bound_only,
        worst_case=worst.accuracy if worst else None,
        worst_case_n=worst.n if worst else None,
        worst_case_upper_bound_only=bool(worst and is_bound(row, worst, attack.norm)),
        above_worst_case=row.above_worst_case(cell),
        certified_accuracy=proof.outcome.certified_accuracy if proof else None,
        certified_by=proof.method.name if proof else "",
        certified_exact=bool(proof and proof.is_exact),
        n_fooled=outcome.n_fooled,
        n_attack_failures=outcome.n_attack_failures,
        unfooled=outcome.unfooled,
        median_distance=outcome.distance_quantiles.get("p50"),
        optimality=optimality,
        confidence_on_fooled=outcome.confidence_on_fooled,
        **(_of_confidence(cell) if attack.aim == "confidence" else {}),
        forwards=cost.forwards,
        backwards=cost.backwards,
        seconds=cost.seconds,
        peak_memory_bytes=cost.peak_memory_bytes,
        device=cost.device,
        seed=environment.seed,
        implementation=attack.implementation,
        attack_version=attack.version,
        params=json.dumps(attack.params, ensure_ascii=False),
        canaries=summary(grades, attack.name, version_of(attack.implementation, attack.version)) or "",
        parameters=cell.model.parameters,
        output=cell.model.output,
        source=cell.model.source,
        weights_sha256=cell.model.weights_sha256,
        data_note=cell.dataset.note,
        candidates=None if cell.candidates is None else cell.candidates.n,
        git_commit=environment.git_commit,
        finished=environment.finished,
        identity=cell.identity,
        flags=flags,
        sign=row.sign,
    )


def _of_confidence(cell: CellResult) -> dict[str, Any]:
    """What a max-confidence attack is reported by, at a threshold of ½ and over all."""
    curve = of_cell(cell)
    success, failure = curve.at_half()
    return {
        "coverage_at_half": curve.covered_at_half / curve.n,
        "success_at_half": success / curve.n,
        "failure_at_half": failure / curve.n,
        "success_fail_area": curve.area,
    }
