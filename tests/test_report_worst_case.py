"""Worst cases of boards from cells made by hand: which cells join, how they order the rows, and what stands far above them."""

from __future__ import annotations

import pytest

from handmade import fooled, make_cell, make_manifest, one_board
from robustboard.benchmark.report import tables
from robustboard.benchmark.report.board import Board, worst_case
from robustboard.benchmark.report.ranks.intervals import is_ranked
from robustboard.benchmark.report.tables import render, sheet
from robustboard.benchmark.statistics import wilson


def test_the_worst_case_is_the_union_of_what_was_fooled() -> None:
    correct = [0, *[1] * 19]
    fgsm = make_cell(attack="fgsm", correct=correct, fooled=fooled(1, 2))
    bim = make_cell(attack="bim", correct=correct, fooled=fooled(2, 3, 4))
    worst = worst_case([fgsm, bim])
    # 20 examples, one wrong clean, and 1, 2, 3, 4 fooled by one or the other.
    assert (worst.robust, worst.n) == (15, 20)
    assert worst.attacks == ("bim", "fgsm")
    assert worst.interval == wilson(15, 20)
    assert worst.accuracy <= min(fgsm.outcome.robust_accuracy, bim.outcome.robust_accuracy)


def test_an_attack_on_fewer_examples_lowers_the_worst_case_only_where_it_looked() -> None:
    whole = make_cell(attack="bim", fooled=fooled(0))
    few = make_cell(attack="spsa", correct=[1] * 5, fooled=[1, 1, 0, 0, 0])
    worst = worst_case([whole, few])
    assert (worst.robust, worst.n) == (18, 20)


@pytest.mark.parametrize(("left", "is_told"), [(2, False), (3, True)])
def test_a_number_far_above_the_worst_case_of_its_norm_is_marked(left: int, is_told: bool) -> None:
    """Of 20 examples FGSM leaves so many that BIM fools: 10 points are let pass, 15 are told, of FGSM and of nothing else."""
    cells = [
        make_cell(attack="fgsm", fooled=fooled(0)),
        make_cell(attack="bim", fooled=fooled(*range(left + 1))),
        make_cell(attack="cw", fooled=fooled(*range(20))),
        make_cell(attack="jsma", fooled=fooled()),
    ]
    row = one_board(cells).rows[0]
    assert row.above_worst_case(cells[0]) == left / 20
    assert row.above_worst_case(cells[1]) == row.above_worst_case(cells[2]) == 0
    assert row.above_worst_case(cells[3]) is None, "L0 has no worst case"
    table = sheet(one_board(cells)).table
    assert table is not None
    marked = [header for header, text in zip(table.headers, table.rows[0], strict=True) if text.endswith("↓")]
    assert marked == ["fgsm"] * is_told


def test_a_number_of_fewer_examples_is_held_against_the_worst_case_of_these() -> None:
    """All of the five that SPSA left stand under BIM, which fools only others."""
    cells = [make_cell(attack="bim", fooled=fooled(*range(5, 20))), make_cell(attack="spsa", correct=[1] * 5, fooled=[0] * 5)]
    row = one_board(cells).rows[0]
    assert row.above_worst_case(cells[1]) == 0
    worst = row.worst_case("linf")
    assert worst is not None
    assert cells[1].outcome.robust_accuracy - worst.accuracy > tables.FAR


def test_worst_cases_join_attacks_of_one_norm_only() -> None:
    row = one_board([make_cell(attack="bim", fooled=fooled(1)), make_cell(attack="cw", fooled=fooled(2, 3))]).rows[0]
    linf, l2 = row.worst_case("linf"), row.worst_case("l2")
    assert linf is not None
    assert l2 is not None
    assert (linf.robust, l2.robust) == (19, 18)
    assert row.worst_case("l0") is None


def test_rows_are_sorted_by_their_worst_case() -> None:
    cells = [
        # Mean over the attacks would put "uneven" first; the worst case puts it last.
        *(make_cell("even", attack, fooled=fooled(0, 1, 2)) for attack in ("fgsm", "bim")),
        make_cell("uneven", "fgsm", fooled=fooled()),
        make_cell("uneven", "bim", fooled=fooled(0, 1, 2, 3)),
        *(make_cell("strong", attack, fooled=fooled(0)) for attack in ("fgsm", "bim")),
    ]
    assert [row.model for row in one_board(cells).rows] == ["strong", "even", "uneven"]
    assert [row.model for row in one_board(cells[::-1]).rows] == ["strong", "even", "uneven"]


def test_a_row_that_is_only_an_upper_bound_stands_below_those_that_are_measured() -> None:
    failing = make_cell("failing", fooled=fooled(), failures=3)
    partial = make_cell("partial", fooled=fooled())
    measured = make_cell("measured", fooled=fooled(*range(19)))
    manifest = make_manifest({"digits": {"failing": ["bim"], "measured": ["bim"], "partial": ["bim", "spsa"]}})
    assert one_board([failing, partial, measured], manifest).rows[0].model == "measured"


def test_what_is_missing_of_another_norm_leaves_the_order_what_it_is() -> None:
    cells = [
        make_cell("best", "bim", fooled=[0] * 20),
        make_cell("next", "bim"),
        make_cell("next", "cw"),
        make_cell("next", "spsa"),
    ]

    def board(*planned: str) -> Board:
        return one_board(cells, make_manifest({"digits": {key: [*planned] for key in ("best", "next")}}))

    without_cw, without_spsa, unknown = board("bim", "cw"), board("bim", "spsa"), board("bim", "elsewhere:bim")
    assert [(row.model, row.sign) for row in without_cw.rows] == [("best", "△"), ("next", "")]
    assert [(row.model, row.sign) for row in without_spsa.rows] == [("next", ""), ("best", "▲")]
    # Of whom nothing is known, anything may be feared.
    assert all(row.sign == "▲" for row in unknown.rows)
    first = without_cw.rows[0]
    assert is_ranked(first, "worst_case")
    assert not is_ranked(without_spsa.rows[1], "worst_case")
    assert (first.lacks("l2"), first.lacks("linf")) == (True, False)


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_a_worst_case_whose_cascade_was_not_run_is_no_more_than_a_bound(style: str) -> None:
    manifest = make_manifest({"digits": {"relu": ["bim", "worst_case"]}})
    row = next(line for line in render([one_board([make_cell("relu", "bim")], manifest)], style).splitlines() if "relu" in line)
    assert row.count("≤ 75.0") == 1, "bim's own number is what it is; the worst case is not"
    whole = render([one_board([make_cell("relu", "bim")], make_manifest({"digits": {"relu": ["bim"]}}))], style)
    assert "≤" not in whole.split("Robust accuracy")[0]


def test_a_worst_case_over_fewer_examples_says_so() -> None:
    few = make_cell("relog", "fgsm", correct=(1,) * 8, fooled=(0,) * 8)
    text = render([one_board([make_cell("relu", "bim"), few])], "markdown")
    (row,) = (line for line in text.splitlines() if line.startswith("| relog"))
    assert "n=8" in row
    assert "n=" not in next(line for line in text.splitlines() if line.startswith("| relu "))
