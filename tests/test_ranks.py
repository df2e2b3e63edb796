"""Ranks as intervals: apart only where a paired test says so, whatever the order of models or examples."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from handmade import diagnosed, make_cell, make_manifest
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.ranks.intervals import Ranking, columns, main_column, rank, rank_rows, rank_text
from robustboard.benchmark.report.tables import render

PATIENT = settings(deadline=None, max_examples=40)
N = 24
MODELS = st.lists(st.lists(st.integers(0, 1), min_size=N, max_size=N), min_size=1, max_size=6).map(
    lambda rows: {f"model {at}": {index: bool(robust) for index, robust in enumerate(row)} for at, row in enumerate(rows)}
)


def standing(robust: int, n: int = N) -> dict[int, bool]:
    """The first `robust` of n examples stand."""
    return {index: index < robust for index in range(n)}


def spelled(ranking: Ranking) -> dict[str, str]:
    return {model: str(ranking.interval(model)) for model in ranking.accuracy}


def cell(model: str, robust: int, attack: str = "bim", n: int = N, **changes: object) -> CellResult:
    hit = [0] * robust + [1] * (n - robust)
    return make_cell(model, attack, correct=[1] * n, fooled=hit, **changes)  # type: ignore[arg-type]


def one_board(*cells: CellResult, missing: tuple[str, ...] = ()) -> Board:
    planned = {each.model.name: ["bim", *missing] for each in cells}
    (board,) = make_boards(cells, [make_manifest({"digits": planned})] if missing else [], [], diagnosed(cells))
    return board


@pytest.mark.parametrize(("lost", "ranks"), [(5, ("1–2", "1–2")), (6, ("1", "2"))])
def test_six_of_six_flips_separate_two_models_and_five_do_not(lost: int, ranks: tuple[str, str]) -> None:
    # Exact McNemar: 2 · 2⁻⁵ = 0.0625 and 2 · 2⁻⁶ = 0.03125.
    assert tuple(spelled(rank({"a": standing(20), "b": standing(20 - lost)})).values()) == ranks


def test_a_third_model_takes_the_separation_away() -> None:
    # Holm over three pairs: 3 · 0.03125 is above 5 %.
    models = {"a": standing(20), "twin": standing(20), "b": standing(14)}
    assert set(spelled(rank(models)).values()) == {"1–3"}


def test_ties_are_drawn_as_ties() -> None:
    models = {"best": standing(24), "second": standing(12), "third": standing(11), "last": standing(0)}
    assert spelled(rank(models)) == {"best": "1", "second": "2–3", "third": "2–3", "last": "4"}


@PATIENT
@given(MODELS)
def test_an_interval_holds_the_rank_by_the_accuracies(models: dict[str, dict[int, bool]]) -> None:
    ranking = rank(models)
    for model, accuracy in ranking.accuracy.items():
        interval = ranking.interval(model)
        ahead = sum(other > accuracy for other in ranking.accuracy.values())
        level = sum(other >= accuracy for other in ranking.accuracy.values())
        assert 1 <= interval.best <= 1 + ahead <= level <= interval.worst <= len(models)


@PATIENT
@given(MODELS)
def test_identical_models_have_identical_ranks_and_overlap(models: dict[str, dict[int, bool]]) -> None:
    ranking = rank({**models, "twin": models["model 0"]})
    assert ranking.interval("twin") == ranking.interval("model 0")
    assert ranking.interval("twin").worst > ranking.interval("twin").best


@PATIENT
@given(MODELS, st.randoms(), st.permutations(range(N)))
def test_neither_the_order_of_models_nor_that_of_examples_matters(
    models: dict[str, dict[int, bool]], order: object, places: list[int]
) -> None:
    names = list(models)
    order.shuffle(names)  # type: ignore[attr-defined]
    moved = {name: {places[index]: robust for index, robust in models[name].items()} for name in names}
    assert rank(moved) == rank(models)


@PATIENT
@given(MODELS)
def test_the_separated_pairs_are_those_of_statsmodels(models: dict[str, dict[int, bool]]) -> None:
    pairs = list(combinations(models, 2))
    p_values = []
    for first, second in pairs:
        table = [[0, 0], [0, 0]]
        for index in range(N):
            table[models[first][index]][models[second][index]] += 1
        p_values.append(min(1.0, mcnemar(table, exact=True).pvalue))
    fallen = multipletests(p_values, method="holm")[0] if pairs else []
    apart = {frozenset(pair) for pair, fell in zip(pairs, fallen, strict=True) if fell}
    ranking = rank(models)
    assert {frozenset(pair) for pair in ranking.better} == apart
    assert all(ranking.accuracy[winner] > ranking.accuracy[loser] for winner, loser in ranking.better)


def test_models_are_compared_on_the_examples_that_they_share() -> None:
    few = dict.fromkeys(range(6), False)
    assert spelled(rank({"a": standing(24), "few": few})) == {"a": "1", "few": "2"}
    elsewhere = {100 + index: False for index in range(24)}
    assert spelled(rank({"a": standing(24), "elsewhere": elsewhere})) == {"a": "1–2", "elsewhere": "1–2"}
    assert rank({}).accuracy == {}


def rank_cells(board: Board, style: str = "markdown") -> dict[str, str]:
    """Model -> what stands in the column "rank"."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in render([board], style).splitlines() if "|" in line]
    at = lines[0].index("rank")
    return {line[0]: line[at] for line in lines[2:]}


