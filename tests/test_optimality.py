"""The optimality of a minimum-norm attack against its definition: ends, order, and the trap of the trapezoids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conftest import ROOT
from handmade import make_cell
from robustboard.benchmark.datasets import title
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.optimality import optimalities
from robustboard.benchmark.report.tables import NEAR, render
from robustboard.benchmark.results import read_folder
from robustboard.benchmark.statistics import optimality
from robustboard.models.registry import read_cards


def minimum_cell(attack: str, distances: list[float]) -> CellResult:
    """A cell of a minimum-norm attack that found something at each of these distances."""
    cell = make_cell(attack=attack, correct=[1] * len(distances), fooled=[1] * len(distances))
    per_example = replace(cell.per_example, distance=distances)
    return replace(cell, attack=replace(cell.attack, norm="l2", aim="minimum"), per_example=per_example)


LENGTHS = arrays(np.float64, st.integers(1, 30), elements=st.floats(0.01, 10))


@given(best=LENGTHS)
def test_the_best_has_one_and_an_attack_that_does_nothing_zero(best: np.ndarray) -> None:
    assert optimality(best, best) == 1
    nothing = np.full_like(best, np.inf)
    assert optimality(nothing, best) == pytest.approx(0, abs=1e-9)


@given(best=LENGTHS, stretch=st.floats(1, 3))
def test_longer_distances_never_grade_higher(best: np.ndarray, stretch: float) -> None:
    assert optimality(best * stretch, best) <= 1
    assert optimality(best * stretch * 1.1, best) <= optimality(best * stretch, best) + 1e-12


def test_by_hand() -> None:
    # Two of four found by the attack at 1 and 3, one not found, one wrong clean; the best are 1, 2, 3.
    best, found = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 3.0, np.inf])
    # A = (0 + 1 + 3 + 3)/4 = 1.75, A* = 1.5, c = ¾, ε₀ = 3: 1 − 0.25/(2.25 − 1.5)
    assert optimality(found, best) == pytest.approx(2 / 3)


def test_a_clean_error_is_no_merit_of_the_attack() -> None:
    best = np.array([0.0, 1.0, 2.0])
    assert optimality(np.array([0.0, np.inf, np.inf]), best) == pytest.approx(0)


def test_the_best_is_that_of_every_cell_of_the_norm() -> None:
    near, far, other = [1.0] * 19 + [2.0], [2.0] * 20, [0.5] * 20
    cells = {
        "cw": minimum_cell("cw", near),
        "ddn": minimum_cell("ddn", far),
    }
    alone = optimalities(cells)
    assert alone["cw"] == 1
    assert alone["ddn"] < 1
    joined = optimalities({**cells, "fmn": minimum_cell("fmn", [*other[:-1], 1.0])})
    assert joined["cw"] < 1
    assert optimalities({"cw": cells["cw"]}) == {}


def test_the_table_shows_it_where_there_are_several() -> None:
    cells = [
        minimum_cell("cw", [1.0] * 19 + [2.0]),
        minimum_cell("ddn", [2.0] * 20),
    ]
    assert "optimality in L2" in render(make_boards(cells, []), "markdown")
    assert "optimality in L2" not in render(make_boards(cells[:1], []), "markdown")


def test_another_folders_cells_of_the_same_network_count_where_both_looked() -> None:
    mine = {"cw": minimum_cell("cw", [2.0] * 19 + [3.0])}
    theirs = replace(minimum_cell("ddn", [1.0] * 19 + [3.0]), identity="another")
    assert optimalities(mine, [theirs])["cw"] < 1
    assert optimalities(mine, [replace(theirs, model=replace(theirs.model, weights_sha256="0" * 64))]) == {}
    assert optimalities(mine, [mine["cw"]]) == {}, "itself is no rival"
    apart = replace(theirs.per_example, index=[index + 19 for index in theirs.per_example.index], distance=[3.0] + [1.0] * 19)
    assert optimalities(mine, [replace(theirs, per_example=apart)])["cw"] == 1, "only the last example was looked at by both"


BARS = {"ddn": 0.95, "fmn": 0.95, "cw": 0.97}
BEHIND = {
    "cifar10/relog-minmaxout_2_4-max_fit_l2_1": {"ddn": 0.91, "fmn": 0.93},
    "mnist/relu-pgd_at": {"cw": 0.96, "fmn": 0.94},
    "mnist/relog-maxout_4-pgd_at": {"cw": 0.96},
    "mnist/relog-minmaxout_4_2-max_fit_l1_1": {"cw": 0.96},
    "mnist/relog-minmaxout_4_2-max_fit_l2_1": {"cw": 0.96},
    "mnist/relog-minmaxout_4_2-overlay": {"cw": 0.96},
    "mnist/relog-quadratic-minmaxout_4_2-overlay": {"cw": 0.96},
    "mnist/relog-elliptical-maxout_4-max_fit_l1_1": {"cw": 0.95},
    "mnist/relog-elliptical-maxout_4-sigmoid_out": {"cw": 0.94},
}
"""Where the bars are not met yet, and what is: nobody else may fall below them, and nobody here further."""
DISTANCES, UNREAD = read_folder(ROOT / "leaderboards" / "distances")
STANDARD = read_folder(ROOT / "leaderboards" / "results")[0]


def cells_of(name: str, cells: list[CellResult]) -> dict[str, CellResult]:
    return {cell.attack.name: cell for cell in cells if f"{cell.dataset.name}/{cell.model.name}" == name}


ATTACKED = sorted({f"{cell.dataset.name}/{cell.model.name}" for cell in STANDARD})
TOLD = "Trained, and on no board yet: "


def test_a_network_that_stands_on_no_board_is_told() -> None:
    lines = (ROOT / "leaderboards" / "README.md").read_text(encoding="utf-8").splitlines()
    waiting = [line.removeprefix(TOLD).rstrip(".").split(", ") for line in lines if line.startswith(TOLD)]
    assert ATTACKED
    assert sorted(name.strip("`") for names in waiting for name in names) == sorted(set(read_cards()) - set(ATTACKED))


def told(page: str, name: str, attack: str, share: float) -> bool:
    """Whether a page, under its data set's heading, says that the attack stays behind on the network, and by how much."""
    text = (ROOT / "leaderboards" / page).read_text(encoding="utf-8")
    dataset, model = name.split("/")
    (part,) = (part for part in f"\n{text}".split("\n## ") if part.startswith(f"{title(dataset)} ·"))
    said = f": {attack} stays behind the shortest perturbations known, its optimality is {share:.3f}:"
    return any(f"- {model}{sign}{said}" in part for sign in ("", " △", " ▲"))


@pytest.mark.parametrize("name", ATTACKED)
def test_on_every_network_the_minimum_norm_attacks_come_near_the_best_known_or_the_page_says_that_they_do_not(name: str) -> None:
    side_by_side, board = cells_of(name, DISTANCES), cells_of(name, STANDARD)
    assert set(side_by_side) == {"ddn", "fmn"}
    assert len(set.intersection(*(set(cell.per_example.index) for cell in side_by_side.values()))) >= 50
    shares = {**optimalities(side_by_side, board.values()), "cw": optimalities(board, side_by_side.values())["cw"]}
    for attack, bar in BARS.items():
        known = BEHIND.get(name, {}).get(attack)
        assert shares[attack] >= (bar if known is None else known), (attack, shares)
        assert known is None or shares[attack] < bar, f"{attack} meets the bar on {name}: take it off the list"
        page = "README.md" if attack == "cw" else "distances.md"
        assert (shares[attack] < NEAR) == told(page, name, attack, shares[attack]), (attack, shares)


def test_every_cell_of_the_distances_can_be_read() -> None:
    assert UNREAD == []
