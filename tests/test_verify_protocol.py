"""Verifying beyond the cell: what its protocol asks for, and what a worst case says of the cells that it joined."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kept_runs import MODEL, path_of, request
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.protocols import adjusted, load_protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.results import read_cell, write_cell
from robustboard.benchmark.run import Request, run
from robustboard.benchmark.subjects import registry_subjects
from robustboard.benchmark.verify.findings import Finding
from robustboard.benchmark.verify.run import VerifyRequest, verify
from tamperings import with_rows

OFFICIAL = "smoke"


def official(out: Path, n: int | None = None) -> Request:
    """A run of two attacks of an official protocol."""
    protocol = adjusted(load_protocol(OFFICIAL), n=n, epsilon=None, indices=None)
    return Request(protocol, ["digits"], registry_subjects([MODEL], ["digits"]), ["bim", "jsma"], out, device="cpu", quiet=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of honest cells of an official protocol, and of a worst case, none with its candidates."""
    out = tmp_path_factory.mktemp("whole")
    run(official(out))
    run(request(out, keep=False))
    return out


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def finding(folder: Path, protocol: str, attack: str) -> Finding:
    found = verify(VerifyRequest(folder)).findings
    return next(each for each in found if each.name == f"{protocol}/{MODEL}/{attack}")


def sealed(cell: CellResult) -> CellResult:
    return replace(cell, identity=recorded_identity(cell))


def attack(**values: Any) -> Callable[[CellResult], CellResult]:
    return lambda cell: replace(cell, attack=replace(cell.attack, **values))


def told(**values: Any) -> Callable[[CellResult], CellResult]:
    return lambda cell: replace(cell, protocol=replace(cell.protocol, **values))


def fewer(cell: CellResult) -> CellResult:
    """The cell without its last example, the outcome along."""
    rows = {name: values[:-1] for name, values in vars(cell.per_example).items() if not name.startswith("_")}
    n, indices = cell.dataset.n - 1, cell.dataset.indices[:-1]
    fingerprint = load_dataset("digits", "test").select(indices).fingerprint()
    return replace(
        cell,
        dataset=replace(cell.dataset, n=n, indices=indices, fingerprint=fingerprint),
        per_example=replace(cell.per_example, **rows),
        outcome=replace(cell.outcome, n=n),
    )


def finding_after(folder: Path, change: Callable[[CellResult], CellResult]) -> Finding:
    """What is said of the cell of `bim` once it was changed and sealed again."""
    path = folder / OFFICIAL / MODEL / "bim.json"
    write_cell(sealed(change(read_cell(path))), path)
    return finding(folder, OFFICIAL, "bim")


def test_what_was_run_is_what_the_protocol_asks_for(whole: Path) -> None:
    for name in ("bim", "jsma"):
        found = finding(whole, OFFICIAL, name)
        assert found.status == "attack not verified"
        assert not any("protocol" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (attack(params={"loss": "margin", "steps": 1, "step": 1.0}), "step 0.25 against 1.0"),
        (attack(params={"loss": "margin", "steps": 40, "step": 0.25}), "steps 4 against 40"),
        (attack(params={"steps": 4, "step": 0.25}), "loss margin against absent"),
        (attack(eps=0.1), "eps 0.2 against 0.1"),
        (attack(aim="confidence"), "aim budget against confidence"),
        (lambda cell: replace(cell, environment=replace(cell.environment, seed=1)), "seed 0 against 1"),
        (fewer, "n 8 against 7"),
    ],
)
def test_a_weaker_attack_under_an_official_name_is_told(
    folder: Path, change: Callable[[CellResult], CellResult], said: str
) -> None:
    found = finding_after(folder, change)
    assert found.status == "FAIL"
    version = load_protocol(OFFICIAL).version
    assert f"it is not what protocol {OFFICIAL} v{version} asks for: {said}" in found.causes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (told(version=1), r"protocol smoke is of version \d+ here"),
        (told(name="mine"), "its protocol is none of the project's"),
        (attack(version=99), "its attack is of another version here"),
        (attack(name="adversarials_theirs"), "protocol smoke knows no attack of its name"),
    ],
)
def test_what_cannot_be_compared_with_a_protocol_is_said_and_is_no_fault(
    folder: Path, change: Callable[[CellResult], CellResult], said: str
) -> None:
    found = finding_after(folder, change)
    assert found.status == "attack not verified"
    assert any(re.search(f"{said}.* was not compared", remark) for remark in found.remarks), found.remarks


def test_a_protocol_with_other_examples_keeps_its_strength(tmp_path: Path) -> None:
    run(official(tmp_path, n=5))
    name, path = f"{OFFICIAL}@5", tmp_path / f"{OFFICIAL}@5" / MODEL / "bim.json"
    assert finding(tmp_path, name, "bim").causes == ()
    cell = read_cell(path)
    write_cell(sealed(attack(params={**cell.attack.params, "steps": 5})(cell)), path)
    assert any("steps 4 against 5" in cause for cause in finding(tmp_path, name, "bim").causes)


def test_a_worst_case_cannot_call_robust_whom_a_cell_that_it_joined_fooled(folder: Path) -> None:
    assert finding(folder, "kept", "worst_case").causes == ()
    path, joined = path_of(folder, "worst_case"), read_cell(path_of(folder, "fgsm"))
    rows = zip(joined.per_example.correct_clean, joined.per_example.fooled, strict=True)
    at = next(at for at, (right, fooled) in enumerate(rows) if right and fooled)
    cell = read_cell(path)
    write_cell(with_rows(cell, at, fooled=0, found=0, distance=None, confidence=None), path)
    index = joined.per_example.index[at]
    said = f"example {index}: it is recorded as robust, but fgsm, which it joined, fooled it"
    assert said in finding(folder, "kept", "worst_case").causes


def test_an_example_that_two_machines_round_apart_is_no_contradiction(folder: Path) -> None:
    # Wrong clean where fgsm was run and right where the worst case was: neither says that an attack fooled it.
    cell = read_cell(path_of(folder, "worst_case"))
    at = next(at for at, fooled in enumerate(cell.per_example.fooled) if not fooled and cell.per_example.correct_clean[at])
    other = read_cell(path_of(folder, "fgsm"))
    write_cell(with_rows(other, at, correct_clean=0, fooled=0, found=0, distance=0.0, confidence=None), path_of(folder, "fgsm"))
    assert finding(folder, "kept", "worst_case").causes == ()


def test_a_joined_cell_that_is_gone_is_said(folder: Path) -> None:
    path_of(folder, "fgsm").unlink()
    found = finding(folder, "kept", "worst_case")
    assert found.status == "attack not verified"
    assert any("fgsm, which it joined, is not beside it as it was" in remark for remark in found.remarks)
