"""A comparison beside the boards: it counts the cells that they count and tells what they tell, and what one side lacks no gate
passes over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Command
from handmade import make_cell, make_certificate, make_diagnosis, make_manifest
from robustboard.benchmark.certify import record as certificates
from robustboard.benchmark.diagnose import record as diagnoses
from robustboard.benchmark.records import CellResult, NotRun
from robustboard.benchmark.report.compare.sides import read_sides
from robustboard.benchmark.report.publish import read_boards
from robustboard.benchmark.results import MANIFEST_FILE, write_cell, write_manifest

ATTACKS = ["fgsm", "bim", "cw", "worst_case"]


def put_cell(folder: Path, cell: CellResult) -> Path:
    path = folder / "standard" / cell.dataset.name / cell.model.name / f"{cell.attack.name}.json"
    write_cell(cell, path)
    return path


def cells(model: str) -> list[CellResult]:
    """A model's cells, the worst case gone on from the others."""
    found = [replace(make_cell(model, attack), identity=f"{at}" * 64) for at, attack in enumerate(ATTACKS)]
    joined = {cell.attack.name: cell.identity for cell in found[:2]}
    return [*found[:-1], replace(found[-1], joined=joined)]


def diagnose(folder: Path, model: str, verdicts: Mapping[int, diagnoses.Verdict]) -> None:
    seen = {cell.attack.name: cell.identity for cell in cells(model)}
    path = diagnoses.file_of(folder / "standard", "digits", model)
    diagnoses.write_diagnosis(make_diagnosis(model, verdicts, cells=seen), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models with all that was planned, both diagnosed."""
    for model in ("a", "b"):
        for cell in cells(model):
            put_cell(tmp_path, cell)
        diagnose(tmp_path, model, {})
    write_manifest(make_manifest({"digits": {"a": ATTACKS, "b": ATTACKS}}), tmp_path / "standard")
    return tmp_path


def file(folder: Path, attack: str, model: str = "b") -> Path:
    return folder / "standard" / "digits" / model / f"{attack}.json"


def an_older_fgsm(folder: Path) -> None:
    put_cell(folder, replace(make_cell("b", "fgsm"), identity="f" * 64))


def no_cw(folder: Path) -> None:
    file(folder, "cw").unlink()


def a_proof_that_is_contradicted(folder: Path) -> None:
    proof = make_certificate("b", ["robust"] * 20)
    certificates.write_certificate(proof, certificates.file_of(folder / "standard", "digits", "b", "crown"))


def a_run_that_stopped(folder: Path) -> None:
    no_cw(folder)
    stopped = [NotRun("digits", "b", "memory ran out")]
    write_manifest(make_manifest({"digits": {"a": ATTACKS, "b": ATTACKS}}, stopped), folder / "standard")


def attacks_that_nobody_asked_for(folder: Path) -> None:
    plan = make_manifest({"digits": {"a": ATTACKS, "b": ATTACKS}})
    write_manifest(replace(plan, attacks=[*ATTACKS, "spsa"]), folder / "standard")


def a_check_that_failed(folder: Path) -> None:
    diagnose(folder, "b", {7: "fail", 2: "fail"})


def told_by_the_board(folder: Path) -> set[tuple[str, str]]:
    (board,) = read_boards([folder])[0]
    (row,) = (row for row in board.rows if row.model == "b")
    return {(sign, f"digits/b: {mark}") for sign, mark in row.told()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (an_older_fgsm, "worst_case went on from an older fgsm and is not counted"),
        (no_cw, "no result here of cw"),
        (a_proof_that_is_contradicted, "contradiction: bim fooled example 0 and 4 more, which crown proves robust"),
        (a_run_that_stopped, "its last run stopped, memory ran out"),
        (attacks_that_nobody_asked_for, "not asked for, of its protocol: spsa"),
        (a_check_that_failed, "check 7: something was seen"),
    ],
)
def test_a_comparison_tells_what_the_board_tells(folder: Path, change: Callable[[Path], None], said: str) -> None:
    assert read_sides("digits/a", "digits/b", folder).marks_b == ()
    change(folder)
    expected = told_by_the_board(folder)
    assert any(said in mark for _, mark in expected)
    assert set(read_sides("digits/a", "digits/b", folder).marks_b) == expected
    # Whichever attacks are compared, the row is what it is.
    assert set(read_sides("digits/a", "digits/b", folder, ["bim"]).marks_b) == expected
    assert set(read_sides(str(folder), str(folder), folder).marks_b) >= expected


def test_a_worst_case_that_the_board_does_not_count_is_not_compared(folder: Path) -> None:
    assert "worst_case" in read_sides("digits/a", "digits/b", folder).shared
    an_older_fgsm(folder)
    sides = read_sides("digits/a", "digits/b", folder)
    assert "worst_case" not in sides.b
    assert "worst_case" in sides.a


def test_others_that_make_no_table_with_them_leave_two_models_as_they_are(folder: Path) -> None:
    no_cw(folder)
    expected = told_by_the_board(folder)
    for unlike in (make_cell("c", version=2), make_cell("d", eps=0.1)):
        put_cell(folder, unlike)
    sides = read_sides("digits/a", "digits/b", folder)
    assert sides.shared == ["bim", "fgsm", "worst_case"]
    assert set(sides.marks_b) == expected


def test_cells_of_one_model_that_make_no_table_are_compared_and_the_reason_is_told(folder: Path) -> None:
    put_cell(folder, make_cell("b", "fgsm", version=2))
    sides = read_sides("digits/a", "digits/b", folder, ["bim"])
    assert sides.shared == ["bim"]
    assert (
        "▲",
        "digits/b: cells of protocol versions [1, 2] cannot stand in one table; run the older ones again",
    ) in sides.marks_b


Damage = Callable[[Path], object]


def truncated(attack: str) -> Damage:
    return lambda folder: file(folder, attack).write_text("{", encoding="utf-8")


def without(*attacks: str) -> Damage:
    def remove(folder: Path) -> None:
        for attack in attacks:
            file(folder, attack).unlink()

    return remove


def damaged_manifest(folder: Path) -> None:
    (folder / "standard" / MANIFEST_FILE).write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("cw"), "B has no result that counts of standard/digits/b/cw; run again, or name the attacks"),
        (without("cw", "worst_case"), "of standard/digits/b/cw, standard/digits/b/worst_case"),
        (without(*ATTACKS), "of standard/digits/b/bim, standard/digits/b/cw, "),
        (an_older_fgsm, "of standard/digits/b/worst_case"),
        (truncated("bim"), "of standard/digits/b/bim, standard/digits/b/worst_case, and not everything reads ("),
        (damaged_manifest, "cannot be told: not everything reads ("),
    ],
)
def test_what_b_lacks_passes_no_gate(folder: Path, tmp_path: Path, command: Command, damage: Damage, said: str) -> None:
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    copy_of(folder, copy)
    gate = ("compare", folder, copy, "--fail-if-worse", "1.0")
    assert command(*gate).code == 0
    damage(copy)
    answer = command(*gate)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.startswith("error: whether B is worse cannot be told: ")
    assert said in answer.err
    assert command(*gate[:3]).code == 0, "without the gate it is told, and no error"
    assert "Left out or marked:" in command(*gate[:3]).out
    assert command(*gate, "--json").code == 2
    json.loads(command(*gate, "--json").out)


def copy_of(folder: Path, copy: Path) -> None:
    for path in folder.rglob("*.json"):
        there = copy / path.relative_to(folder)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path.read_bytes())


def test_what_only_b_has_or_was_not_asked_about_is_no_reason(folder: Path, tmp_path: Path, command: Command) -> None:
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    copy_of(folder, copy)
    put_cell(copy, make_cell("c"))
    put_cell(copy, make_cell("b", "spsa"))
    assert command("compare", folder, copy, "--fail-if-worse", "1.0").code == 0
    without("cw")(copy)
    assert command("compare", folder, copy, "--fail-if-worse", "1.0", "--attacks", "bim,fgsm").code == 0


def test_a_file_of_a_that_does_not_read_passes_no_gate(folder: Path, tmp_path: Path, command: Command) -> None:
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    copy_of(folder, copy)
    truncated("bim")(folder)
    answer = command("compare", folder, copy, "--fail-if-worse", "1.0")
    assert answer.code == 2
    assert str(file(folder, "bim")) in answer.err
