"""Runs that keep their candidates: a small protocol on a digits model, for the tests of what is kept and of its verification."""

from __future__ import annotations

from pathlib import Path

from conftest import put
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.run import Request
from robustboard.benchmark.subjects import registry_subjects
from robustboard.benchmark.verify.findings import Finding, Report

PROTOCOL = """
name = "kept"
version = 1
title = "kept"
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
max_confidence = { steps = 2, step = 1.0, near_step = 1.0 }
"""
MODEL = "digits/relog"
ATTACKS = ("ddn", "fgsm", "jsma", "max_confidence", "worst_case")


def request(
    out: Path,
    *,
    model: str = MODEL,
    keep: bool = True,
    attacks: list[str] | None = None,
    text: str = PROTOCOL,
    shard: tuple[int, int] = (0, 1),
    batch_size: int | None = None,
) -> Request:
    """A run of the protocol, or of a text like it, on a digits model of the registry."""
    return Request(
        protocol=load_protocol(str(put(out / "kept.toml", text))),
        datasets=["digits"],
        subjects=registry_subjects([model], ["digits"]),
        attacks=attacks,
        out=out,
        device="cpu",
        batch_size=batch_size,
        shard=shard,
        quiet=True,
        keep_adversarials=keep,
    )


def path_of(folder: Path, attack: str, model: str = MODEL) -> Path:
    """Where the cell of an attack lies."""
    return folder / "kept" / model / f"{attack}.json"


def finding(report: Report, attack: str) -> Finding:
    """What a verification says of the cell of an attack on `MODEL`."""
    return next(found for found in report.findings if found.name == f"kept/{MODEL}/{attack}")


def statuses(report: Report) -> dict[str, str]:
    """The status of each finding by the last part of its name."""
    return {Path(found.name).name: found.status for found in report.findings}
