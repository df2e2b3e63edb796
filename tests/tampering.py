"""Honest results with their candidates, and what is done to them: where a field follows from another, it is changed along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from conftest import put
from robustboard.benchmark.candidates import candidates_path
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.run import Request
from robustboard.benchmark.statistics import wilson
from robustboard.benchmark.subjects import registry_subjects
from robustboard.benchmark.verify.findings import Finding, Report
from robustboard.models import registry

PROTOCOL = """
name = "told"
version = 1
title = "told"
seed = 3
attacks = ["fgsm", "ddn", "jsma", "max_confidence", "worst_case"]

[cascades]
worst_case = ["pgd"]

[datasets.digits]
n = 60
linf = 0.2
l2 = 1.0
gamma = 0.145

[datasets.digits.attacks]
ddn = { steps = 10 }
pgd = { steps = 8, step = 0.25 }
max_confidence = { steps = 2, step = 1.0 }
"""
MODEL = "digits/relog"
ATTACKS = ("ddn", "fgsm", "jsma", "max_confidence", "worst_case")


def request(out: Path, *, keep: bool = True, attacks: list[str] | None = None) -> Request:
    """A run of the protocol on a digits model of the registry."""
    protocol = load_protocol(str(put(out / "told.toml", PROTOCOL)))
    subjects = registry_subjects([MODEL], ["digits"])
    return Request(protocol, ["digits"], subjects, attacks, out, device="cpu", quiet=True, keep_adversarials=keep)


def path_of(folder: Path, attack: str) -> Path:
    return folder / "told" / MODEL / f"{attack}.json"


def finding(report: Report, attack: str) -> Finding:
    return next(found for found in report.findings if found.name == f"told/{MODEL}/{attack}")


def statuses(report: Report) -> dict[str, str]:
    return {Path(found.name).name: found.status for found in report.findings}


def resealed(cell: CellResult, path: Path) -> CellResult:
    """The cell with the identity, and the hash of the candidates, that it should have."""
    digest = registry.file_sha256(candidates_path(path))
    assert cell.candidates is not None
    cell = replace(cell, candidates=replace(cell.candidates, sha256=digest))
    return replace(cell, identity=recorded_identity(cell))


def counted_again(cell: CellResult) -> CellResult:
    """The cell with the outcome that its verdicts come to."""
    rows, n = cell.per_example, cell.outcome.n
    robust = sum(bool(right) and not fooled for right, fooled in zip(rows.correct_clean, rows.fooled, strict=True))
    sure = [c for f, c in zip(rows.fooled, rows.confidence, strict=True) if f and c is not None]
    outcome = replace(
        cell.outcome,
        clean_accuracy=sum(rows.correct_clean) / n,
        robust_accuracy=robust / n,
        robust_accuracy_ci95=wilson(robust, n),
        n_fooled=sum(rows.fooled),
        unfooled=(sum(rows.correct_clean) - sum(rows.found)) / n,
        fooled_after_rounding=0,
        confidence_on_fooled=round(sum(sure) / len(sure), 4),
    )
    distances = sorted(d for f, d in zip(rows.found, rows.distance, strict=True) if f and d is not None)
    quantiles = {f"p{q}": float(torch.tensor(distances).double().quantile(q / 100)) for q in (10, 25, 50, 75, 90)}
    return replace(cell, outcome=replace(outcome, distance_quantiles=quantiles))


def with_rows(cell: CellResult, at: int, **values: Any) -> CellResult:
    """The cell with other values for its example at `at`, and the outcome to match."""
    rows = {name: list(getattr(cell.per_example, name)) for name in values}
    for name, value in values.items():
        rows[name][at] = value
    return counted_again(replace(cell, per_example=replace(cell.per_example, **rows)))


def first(cell: CellResult, *, found: bool) -> int:
    """The first example right clean for which something was found, or was not."""
    rows = zip(cell.per_example.correct_clean, cell.per_example.found, strict=True)
    return next(at for at, (right, there) in enumerate(rows) if right and bool(there) == found)


def hide(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), fooled=0, found=0, distance=None, confidence=None)


def wrong_from_the_start(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), correct_clean=0, distance=0.0)


def outcome(**values: Any) -> Callable[[CellResult, Path], CellResult]:
    return lambda cell, path: replace(cell, outcome=replace(cell.outcome, **values))


def flip_a_bit(cell: CellResult, path: Path) -> CellResult:
    kept = candidates_path(path)
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    return cell


def drop_the_block(cell: CellResult, path: Path) -> CellResult:
    return replace(cell, candidates=None)
