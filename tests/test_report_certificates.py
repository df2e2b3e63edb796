"""Certificates on the board: shown beside the attacks they speak of, refused beside others, and loud where both cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from handmade import diagnosed, make_cell, make_certificate
from robustboard.benchmark.certify import record
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.publish import publish
from robustboard.benchmark.report.tables import render
from robustboard.benchmark.results import CERTIFICATE_FILES, read_folder, write_cell
from robustboard.benchmark.statistics import wilson

NONE, FIVE = (0,) * 20, (1,) * 5 + (0,) * 15


def boards(cells: list[CellResult], certificates: list[record.CertifiedResult]) -> list[Board]:
    return make_boards(cells, [], certificates, diagnosed(cells))


def marks(cells: list[CellResult], *certificates: record.CertifiedResult) -> tuple[str, ...]:
    (board,) = boards(cells, certificates)
    return board.rows[0].marks


def header(text: str) -> list[str]:
    return [name.strip() for name in next(line for line in text.splitlines() if line.startswith("| model")).split("|")]


def test_the_lower_bound_stands_beside_the_upper_with_its_interval() -> None:
    cells = [make_cell("relu", fooled=NONE), make_cell("relog", fooled=NONE)]
    text = render(boards(cells, [make_certificate("relu")]), "markdown")
    columns = header(text)
    assert columns.index("certified L∞") == columns.index("worst L∞") + 1
    low, high = wilson(5, 20)
    rows = {line.split("|")[1].strip(): line.split("|") for line in text.splitlines() if line.startswith("| rel")}
    assert rows["relu"][columns.index("certified L∞")].strip() == f"≥ 25.0 [{100 * low:.1f}–{100 * high:.1f}]"
    assert rows["relog"][columns.index("certified L∞")].strip() == "–"
    assert "lower bound" in text


def test_a_board_without_certificates_has_no_such_column() -> None:
    text = render(boards([make_cell()], []), "markdown")
    assert "certified" not in text


def test_only_an_exact_answer_without_a_gap_is_an_equality() -> None:
    decided: list[record.Verdict] = ["robust"] * 12 + ["fooled"] * 8
    low, high = wilson(12, 20)[0], wilson(13, 20)[1]
    for certificate, sign in (
        (make_certificate(verdicts=decided, method="exact"), "= 60.0"),
        (
            make_certificate(verdicts=[*decided[:-1], "undecided"], method="exact"),
            f"60.0–65.0 [{100 * low:.1f}–{100 * high:.1f}]",
        ),
        (make_certificate(verdicts=[*decided[:-1], "undecided"]), "≥ 60.0"),
        (make_certificate(verdicts=decided), "≥ 60.0"),
    ):
        assert sign in render(boards([make_cell(fooled=NONE)], [certificate]), "markdown")


@pytest.mark.parametrize("attack", ["bim", "spsa", "max_confidence"])
def test_an_attack_that_fools_what_is_proved_robust_is_a_contradiction(attack: str) -> None:
    cell = make_cell(attack=attack, fooled=(0, 0, 0, 1, 1, 1, *NONE[6:]))
    (mark,) = marks([cell], make_certificate())
    assert mark.startswith(f"contradiction: {attack} fooled example 3 and 1 more, which crown proves robust within L∞ 0.2")
    text = render(boards([cell], [make_certificate()]), "markdown")
    assert f"▲ relu: contradiction: {attack} fooled example 3" in text


def test_a_clean_error_that_is_proved_robust_is_a_contradiction() -> None:
    (mark,) = marks([make_cell(correct=(1, 0, *[1] * 18), fooled=NONE)], make_certificate())
    assert "example 1," in mark


def test_an_l2_distance_contradicts_only_within_epsilon_and_l0_never() -> None:
    # make_cell's distances are 0.1: an L2 ball of that radius is inside the L∞ ball of 0.2, not inside that of 0.05.
    assert any("cw fooled example 0" in mark for mark in marks([make_cell(attack="cw", fooled=FIVE)], make_certificate()))
    assert marks([make_cell(attack="cw", fooled=FIVE)], make_certificate(eps=0.05)) == ()
    assert marks([make_cell(attack="jsma", fooled=FIVE)], make_certificate()) == ()


def test_fooling_what_is_not_proved_is_no_contradiction() -> None:
    assert marks([make_cell(fooled=FIVE[::-1])], make_certificate()) == ()


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (make_certificate(weights="b" * 64), "of other weights"),
        (make_certificate(fingerprint="e" * 64), "of other examples"),
        (make_certificate(eps=0.1), "for ε = 0.1"),
    ],
)
def test_a_certificate_of_something_else_is_not_shown_and_the_row_says_so(
    certificate: record.CertifiedResult, reason: str
) -> None:
    # Every example is fooled: were it compared, it would be a contradiction.
    (board,) = boards([make_cell(fooled=(1,) * 20)], [certificate])
    assert board.rows[0].certificate is None
    (mark,) = board.rows[0].marks
    assert mark == f"its certificate by crown is {reason} and is not shown: certify it again"


def test_a_certificate_outlives_the_protocols_versions() -> None:
    # What it proves rests on weights, examples and radius alone.
    older = make_certificate(version=2)
    (board,) = boards([make_cell(fooled=NONE)], [older])
    assert board.rows[0].certificate == older
    assert board.rows[0].marks == ()


def test_of_two_certificates_the_stronger_is_shown() -> None:
    strong = make_certificate(verdicts=["robust"] * 9 + ["fooled"] * 11, method="exact")
    (board,) = boards([make_cell(fooled=NONE)], [make_certificate(), strong])
    assert board.rows[0].certificate == strong


def test_a_certificate_without_attacks_is_said() -> None:
    text = render(boards([make_cell("relu")], [make_certificate("other")]), "markdown")
    assert "not run: other: certified, but no attack's result is here" in text
    assert "not run: relu: certified" in render(boards([], [make_certificate()]), "markdown")


def test_certificates_are_no_cells_and_are_found_by_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "digits" / "relu"
    write_cell(make_cell(fooled=NONE), folder / "bim.json")
    record.write_certificate(make_certificate(), folder / CERTIFICATE_FILES[0])
    record.write_certificate_schema(tmp_path)
    cells, troubles = read_folder(tmp_path)
    assert [cell.attack.name for cell in cells] == ["bim"]
    assert troubles == []
    assert record.read_certificates(tmp_path) == ([make_certificate()], [])
    assert "≥ 25.0" in publish([tmp_path], "terminal").text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"certified_accuracy": 0.25', '"certified_accuracy": 0.5'),
        ('"robust"', '"certain"'),
        ('"undecided": 15', '"undecided": -1'),
        ('"n": 20', '"n": 21'),
        ("robustboard/certified/2", "robustboard/certified/1"),
        ("{", "["),
    ],
)
def test_a_damaged_certificate_is_refused_by_name_in_one_line(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / CERTIFICATE_FILES[0]
    record.write_certificate(make_certificate(), path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"interval\.json is no certificate of this program: ") as trouble:
        record.read_certificate(path)
    assert "\n" not in str(trouble.value)
    assert record.read_certificates(tmp_path)[0] == []
