"""Orders side by side, and runs that differ by their seed alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from conftest import Command
from handmade import make_cell, make_diagnosis
from robustboard.benchmark.diagnose.record import file_of, write_diagnosis
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.ranks.intervals import Ranking, rank_rows
from robustboard.benchmark.report.ranks.page import as_json, render
from robustboard.benchmark.report.ranks.seeds import Spread, spreads
from robustboard.benchmark.report.ranks.stability import agreement
from robustboard.benchmark.report.ranks.study import study
from robustboard.benchmark.results import write_cell
from robustboard.benchmark.statistics import wilson

PATIENT = settings(deadline=None)
N = 40
SCORES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=7)


def order(scores: Sequence[float], *better: tuple[int, int]) -> Ranking:
    """The models "0", "1", … with these accuracies, and who is significantly better than whom."""
    accuracy = {str(at): score for at, score in enumerate(scores)}
    return Ranking(accuracy, dict.fromkeys(accuracy, 10), frozenset((str(a), str(b)) for a, b in better))


def cell(model: str, robust: int, attack: str = "bim", **changes: object) -> CellResult:
    """The first `robust` of forty examples stand."""
    hit = [0] * robust + [1] * (N - robust)
    return make_cell(model, attack, correct=[1] * N, fooled=hit, **changes)  # type: ignore[arg-type]


def save(folder: Path, *cells: CellResult) -> Path:
    for each in cells:
        name = f"{each.attack.name.replace(':', '-')}.json"
        write_cell(each, folder / each.protocol.name / each.dataset.name / each.model.name / name)
    return folder


@pytest.mark.parametrize(
    ("second", "tau", "swaps"),
    [([4, 3, 2, 1], 1.0, set()), ([1, 2, 3, 4], -1.0, {"01", "02", "03", "12", "13", "23"}), ([3, 4, 2, 1], 2 / 3, {"01"})],
)
def test_kendalls_tau_of_four_models(second: list[int], tau: float, swaps: set[str]) -> None:
    found = agreement(("a", "b"), order([4, 3, 2, 1]), order(second))
    assert found.tau == pytest.approx(tau)
    assert {swap.ahead + swap.behind for swap in found.swaps} == swaps


@PATIENT
@given(SCORES)
def test_tau_counts_pairs_and_the_swaps_are_the_discordant_ones(scores: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in scores], [b for _, b in scores]
    found = agreement(("a", "b"), order(first), order(second))
    pairs = [(i, j) for i in range(len(scores)) for j in range(i)]
    signs = [((first[i] > first[j]) - (first[i] < first[j]), (second[i] > second[j]) - (second[i] < second[j])) for i, j in pairs]
    against = sum(x * y < 0 for x, y in signs)
    assert len(found.swaps) == against
    # τ-b = (concordant − discordant) / √(pairs not tied in the first · pairs not tied in the second)
    size = sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs)
    expected = (sum(x * y > 0 for x, y in signs) - against) / math.sqrt(size) if size else None
    assert found.tau == (None if expected is None else pytest.approx(expected))
    back = agreement(("b", "a"), order(second), order(first))
    assert {(swap.behind, swap.ahead) for swap in back.swaps} == {(swap.ahead, swap.behind) for swap in found.swaps}


@pytest.mark.parametrize(
    ("first", "second", "certain"),
    [([(0, 1)], [(1, 0)], True), ([(0, 1)], [], False), ([], [(1, 0)], False), ([(1, 0)], [(0, 1)], False)],
)
def test_a_swap_is_beyond_chance_where_both_orders_separate_the_pair(
    first: list[tuple[int, int]], second: list[tuple[int, int]], certain: bool
) -> None:
    (swap,) = agreement(("a", "b"), order([2, 1], *first), order([1, 2], *second)).swaps
    assert (swap.ahead, swap.behind, swap.beyond_chance) == ("0", "1", certain)


def test_models_in_one_order_only_are_left_out() -> None:
    first, second = order([3, 2, 1]), order([1, 2])
    assert agreement(("a", "b"), first, second).models == ("0", "1")


def test_attacks_and_implementations_of_a_folder(tmp_path: Path) -> None:
    library = {"attack": "torchattacks:bim", "implementation": "torchattacks 3.5.1", "params": {"steps": 10}}
    cells = [cell("a", 40, "fgsm"), cell("b", 20, "fgsm"), cell("a", 10), cell("b", 20), cell("a", 30, **library)]
    cells.append(cell("b", 20, **library))
    (found,) = study([save(tmp_path, *cells)]).boards
    taus = {(each.first, each.second): each.tau for each in found.agreements}
    assert taus["bim", "fgsm"] == -1
    assert taus["bim", "torchattacks:bim"] == -1
    assert taus["fgsm", "torchattacks:bim"] == 1
    assert taus["bim", "worst_case"] == 1, "the worst case joins them all: 10 of a and 20 of b stand"
    text = render(study([tmp_path]), "terminal")
    assert "bim → torchattacks:bim" in text.split("implementations")[1].split("\n\n")[0]
    assert "- bim → fgsm: b △ falls behind a △" in text, "nobody diagnosed them"
    assert str(tmp_path) not in text, "one folder needs no name"


def test_two_versions_of_a_protocol(tmp_path: Path) -> None:
    first = save(tmp_path / "1", cell("a", 40), cell("b", 20), cell("c", 0), cell("a", 3, "cw"))
    changed = {"version": 2, "params": {"steps": 100}}
    second = save(tmp_path / "2", cell("a", 10, **changed), cell("b", 20, **changed), cell("c", 0, **changed))
    found = study([first, second])
    (change,) = found.changes
    by_column = {each.first: each for each in change.agreements}
    assert set(by_column) == {"bim", "worst_case"}
    assert by_column["bim"].tau == pytest.approx(1 / 3)
    (swap,) = by_column["bim"].swaps
    assert (swap.ahead, swap.behind, swap.beyond_chance) == ("a", "b", True)
    title = f"protocol standard v1 ({first}) → digits · standard · protocol standard v2 ({second})"
    whole, short = render(found, "markdown"), render(found, "markdown", changes_only=True)
    assert title in whole
    assert title in short
    assert ("rank by" in whole, "rank by" in short) == (True, False)
    with pytest.raises(InputError, match="there are no changes to tell"):
        render(study([first]), "markdown", changes_only=True)


def test_the_command_tells_changes_alone_in_every_form(command: Command, tmp_path: Path) -> None:
    first = save(tmp_path / "1", cell("a", 40), cell("b", 20))
    second = save(tmp_path / "2", cell("a", 10), cell("b", 20))
    shown = command("ranks", first, second, "--changes", "--write", tmp_path / "changes.md").out
    assert "rank by" not in shown + (tmp_path / "changes.md").read_text(encoding="utf-8")
    assert "2 swaps of a pair, 2 of them beyond chance" in shown
    found = json.loads(command("ranks", first, second, "--changes", "--json").out)
    assert (found["boards"], len(found["changes"])) == ([], 1)


def test_the_command_takes_diagnoses_from_results_that_are_known(command: Command, tmp_path: Path) -> None:
    folder = save(tmp_path / "cells", cell("a", 40), cell("b", 20))
    for model in ("a", "b"):
        write_diagnosis(make_diagnosis(model, {7: "fail"} if model == "a" else {}), file_of(tmp_path / "known", "digits", model))
    (board,) = json.loads(command("ranks", folder, "--known", tmp_path / "known", "--json").out)["boards"]
    assert board["marks"] == {"a": ["▲ check 7 elsewhere, under standard v1: something was seen"]}


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_one_model_has_no_order(tmp_path: Path, style: str) -> None:
    first = save(tmp_path / "first", cell("a", 9), cell("a", 8, "fgsm"))
    alone = render(study([first]), style)
    assert alone.endswith("An order needs at least two models; here is one.\n")
    assert "Kendall" not in alone
    second = save(tmp_path / "second", cell("a", 9), cell("b", 8))
    changed = render(study([first, second]), style)
    assert changed.endswith("An order needs at least two models; the two have fewer in common.\n")
    assert "Kendall" not in changed.rpartition("→")[2]


def test_boards_of_other_protocols_match_where_there_is_no_choice(tmp_path: Path) -> None:
    standard, quick = cell("a", 10), cell("a", 10, protocol="quick")
    one, other = save(tmp_path / "1", standard), save(tmp_path / "2", quick)
    both = save(tmp_path / "3", standard, quick)
    assert len(study([one, other]).changes) == 1
    assert [change.second.board.protocol for change in study([one, both]).changes] == ["standard"]


def runs(*robust: int, recipe: str = "relu", **changes: object) -> list[CellResult]:
    """One run a seed."""
    return [cell(f"{recipe}-seed_{seed}" if seed else recipe, count, **changes) for seed, count in enumerate(robust)]


def spread_of(cells: list[CellResult], column: str = "bim") -> Spread:
    (board,) = make_boards(cells, [])
    return next(each for each in spreads(board.rows, {column: rank_rows(board, column)}) if each.column == column)


def test_the_spread_over_seeds_is_students_and_that_over_examples_wilsons() -> None:
    found = spread_of(runs(10, 14, 18, 22))
    assert found.recipe == "relu"
    assert found.accuracies == (0.25, 0.35, 0.45, 0.55)
    assert (found.mean, found.n) == (pytest.approx(0.4), 40)
    half = stats.t.ppf(0.975, 3) * float(np.std([0.25, 0.35, 0.45, 0.55], ddof=1)) / 2
    assert found.over_seeds == (pytest.approx(0.4 - half), pytest.approx(0.4 + half))
    assert found.over_examples == wilson(16, 40)


def test_which_of_the_two_is_larger() -> None:
    assert spread_of(runs(20, 20, 20)).larger == "examples", "seeds that agree leave only the examples"
    assert spread_of(runs(20, 20, 20)).over_seeds == (0.5, 0.5)
    assert spread_of(runs(0, 20, 40)).larger == "seeds"
    assert spread_of(runs(0, 40)).over_seeds == (0.0, 1.0), "Student's interval of two runs ends where accuracies do"


def test_runs_are_grouped_by_recipe_and_other_names_are_nobodys_run() -> None:
    cells = [*runs(10, 20), *runs(5, 6, recipe="relu-maxout_4"), cell("relog-seed_3", 9), cell("net.build", 3)]
    cells.append(cell("net.build-seed_1", 3))
    (board,) = make_boards(cells, [])
    found = {each.recipe: each.runs for each in spreads(board.rows, {})}
    assert found == {"relu": ("relu", "relu-seed_1"), "relu-maxout_4": ("relu-maxout_4", "relu-maxout_4-seed_1")}


def test_a_marked_run_is_left_out() -> None:
    cells = [*runs(10, 20), cell("relu-seed_2", 40, failures=1)]
    assert spread_of(cells).runs == ("relu", "relu-seed_1")


def test_the_order_of_cells_does_not_matter() -> None:
    cells = [*runs(10, 20, 30), *runs(3, 2, 1, attack="fgsm")]
    assert spread_of(cells) == spread_of(cells[::-1])


def test_the_command_prints_writes_and_gives_json(command: Command, tmp_path: Path) -> None:
    folder = save(tmp_path / "results", *runs(10, 20, 30), *runs(10, 20, 30, attack="fgsm"))
    answer = command("ranks", folder, "--columns", "bim", "--write", tmp_path / "ranks.md")
    assert answer.code == 0
    assert "over seeds" in answer.out
    assert "fgsm" not in answer.out
    assert (tmp_path / "ranks.md").read_text(encoding="utf-8").startswith("# How far an order can be believed")
    found = json.loads(command("ranks", folder, "--json").out)
    (board,) = found["boards"]
    assert board["ranks"]["bim"]["relu-seed_2"] == {"accuracy": 0.75, "n": 40, "best": 1, "worst": 1}
    assert {spread["column"] for spread in board["spreads"]} == {"clean", "bim", "fgsm", "worst_case"}


def test_what_is_not_there_is_refused(command: Command, tmp_path: Path) -> None:
    folder = save(tmp_path / "results", *runs(10, 20))
    for words, said in (
        ([tmp_path / "absent"], "there is no folder"),
        ([folder, "--columns", "bmi"], "there is no column 'bmi', did you mean 'bim'?; there are bim, worst_case"),
        ([folder / "standard" / "cifar10"], "there is no folder"),
    ):
        answer = command("ranks", *words)
        assert answer.code == 2
        assert said in answer.err
    (tmp_path / "empty").mkdir()
    assert "there are no results in" in command("ranks", tmp_path / "empty").err


def test_hostile_names_stay_in_their_cell(tmp_path: Path) -> None:
    name = "<script>|\n\x1b[2J" + "x" * 200
    write_cell(cell(name, 10), tmp_path / "1.json")
    write_cell(cell(name, 40, "fgsm"), tmp_path / "2.json")
    write_cell(cell("b", 40), tmp_path / "3.json")
    write_cell(cell("b", 0, "fgsm"), tmp_path / "4.json")
    found = study([tmp_path])
    for style in ("terminal", "markdown"):
        text = render(found, style)
        assert "\x1b" not in text
        assert not any(line.startswith("\\x1b") for line in text.splitlines())
    (board,) = json.loads(json.dumps(as_json(found)))["boards"]
    assert set(board["ranks"]["bim"]) == {name, "b"}


def test_hostile_attacks_and_protocols_stay_text(tmp_path: Path) -> None:
    evil = "<script>|\x1b[2J"
    cells = [cell("a", 40), cell("b", 0), cell("a", 0, "fgsm"), cell("b", 40, "fgsm")]
    for at, each in enumerate(cells):
        block = replace(each.attack, name=f"{each.attack.name}{evil}")
        write_cell(replace(each, attack=block, protocol=replace(each.protocol, name=evil)), tmp_path / f"{at}.json")
    found = study([tmp_path])
    for style in ("terminal", "markdown"):
        text = render(found, style)
        assert "\x1b" not in text
        assert text.count("falls behind") == 1
        assert style == "terminal" or "<script>" not in text
