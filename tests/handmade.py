"""Result cells and manifests made by hand, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from robustboard.benchmark.certify import record
from robustboard.benchmark.certify.record import CertifiedResult
from robustboard.benchmark.diagnose import record as diagnosis_record
from robustboard.benchmark.diagnose.record import DiagnosedModel, Diagnosis, Finding
from robustboard.benchmark.records import (
    SCHEMA,
    AttackBlock,
    CellResult,
    Cost,
    DatasetBlock,
    EnvironmentBlock,
    Manifest,
    ModelBlock,
    NotRun,
    Outcome,
    PerExample,
    ProtocolBlock,
)
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.statistics import wilson

Flag = Literal[0, 1]
Norm = Literal["linf", "l2", "l0"]
NORMS: dict[str, Norm] = {
    **dict.fromkeys(["fgsm", "bim", "spsa", "square", "autoattack", "max_confidence", "worst_case"], "linf"),
    **dict.fromkeys(["cw", "ddn", "fmn"], "l2"),
    "jsma": "l0",
}


def flags(values: Sequence[bool | int]) -> list[Flag]:
    """0/1 as the contract wants them."""
    return [1 if value else 0 for value in values]


def make_cell(
    model: str = "relu",
    attack: str = "bim",
    *,
    correct: Sequence[bool | int] = (1,) * 20,
    fooled: Sequence[bool | int] = (1,) * 5 + (0,) * 15,
    first: int = 0,
    protocol: str = "standard",
    version: int = 1,
    dataset: str = "digits",
    fingerprint: str = "f" * 64,
    params: Mapping[str, Any] | None = None,
    eps: float = 0.2,
    weights: str = "a" * 64,
    output: Literal["logits", "probabilities", "log-probabilities"] = "logits",
    expected: float | None = None,
    failures: int = 0,
    seed: int = 0,
    note: str = "",
    aim: Literal["budget", "minimum", "confidence"] = "budget",
    implementation: str = "robustboard",
) -> CellResult:
    """A cell in which `fooled` (of the examples right clean) were fooled and the last `failures` attacks broke a rule."""
    n = len(correct)
    hit = [bool(right and wrong) for right, wrong in zip(correct, fooled, strict=True)]
    robust = sum(bool(right) and not wrong for right, wrong in zip(correct, hit, strict=True))
    return CellResult(
        schema=SCHEMA,
        identity="0" * 64,
        protocol=ProtocolBlock(protocol, version),
        dataset=DatasetBlock(dataset, "test", n, list(range(first, first + n)), fingerprint, note),
        model=ModelBlock(model, weights, 1234, "registry", "softmax", output, expected),
        attack=AttackBlock(
            attack,
            implementation,
            1,
            NORMS[attack.rpartition(":")[2]],
            aim,
            eps,
            dict(params if params is not None else {"steps": 40}),
        ),
        outcome=Outcome(
            clean_accuracy=sum(map(bool, correct)) / n,
            robust_accuracy=robust / n,
            robust_accuracy_ci95=wilson(robust, n),
            n=n,
            n_fooled=sum(hit),
            n_attack_failures=failures,
            unfooled=robust / n,
            upper_bound_only=failures > 0,
            failure_reasons={"the candidate is outside the box": failures} if failures else {},
            distance_quantiles={},
            robust_accuracy_at=[],
            confidence_on_fooled=0.7 if any(hit) else None,
            fooled_after_rounding=sum(hit),
            from_start=None,
        ),
        per_example=PerExample(
            index=list(range(first, first + n)),
            correct_clean=flags(correct),
            fooled=flags(hit),
            found=flags(hit),
            distance=[0.1 if found else (None if right else 0.0) for right, found in zip(correct, hit, strict=True)],
            confidence=[0.7 if found else None for found in hit],
            clean_confidence=[0.9] * n,
            attack_failed=flags([position >= n - failures for position in range(n)]),
            iterations=[1] * n,
        ),
        cost=Cost(1.0, 40.0, 40.0, 1_000_000, "cpu", n),
        environment=EnvironmentBlock(
            "unknown",
            False,
            "3.11",
            "2.6",
            "absent",
            "absent",
            "0.1.0",
            "a processor",
            1,
            seed,
            "2024-01-01T00:00:00+00:00",
            "2024-01-01T00:01:00+00:00",
        ),
    )


def make_certificate(
    model: str = "relu",
    verdicts: Sequence[record.Verdict] = ("robust",) * 5 + ("undecided",) * 15,
    *,
    method: record.MethodName = "crown",
    eps: float = 0.2,
    weights: str = "a" * 64,
    fingerprint: str = "f" * 64,
    version: int = 1,
    dataset: str = "digits",
) -> CertifiedResult:
    """A certificate that fits the cells of `make_cell`."""
    n, robust = len(verdicts), list(verdicts).count("robust")
    exact = method == "exact"
    return CertifiedResult(
        schema=record.SCHEMA,
        identity="0" * 64,
        protocol=ProtocolBlock("standard", version),
        dataset=DatasetBlock(dataset, "test", n, list(range(n)), fingerprint, ""),
        model=record.CertifiedModel(model, weights, "registry"),
        method=record.MethodBlock(method, 1, eps, eps + 1e-6, [], 60.0 if exact else None, "HiGHS" if exact else ""),
        outcome=record.CertifiedOutcome(
            n=n,
            clean_accuracy=1 - list(verdicts).count("misclassified") / n,
            certified_accuracy=robust / n,
            certified_accuracy_ci95=wilson(robust, n),
            undecided=list(verdicts).count("undecided"),
            rounding=0.01,
        ),
        per_example=record.CertifiedExamples(list(range(n)), list(verdicts), ["crown"] * n, [None] * n, [0.1] * n),
        environment=make_cell().environment,
    )


def make_diagnosis(
    model: str = "relu",
    verdicts: Mapping[int, diagnosis_record.Verdict] | None = None,
    *,
    weights: str = "a" * 64,
    source: str = "registry",
    code: str = "",
    protocol: str = "standard",
    version: int = 1,
    dataset: str = "digits",
    cells: Mapping[str, str] | None = None,
    reason: str = "something was seen",
    finished: str = "2024-01-01T00:01:00+00:00",
    looked_at: diagnosis_record.LookedAt = "model",
) -> Diagnosis:
    """A diagnosis that fits the one cell of `make_cell`: every check passes but for those in `verdicts`."""
    found = [
        Finding(number, f"title {number}", (verdicts or {}).get(number, "pass"), reason, looked_at, {"n": 20}, [], 0.1)
        for number in range(1, diagnosis_record.CHECKS + 1)
    ]
    return Diagnosis(
        schema=diagnosis_record.SCHEMA,
        identity="0" * 64,
        protocol=ProtocolBlock(protocol, version),
        dataset=DatasetBlock(dataset, "test", 20, list(range(20)), "f" * 64, ""),
        model=DiagnosedModel(model, weights, source, code, "softmax"),
        cells={"bim": "0" * 64} if cells is None else dict(cells),
        others=["relog"],
        findings=found,
        environment=replace(make_cell().environment, finished=finished),
    )


def diagnosed(
    cells: Iterable[CellResult],
    verdicts: Mapping[str, Mapping[int, diagnosis_record.Verdict]] | None = None,
    reason: str = "something was seen",
) -> list[Diagnosis]:
    """For every model of the cells a diagnosis of them all, which found nothing but the `verdicts` by model."""
    by_model: dict[tuple[str, int, str, ModelBlock], dict[str, str]] = {}
    for cell in cells:
        key = cell.protocol.name, cell.protocol.version, cell.dataset.name, cell.model
        by_model.setdefault(key, {})[cell.attack.name] = cell.identity
    return [
        make_diagnosis(
            model.name,
            (verdicts or {}).get(model.name),
            weights=model.weights_sha256,
            source=model.source,
            code=model.code,
            protocol=protocol,
            version=version,
            dataset=dataset,
            cells=seen,
            reason=reason,
        )
        for (protocol, version, dataset, model), seen in by_model.items()
    ]


def make_manifest(
    planned: Mapping[str, Mapping[str, Sequence[str]]],
    not_run: Sequence[NotRun] = (),
    *,
    name: str = "standard",
    title: str = "standard",
) -> Manifest:
    """A manifest of version 1."""
    plan = {dataset: {model: list(attacks) for model, attacks in models.items()} for dataset, models in planned.items()}
    return Manifest(ProtocolBlock(name, 1), title, plan, list(not_run))


def with_outcome(cell: CellResult, **changes: Any) -> CellResult:
    """The cell with other numbers in its outcome."""
    return replace(cell, outcome=replace(cell.outcome, **changes))


def fooled(*positions: int, n: int = 20) -> list[int]:
    """0/1 of n examples, 1 at these."""
    return [1 if position in positions else 0 for position in range(n)]


def one_board(cells: list[CellResult], *manifests: Manifest) -> Board:
    """The one board that these cells, all diagnosed without a mark, make."""
    boards = make_boards(cells, manifests, [], diagnosed(cells))
    assert len(boards) == 1
    return boards[0]
