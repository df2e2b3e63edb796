"""Boards and tables from cells made by hand: order, worst cases, what is missing, and what must not stand together."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from handmade import fooled, make_cell, make_manifest, one_board, with_outcome
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import NotRun
from robustboard.benchmark.report import tables
from robustboard.benchmark.report.alike import unlike
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.tables import render
from robustboard.benchmark.statistics import wilson

STYLES = ["terminal", "markdown"]
styles = pytest.mark.parametrize("style", STYLES)


@pytest.mark.parametrize("width", [80, 100, 1000])
def test_a_terminal_table_keeps_to_the_width_and_loses_no_column(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = ["fgsm", "bim", "cw", "spsa", "jsma", "max_confidence"]
    text = render([one_board([make_cell(attack=name) for name in names])], "terminal")
    _, rest = text.split("\n", 1)
    assert all(len(line) <= width for line in rest.splitlines())
    headers = [line.split() for line in rest.splitlines() if line.startswith("model ")]
    assert len(headers) == 1 if width == 1000 else len(headers) > 1
    shown = [word for line in headers for word in line]
    assert [shown.count(name) for name in ["fgsm", "bim", "spsa", "max_"]] == [1, 1, 1, 2]


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_the_legend_stands_once_below_all_boards(style: str) -> None:
    cells = [make_cell(attack=attack, dataset=name) for name in ("digits", "mnist") for attack in ("cw", "ddn")]
    text = " ".join(render(make_boards(cells, []), style).replace("**", "").split())
    for legend in (tables.ROBUST.replace("**", ""), tables.RANKED, tables.MARKED):
        assert text.count(legend.strip()) == 1
        assert text.index(legend.strip()) > text.index("MNIST"), "below the last table"


@styles
def test_an_attack_failure_is_marked_where_the_number_stands_and_below(style: str) -> None:
    text = render([one_board([make_cell("failing", failures=3)])], style)
    assert "≤ 75.0" in text
    assert "▲ failing: bim failed on 3 of 20 examples (the candidate is outside the box): upper bound only." in text
    # The worst case that joins it is an upper bound as well.
    assert len(re.findall(r"≤ 75\.0", text)) == 2


def test_every_reason_of_a_failure_is_told() -> None:
    reasons = {"the candidate is not finite": 2, "the attack raised ValueError: no": 1}
    (row,) = one_board([with_outcome(make_cell("failing", failures=3), failure_reasons=reasons)]).rows
    assert "(the candidate is not finite; the attack raised ValueError: no)" in row.marks[0]


@styles
def test_a_missing_cell_is_said(style: str) -> None:
    manifest = make_manifest({"digits": {"relu": ["bim", "cw"], "relog": ["bim", "cw"]}})
    cells = [make_cell("relu", "bim"), make_cell("relu", "cw"), make_cell("relog", "bim")]
    board = one_board(cells, manifest)
    text = render([board], style)
    row = next(line for line in text.splitlines() if "relog" in line)
    assert "missing" in row
    assert "△ relog: no result here of cw." in text
    assert "▲ relu" not in text


def test_a_cell_of_other_code_is_not_shown() -> None:
    older, newer = make_cell("mine", "bim"), make_cell("mine", "fgsm")
    older = replace(older, environment=replace(older.environment, finished="2026-01-01T00:00:00+00:00"))
    newer = replace(
        newer,
        model=replace(newer.model, code="c" * 64),
        environment=replace(newer.environment, finished="2026-02-01T00:00:00+00:00"),
    )
    (row,) = one_board([older, newer]).rows
    assert set(row.cells) == {"fgsm"}
    assert row.marks == ("bim was run on other code and is not shown: run it again",)


@styles
def test_a_planned_model_without_any_result_is_a_row(style: str) -> None:
    manifest = make_manifest({"digits": {"relu": ["bim"], "relog": ["bim"]}})
    assert "not run: relog: planned, but no result is here: run again" in render([one_board([make_cell()], manifest)], style)


@styles
def test_rows_that_could_not_run_are_visible_with_their_reason(style: str) -> None:
    manifest = make_manifest(
        {"digits": {"relu": ["bim"], "broken": ["bim"]}},
        [NotRun("digits", "broken", "the model raised"), NotRun("mnist", "", "MNIST data not found")],
    )
    text = render(make_boards([make_cell()], [manifest]), style)
    assert "not run: broken: the model raised" in text
    assert "not run: MNIST data not found" in text
    assert "MNIST · standard" in text


@styles
def test_an_untrained_model_is_marked(style: str) -> None:
    untrained = make_cell("untrained", correct=[1, 1, *[0] * 18], fooled=fooled())
    trained = make_cell("trained", fooled=fooled(*range(20)))
    board = one_board([untrained, trained])
    assert [row.model for row in board.rows] == ["trained", "untrained"]
    assert "▲ untrained: untrained: clean accuracy 10.0% is no better than chance." in render([board], style)


@styles
def test_a_clean_accuracy_unlike_the_registrys_is_marked(style: str) -> None:
    correct = [1] * 100 + [0] * 100
    cells = [make_cell(name, correct=correct, fooled=[0] * 200, expected=clean) for name, clean in (("odd", 0.99), ("fine", 0.5))]
    text = render([one_board(cells)], style)
    assert "▲ odd: clean accuracy 50.0% differs from the registry's 99.0%." in text
    assert "▲ fine" not in text


@styles
@pytest.mark.parametrize("output", ["probabilities", "log-probabilities"])
def test_outputs_that_are_no_logits_are_marked(style: str, output: str) -> None:
    text = render([one_board([make_cell(output=output)])], style)  # type: ignore[arg-type]
    assert f"▲ relu: outputs are {output}, which can hide gradients." in text


def test_every_row_with_a_mark_carries_the_sign() -> None:
    board = one_board([make_cell("failing", failures=1), make_cell("fine")])
    lines = render([board], "markdown").splitlines()
    assert any(line.startswith("| failing ▲") for line in lines)
    assert any(re.match(r"\| fine +\|", line) for line in lines)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"params": {"steps": 10}}, "bim: steps 40 against 10"),
        ({"params": {"steps": 40, "loss": "cross_entropy"}}, "bim: loss absent against cross_entropy"),
        ({"eps": 0.3}, "bim: eps 0.2 against 0.3"),
        ({"fingerprint": "e" * 64}, "bim: examples ffffffffffff against eeeeeeeeeeee"),
        ({"correct": [1] * 10, "fooled": [0] * 10}, "bim: n 20 against 10"),
        ({"version": 2}, "bim: protocol version 1 against 2"),
        ({"seed": 1}, "bim: seed 0 against 1"),
    ],
)
def test_unlike_cells_are_refused_with_the_difference_named(other: dict[str, object], difference: str) -> None:
    cells = [make_cell("relu"), make_cell("relog", **other)]  # type: ignore[arg-type]
    assert unlike(*cells) == difference
    with pytest.raises(InputError, match=re.escape(f"relu and relog cannot stand in one table: {difference}; run the older")):
        make_boards(cells, [])


def test_cells_of_two_protocol_versions_are_refused_though_their_attacks_differ() -> None:
    with pytest.raises(InputError, match=r"protocol versions \[1, 2\]"):
        make_boards([make_cell(attack="bim"), make_cell(attack="fgsm", version=2)], [])


def test_attacks_of_one_norm_with_different_budgets_share_no_table() -> None:
    # Neither the heading's ε nor the worst case would be true of both.
    with pytest.raises(InputError, match=r"fgsm on relu at ε = 0\.3 and bim on relu at ε = 0\.1 cannot stand in one table"):
        make_boards([make_cell(attack="fgsm", eps=0.3), make_cell(attack="bim", eps=0.1)], [])
    assert len(one_board([make_cell(attack="bim", eps=0.3), make_cell(attack="cw", eps=2.0)]).rows) == 1


@styles
def test_cells_that_disagree_clean_mark_their_row_and_spoil_no_other(style: str) -> None:
    # A randomised model, or one example within rounding of its border and two machines.
    odd = [make_cell("odd", "bim", fooled=fooled()), make_cell("odd", "fgsm", correct=[0] * 2 + [1] * 18, fooled=fooled())]
    fine = [make_cell("fine", name, fooled=fooled(*range(19))) for name in ("bim", "fgsm")]
    board = one_board([*odd, *fine])
    assert [row.model for row in board.rows] == ["fine", "odd"]
    worst = board.rows[1].worst_case("linf")
    assert worst is not None
    assert worst.robust == 18, "what either has wrong is not robust"
    assert "▲ odd: its cells disagree on whether 2 of 20 examples are right clean, first 0: run them again." in render(
        [board], style
    )


def test_a_row_does_not_join_attacks_on_different_weights() -> None:
    # After retraining only some attacks, the row would be of a model that never existed.
    cells = [make_cell(attack="bim", weights="a" * 64), make_cell(attack="cw", weights="b" * 64)]
    try:
        row = one_board(cells).rows[0]
    except InputError as trouble:
        assert "weights" in str(trouble)  # noqa: PT017  (either answer is right)
        return
    assert any("weights" in mark for mark in row.marks)


def test_two_results_of_one_cell_are_not_chosen_from_in_silence() -> None:
    # Two folders hold the same model, attack and protocol with other weights: one of them would vanish.
    cells = [make_cell(weights="a" * 64, fooled=fooled(1)), make_cell(weights="b" * 64, fooled=fooled(1, 2))]
    try:
        board = one_board(cells)
    except InputError:
        return
    assert len(board.rows) == 2 or any(row.marks for row in board.rows)


def test_like_cells_share_a_board_and_protocols_and_data_sets_do_not() -> None:
    cells = [
        make_cell("relu"),
        make_cell("relog"),
        make_cell("relu", protocol="standard@10"),
        make_cell("relu", dataset="mnist"),
        make_cell("relu", dataset="cifar10"),
    ]
    boards = [(board.protocol, board.dataset, len(board.rows)) for board in make_boards(cells, [])]
    assert boards == [
        ("standard", "digits", 2),
        ("standard", "mnist", 1),
        ("standard", "cifar10", 1),
        ("standard@10", "digits", 1),
    ]


def test_the_heading_tells_the_version_of_the_numbers_below_it() -> None:
    # The manifest of another folder may be of an older version of the protocol.
    manifest = make_manifest({"digits": {"relu": ["bim"]}})
    assert one_board([make_cell(version=2)], manifest).version == 2
    (board,) = make_boards([], [manifest])
    assert board.version == manifest.protocol.version == 1


def test_two_folders_of_one_protocol_keep_both_their_missing_rows() -> None:
    first = make_manifest({"digits": {"relu": ["bim"], "relog": ["bim"]}}, [NotRun("mnist", "", "first reason")])
    second = make_manifest({"digits": {"relu": ["bim"], "maxout": ["bim"]}}, [NotRun("cifar10", "", "second reason")])
    text = render(make_boards([make_cell()], [first, second]), "markdown")
    for said in ("not run: relog", "not run: maxout", "first reason", "second reason"):
        assert said in text


def test_results_of_images_in_memory_have_a_board() -> None:
    # The contract of a result file allows "memory": `robustboard.evaluate` makes such cells.
    assert "relu" in render(make_boards([make_cell(dataset="memory")], []), "terminal")


def test_the_quick_protocol_says_what_it_is() -> None:
    title = load_protocol("quick").title
    assert title == "quick: upper bounds, not for citation"
    manifest = make_manifest({"digits": {"relu": ["bim"]}}, name="quick", title=title)
    for style in STYLES:
        heading = render(make_boards([make_cell(protocol="quick")], [manifest]), style).splitlines()[0]
        assert "quick: upper bounds, not for citation" in heading


@styles
def test_numbers_stand_with_their_intervals(style: str) -> None:
    text = render([one_board([make_cell(fooled=fooled(0, 1, 2, 3, 4))])], style)
    low, high = wilson(15, 20)
    assert re.search(r"\b75\.0\b", text)
    assert f"[{100 * low:.1f}–{100 * high:.1f}]" in text
    assert "upper bound" in text


def test_a_column_on_fewer_examples_says_how_many() -> None:
    cells = [make_cell(attack="bim"), make_cell(attack="cw", correct=[1] * 8, fooled=[0] * 8)]
    header = markdown_table(render([one_board(cells)], "markdown"))[0]
    assert "cw (n=8)" in header
    assert "bim (n=" not in header


def test_the_median_distance_is_over_all_examples_right_clean() -> None:
    def row(*hit: int) -> str:
        return markdown_table(render([one_board([make_cell(attack="cw", fooled=fooled(*hit))])], "markdown"))[2]

    assert "| 0.100 " in row(*range(11))
    # Half and fewer found: the median over the found alone would flatter the attack.
    assert "≥ half unfooled" in row(*range(9))


def test_notes_on_the_data_are_shown_once() -> None:
    cells = [make_cell(name, note="md5 differs from the official test_batch") for name in ("relu", "relog")]
    assert render([one_board(cells)], "markdown").count("Data: md5 differs from the official test_batch.") == 1


def markdown_table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def columns(line: str) -> int:
    """Borders between cells as GitHub counts them: a backslash takes the sign after it away, be that a bar or a backslash."""
    return re.sub(r"\\.", "", line).count("|")


@pytest.mark.parametrize("name", ["a|b", "a\nb", "`code`|", "](x)|[", "a|b\\|c"])
def test_a_hostile_model_name_does_not_break_the_markdown_table(name: str) -> None:
    plain = markdown_table(render([one_board([make_cell("plain")])], "markdown"))
    hostile = markdown_table(render([one_board([make_cell(name)])], "markdown"))
    # Header, rule, one row: and as many columns in each as with a tame name.
    assert len(hostile) == len(plain) == 3
    assert [columns(line) for line in hostile] == [columns(line) for line in plain]


def test_an_accuracy_in_a_table_is_that_of_its_cell() -> None:
    cell = with_outcome(make_cell(fooled=fooled(*range(7))), robust_accuracy=13 / 20)
    assert "65.0 [" in render([one_board([cell])], "markdown")
