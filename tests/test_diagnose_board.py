"""Diagnoses on the board: a failed check marks its model wherever the number stands, and never another model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from handmade import make_cell, make_diagnosis
from robustboard.benchmark.diagnose.record import CHECKS, Diagnosis, file_of, write_diagnosis
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.compare.differences import compare_sides
from robustboard.benchmark.report.compare.page import as_json
from robustboard.benchmark.report.compare.page import render as render_comparison
from robustboard.benchmark.report.compare.sides import read_sides
from robustboard.benchmark.report.diagnoses import INFORMING, NOT_DIAGNOSED
from robustboard.benchmark.report.publish import publish
from robustboard.benchmark.report.tables import render
from robustboard.benchmark.results import write_cell

SEEN = "black-box fools 3 that white-box left (examples 1, 2, 3)"
FEW, MANY = (1,) * 2 + (0,) * 18, (1,) * 15 + (0,) * 5


def board(cells: list[CellResult], *diagnoses: Diagnosis) -> Board:
    (found,) = make_boards(cells, [], [], diagnoses)
    return found


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_a_failed_check_marks_the_row_and_is_told_below(style: str) -> None:
    text = render([board([make_cell("relu"), make_cell("relog")], make_diagnosis("relu", {7: "fail"}, reason=SEEN))], style)
    assert f"▲ relu: check 7: {SEEN}." in text
    assert any("relu ▲" in line for line in text.splitlines())
    assert "relog ▲" not in text


def test_passes_and_warnings_mark_nothing() -> None:
    (row,) = board([make_cell()], make_diagnosis(verdicts={8: "warn", 9: "not applicable"})).rows
    assert row.marks == ()
    assert not row.is_suspect


@pytest.mark.parametrize("number", range(1, CHECKS + 1))
def test_a_flag_that_doubts_the_number_ranks_last_and_one_that_informs_does_not(number: int) -> None:
    cells = [make_cell("strong", fooled=FEW), make_cell("weak", fooled=MANY)]
    found = board(cells, make_diagnosis("strong", {number: "fail"}))
    (strong,) = (row for row in found.rows if row.model == "strong")
    assert strong.marks == (f"check {number}: something was seen",)
    assert [row.model for row in found.rows] == (["strong", "weak"] if number in INFORMING else ["weak", "strong"])


@pytest.mark.parametrize(
    ("diagnosis", "why"),
    [
        (make_diagnosis(verdicts={7: "fail"}, weights="b" * 64), "is of other weights"),
        (make_diagnosis(verdicts={7: "fail"}, code="c" * 64), "is of other code"),
        (make_diagnosis(verdicts={7: "fail"}, source="mine.py:build (sha256 1)"), "is of other code"),
    ],
)
def test_a_diagnosis_of_something_else_is_not_shown_and_the_row_says_so(diagnosis: Diagnosis, why: str) -> None:
    (row,) = board([make_cell()], diagnosis).rows
    assert row.marks == (f"its diagnosis {why} and is not shown: diagnose it again",)
    # The number itself is what it was.
    assert not row.is_suspect


@pytest.mark.parametrize(
    ("diagnosis", "why"),
    [
        (make_diagnosis(verdicts={9: "fail", 18: "fail"}, version=2), "is of version 2 of the protocol"),
        (make_diagnosis(verdicts={9: "fail", 19: "fail"}, cells={"bim": "1" * 64}), "went by an older bim"),
        (make_diagnosis(verdicts={9: "fail"}, cells={"bim": "0" * 64, "spsa": "0" * 64}), "went by an older spsa"),
    ],
)
def test_what_failed_before_is_remembered_when_cells_change(diagnosis: Diagnosis, why: str) -> None:
    """The model is the same, and so is what it hides; what its older attacks did, 18 and 19, is not said of these."""
    strong, weak = make_cell("relu", fooled=FEW), make_cell("weak", fooled=MANY)
    first, last = board([strong, weak], diagnosis, make_diagnosis("weak")).rows
    assert (first.model, last.model, last.sign) == ("weak", "relu", "▲")
    assert last.marks == ("check 9 before: something was seen", f"its diagnosis {why}: diagnose it again")


def test_a_model_that_nobody_diagnosed_says_so_and_keeps_its_place() -> None:
    cells = [make_cell("strong", fooled=FEW), make_cell("weak", fooled=MANY)]
    strong, weak = board(cells, make_diagnosis("weak")).rows
    assert (strong.model, strong.marks, strong.sign, strong.is_suspect) == ("strong", (NOT_DIAGNOSED,), "△", False)
    assert (weak.model, weak.marks, weak.sign) == ("weak", (), "")


def test_cells_that_came_later_leave_a_diagnosis_standing() -> None:
    cells = [make_cell(attack="bim"), make_cell(attack="fgsm")]
    (row,) = board(cells, make_diagnosis(verdicts={7: "fail"}, cells={"bim": "0" * 64})).rows
    assert row.marks == ("check 7: something was seen", "its diagnosis was made before fgsm was run: diagnose it again")
    (row,) = board(cells, make_diagnosis(cells={})).rows
    assert row.told() == [("△", "its diagnosis was made before bim and fgsm were run: diagnose it again")]


def test_a_check_that_could_not_be_made_marks_like_one_that_failed() -> None:
    doubting, informing = (board([make_cell()], make_diagnosis(verdicts={number: "not made"})).rows[0] for number in (9, 17))
    assert doubting.told() == [("▲", "check 9: something was seen")]
    assert informing.told() == [("△", "check 17: something was seen")]


def test_of_two_diagnoses_the_newer_speaks() -> None:
    old, new = make_diagnosis(verdicts={7: "fail"}), make_diagnosis(verdicts={9: "fail"}, finished="2025-01-01T00:00:00+00:00")
    other = make_diagnosis(verdicts={11: "fail"}, weights="b" * 64, finished="2026-01-01T00:00:00+00:00")
    for diagnoses in ([old, new, other], [other, new, old]):
        (row,) = board([make_cell()], *diagnoses).rows
        assert row.marks == ("check 9: something was seen",)


@pytest.mark.parametrize("protocol", ["other", "standard"])
def test_a_known_diagnosis_stands_in_for_a_missing_one(protocol: str) -> None:
    cells = [make_cell("strong", fooled=FEW), make_cell("weak", fooled=MANY)]
    cases = {7: "fail", 8: "fail", 18: "fail", 19: "fail"}
    known = [
        make_diagnosis("strong", cases, protocol=protocol, version=9, cells={"ddn": "1" * 64}, reason=SEEN),  # type: ignore[arg-type]
        make_diagnosis("weak", protocol=protocol, version=9),
    ]
    (found,) = make_boards(cells, [], [], [], known)
    weak, strong = found.rows
    assert (weak.model, weak.marks) == ("weak", ())
    # What other attacks did, 18 and 19, is not said of these.
    assert strong.marks == tuple(f"check {number} elsewhere, under {protocol} v9: {SEEN}" for number in (7, 8))
    assert (strong.sign, strong.is_suspect) == ("▲", True)


def test_a_protocol_of_the_same_folder_lends_what_failed_and_no_more() -> None:
    cells = [make_cell("strong", fooled=FEW), make_cell("weak", fooled=MANY)]
    lent = [make_diagnosis("strong", {7: "fail"}, protocol="other"), make_diagnosis("weak", protocol="other")]
    boards = make_boards([*cells, make_cell("strong", protocol="other"), make_cell("weak", protocol="other")], [], [], lent)
    assert {row.model: row.marks for row in boards[0].rows} == {"strong": ("check 7: something was seen",), "weak": ()}
    assert {row.model: row.marks for row in boards[1].rows} == {
        "strong": ("check 7 elsewhere, under other v1: something was seen", NOT_DIAGNOSED),
        "weak": (NOT_DIAGNOSED,),
    }


def test_a_newer_pass_under_one_protocol_hides_no_failure_under_another() -> None:
    late = "2026-01-01T00:00:00+00:00"
    known = [make_diagnosis(verdicts={7: "fail"}, protocol="one"), make_diagnosis(protocol="two", finished=late)]
    (row,) = make_boards([make_cell()], [], [], [], known)[0].rows
    assert row.marks == ("check 7 elsewhere, under one v1: something was seen",)
    # The same protocol's newer one speaks for both.
    (row,) = make_boards([make_cell()], [], [], [], [known[0], make_diagnosis(protocol="one", finished=late)])[0].rows
    assert row.marks == ()


@pytest.mark.parametrize(
    "other", [{"weights": "b" * 64}, {"code": "c" * 64}, {"source": "mine.py:build (sha256 1)"}, {"dataset": "mnist"}]
)
def test_a_diagnosis_of_another_model_says_nothing(other: dict[str, str]) -> None:
    diagnosis = make_diagnosis(verdicts={7: "fail"}, protocol="other", **other)  # type: ignore[arg-type]
    (row,) = make_boards([make_cell()], [], [], [], [diagnosis])[0].rows
    assert row.marks == (NOT_DIAGNOSED,)


def test_a_rows_own_diagnosis_alone_speaks() -> None:
    known = [make_diagnosis(verdicts={7: "fail"}, protocol="other", finished="2026-01-01T00:00:00+00:00")]
    (row,) = make_boards([make_cell()], [], [], [make_diagnosis(verdicts={8: "fail"})], known)[0].rows
    assert row.marks == ("check 8: something was seen",)
    # One that went by older cells may not know all: then both are told.
    older = make_diagnosis(cells={"bim": "1" * 64})
    (row,) = make_boards([make_cell()], [], [], [older], known)[0].rows
    assert row.marks == (
        "check 7 elsewhere, under other v1: something was seen",
        "its diagnosis went by an older bim: diagnose it again",
    )


def test_a_known_diagnosis_that_does_not_read_is_told(tmp_path: Path) -> None:
    save(tmp_path / "cells", "relu", None)
    save(tmp_path / "known", "relu", make_diagnosis("relu", {7: "fail"}))
    path = file_of(tmp_path / "known" / "standard", "digits", "relu")
    path.write_text("{", encoding="utf-8")
    assert any(str(path) in trouble for trouble in publish([tmp_path / "cells"], "terminal", known=[tmp_path / "known"]).troubles)


def test_what_the_cells_say_themselves_is_said_once() -> None:
    cells = [make_cell(output="probabilities", failures=2)]
    diagnosis = make_diagnosis(verdicts={4: "fail", 18: "fail"}, looked_at="cells")
    failed = replace(diagnosis.findings[17], figures={"bim": 2, "fgsm": 0})
    diagnosis = replace(diagnosis, findings=[*diagnosis.findings[:17], failed, *diagnosis.findings[18:]])
    (row,) = board(cells, diagnosis).rows
    assert len(row.marks) == 2
    assert not any(mark.startswith("check") for mark in row.marks)
    # What only the look at the model saw is told.
    (row,) = board([make_cell()], make_diagnosis(verdicts={4: "fail", 18: "fail"})).rows
    assert [mark.partition(":")[0] for mark in row.marks] == ["check 4", "check 18"]


def test_a_diagnosis_without_attacks_is_said() -> None:
    text = render(make_boards([], [], [], [make_diagnosis("alone", {7: "fail"})]), "markdown")
    assert "not run: alone: diagnosed, but no attack's result is here: run the attacks" in text


def save(folder: Path, model: str, diagnosis: Diagnosis | None, *, fooled: tuple[int, ...] = FEW) -> None:
    home = folder / "standard"
    write_cell(make_cell(model, fooled=fooled), home / "digits" / model / "bim.json")
    if diagnosis is not None:
        write_diagnosis(diagnosis, file_of(home, "digits", model))


def test_the_report_finds_diagnoses_beside_the_cells(tmp_path: Path) -> None:
    save(tmp_path, "relu", make_diagnosis("relu", {7: "fail"}, reason=SEEN))
    assert f"▲ relu: check 7: {SEEN}." in publish([tmp_path], "terminal").text
    path = file_of(tmp_path / "standard", "digits", "relu")
    path.write_text("{", encoding="utf-8")
    published = publish([tmp_path], "terminal")
    assert "check 7" not in published.text
    assert len(published.troubles) == 1
    assert str(path) in published.troubles[0]


def test_a_comparison_carries_the_flags_of_both_sides(tmp_path: Path) -> None:
    save(tmp_path, "a", make_diagnosis("a", {7: "fail", 8: "fail"}, reason=SEEN))
    save(tmp_path, "b", make_diagnosis("b", {9: "fail"}, weights="b" * 64), fooled=MANY)
    sides = read_sides("digits/a", "digits/b", tmp_path)
    assert sides.marks_a == (("▲", f"digits/a: check 7: {SEEN}"), ("△", f"digits/a: check 8: {SEEN}"))
    assert sides.marks_b == (("△", "digits/b: its diagnosis is of other weights and is not shown: diagnose it again"),)


def test_a_comparison_has_the_signs_of_the_board(tmp_path: Path) -> None:
    save(tmp_path, "a", make_diagnosis("a", {2: "fail", 7: "fail"}, reason=SEEN))
    save(tmp_path, "b", make_diagnosis("b", {2: "fail"}, reason=SEEN), fooled=MANY)
    sides = read_sides("digits/a", "digits/b", tmp_path)
    compared = render_comparison("A", "B", sides, compare_sides(sides), tmp_path)
    report = publish([tmp_path], "terminal").text
    for side, model, sign, number in (("A", "a", "▲", 7), ("A", "a", "△", 2), ("B", "b", "△", 2)):
        assert f"{sign} {model}: check {number}: {SEEN}." in report
        assert f"{sign} {side}: digits/{model}: check {number}: {SEEN}." in compared
    marks = as_json("A", "B", sides, [])["marks"]
    assert marks["b"] == [f"△ digits/b: check 2: {SEEN}"]


def test_a_comparison_of_folders_carries_each_folders_own_flags(tmp_path: Path) -> None:
    save(tmp_path / "first", "a", make_diagnosis("a", {7: "fail"}, reason=SEEN))
    save(tmp_path / "second", "a", None, fooled=MANY)
    sides = read_sides(str(tmp_path / "first"), str(tmp_path / "second"), tmp_path)
    assert sides.marks_a == (("▲", f"digits/a: check 7: {SEEN}"),)
    assert sides.marks_b == (("△", f"digits/a: {NOT_DIAGNOSED}"),)


def test_hostile_words_in_a_diagnosis_stay_words(tmp_path: Path) -> None:
    name, reason = "<script>alert('x')</script>", "the attack raised ValueError: a | b <b>"
    (row,) = board([make_cell(name)], make_diagnosis(name, {18: "fail"}, reason=reason)).rows
    assert row.marks == (f"check 18: {reason}",)