def test_the_board_has_a_column_of_ranks_by_the_worst_case() -> None:
    # Under fgsm alone the order is the other way round.
    board = one_board(
        cell("a", 24), cell("b", 12), cell("a", 0, "fgsm"), cell("b", 24, "fgsm"), cell("c", 12), cell("c", 12, "fgsm")
    )
    assert main_column(board) == "worst_case"
    assert rank_cells(board) == {"b": "1–2", "c": "1–2", "a": "3"}
    assert spelled(rank_rows(board, "fgsm")) == {"b": "1", "c": "2", "a": "3"}


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_one_sentence_says_what_a_rank_is(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    text = render([one_board(cell("a", 24), cell("b", 12))], style)
    assert text.count("rank: the places that a model can have by its worst case") == 1


def test_a_board_without_an_l_infinity_attack_is_ranked_in_l2_and_one_of_l0_is_not() -> None:
    board = one_board(cell("a", 24, "cw"), cell("b", 12, "cw"))
    assert main_column(board) == "worst_case_l2"
    assert rank_cells(board) == {"a": "1", "b": "2"}
    pixels = one_board(cell("a", 24, "jsma"), cell("b", 12, "jsma"))
    assert main_column(pixels) is None
    assert rank_cells(pixels) == {"a": "–", "b": "–"}


def test_marked_models_stand_last_say_so_and_take_nobodys_rank() -> None:
    board = one_board(cell("a", 12), cell("b", 0), cell("failing", 24, failures=2))
    assert rank_cells(board) == {"a": "1", "b": "2", "failing ▲": "last ▲"}


def test_a_missing_cell_takes_the_worst_case_its_rank_and_no_other_column() -> None:
    board = one_board(cell("a", 24), cell("b", 12), cell("a", 24, "spsa"), missing=("spsa",))
    row = next(row for row in board.rows if row.model == "b")
    assert columns(board) == ["bim", "spsa", "worst_case"]
    found = {column: rank_text(row, column, rank_rows(board, column)) for column in columns(board)}
    assert found == {"bim": "2", "spsa": "–", "worst_case": "last ▲"}


def test_a_name_that_sends_signs_to_the_terminal_is_text() -> None:
    text = render([one_board(cell("a\x1b[2J\nb", 24))], "terminal")
    assert "\x1b" not in text
    assert "a\\x1b[2J b" in text
