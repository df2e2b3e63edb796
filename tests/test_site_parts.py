"""What pages are made of: cells in parts, names of files, answers, pairs, commands."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handmade import diagnosed, make_cell, make_manifest
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.compare.differences import compare_sides
from robustboard.benchmark.report.compare.sides import Sides
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.report.tables import columns, sheet
from robustboard.benchmark.site import datatables
from robustboard.benchmark.site.answers import answers
from robustboard.benchmark.site.names import slugs
from robustboard.benchmark.site.pairs import pairs_of, sides_of
from robustboard.benchmark.site.parts import parts
from robustboard.benchmark.site.rendering import environment
from robustboard.benchmark.site.reproduce import citation, reproduction
from sited import HOSTILE, cells_of, outcome


def board(*cells: object, **more: object) -> Board:
    (found,) = make_boards(cells, [], **{"diagnoses": diagnosed(cells), **more})  # type: ignore[arg-type]
    return found


@given(st.lists(st.text(min_size=1, max_size=30), unique=True, max_size=20))
def test_every_name_has_a_harmless_file_of_its_own(names: list[str]) -> None:
    found = slugs(names, ["index", "compare"])
    assert set(found) == set(names)
    folded = [slug.casefold() for slug in found.values()]
    assert len(set(folded)) == len(names)
    assert not {"index", "compare"} & set(folded)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*", slug) for slug in found.values())


def test_names_that_differ_in_capitals_alone_have_files_that_differ_in_more() -> None:
    found = slugs(HOSTILE)
    assert found["Relu"].casefold() != found["RELU"].casefold()
    # A name that looks like another's file takes nobody's place.
    stolen = found["../.."]
    assert len({slug.casefold() for slug in slugs([*HOSTILE, stolen]).values()}) == len(HOSTILE) + 1


@pytest.mark.parametrize(
    ("text", "kind", "number", "interval", "rest", "order", "shade"),
    [
        ("37.6 [34.7–40.6]", "attack", "37.6", "[34.7–40.6]", "", 37.6, 4),
        ("≤ 37.6 [34.7–40.6] ▲", "attack", "≤ 37.6", "[34.7–40.6]", "▲", 37.6, 4),
        ("≤ 37.6 [34.7–40.6] ▲ ↓", "attack", "≤ 37.6", "[34.7–40.6]", "▲ ↓", 37.6, 4),
        ("≤ 52.0 [42.3–61.5] n=100 ▲", "worst", "≤ 52.0", "[42.3–61.5]", "n=100 ▲", 52.0, 5),
        ("≥ 0.0 [0.0–0.4]", "certified", "≥ 0.0", "[0.0–0.4]", "", 0.0, 0),
        ("76.9–77.1 [74.2–79.6]", "certified", "76.9–77.1", "[74.2–79.6]", "", 76.9, 8),
        ("100.0 [99.6–100.0]", "failure", "100.0", "[99.6–100.0]", "", 100.0, None),
        ("38,394", "parameters", "38,394", "", "", 38394.0, None),
        ("2–4", "rank", "2–4", "", "", 2.0, None),
        ("last ▲", "rank", "last ▲", "", "", None, None),
        ("missing", "attack", "missing", "", "", None, None),
        ("–", "worst", "–", "", "", None, None),
        ("≥ half unfooled", "median", "≥ half unfooled", "", "", math.inf, None),
        ("relu [0.1] 3", "model", "relu [0.1] 3", "", "", None, None),
    ],
)
def test_a_cell_is_taken_apart_and_nothing_of_it_is_lost(
    text: str, kind: str, number: str, interval: str, rest: str, order: float | None, shade: int | None
) -> None:
    found = parts(text, kind)  # type: ignore[arg-type]
    assert (found.number, found.interval, found.rest, found.order, found.shade) == (number, interval, rest, order, shade)


def test_every_text_of_a_sheet_is_its_parts() -> None:
    cells = [
        *cells_of("a", {"bim": 30, "cw": 3}),
        *cells_of("b", {"bim": 3}),
        make_cell("c", failures=2, correct=[1] * 40, fooled=[0] * 40),
    ]
    (found,) = make_boards(cells, [make_manifest({"digits": {name: ["bim", "cw", "worst_case"] for name in "abc"}})])
    said = sheet(found)
    assert said.table is not None
    kinds = [column.kind for column in columns(found)]
    assert [column.header for column in columns(found)] == list(said.table.headers)
    for row in said.table.rows:
        for text, kind in zip(row, kinds, strict=True):
            each = parts(text, kind)
            assert " ".join(part for part in (each.number, each.interval, each.rest) if part) == text


def test_the_numbers_that_flatter_are_told_the_worst_first() -> None:
    found = answers(
        board(*cells_of("a", {"bim": 30, "fgsm": 35}), *cells_of("b", {"bim": 2, "fgsm": 38}), *cells_of("c", {"bim": 9}))
    )
    assert found is not None
    told = [(each.model, each.attack, each.text, round(each.points, 6)) for each in found.flattering]
    assert told == [("b", "fgsm", "95.0", 90.0), ("a", "fgsm", "87.5", 12.5)]


def test_the_leader_is_told_with_those_behind_it_and_those_that_are_suspect() -> None:
    found = answers(
        board(
            *cells_of("best", {"bim": 30}),
            *cells_of("low", {"bim": 2}),
            *cells_of("near", {"bim": 28}),
            *cells_of("doubted", {"bim": 40}, output="probabilities"),
        )
    )
    assert found is not None
    assert found.leader is not None
    assert (found.leader.model, found.leader.text.partition(" ")[0], found.n) == ("best", "75.0", 40)
    assert [each.model for each in found.tied] == ["near"]
    assert found.next is not None
    assert (found.next.model, found.behind) == ("low", 1)
    (suspect,) = found.suspects
    assert (suspect.model, suspect.is_above) == ("doubted", True)
    assert suspect.reasons == ("outputs are probabilities, which can hide gradients",)


def test_a_board_of_suspects_has_no_leader_and_one_without_attacks_no_answers() -> None:
    found = answers(board(*cells_of("odd", {"bim": 30}, output="probabilities")))
    assert found is not None
    assert found.leader is None
    assert [each.is_above for each in found.suspects] == [False]
    assert answers(board(make_cell("relu", "jsma"))) is None


def test_pairs_are_what_compare_says() -> None:
    first, second = cells_of("a", {"bim": 30, "cw": 3}), cells_of("b", {"bim": 21, "cw": 2}, first=7)
    found = board(*first, *second)
    (numbers,) = pairs_of(sides_of(found)).values()
    order = [row.model for row in found.rows]
    assert order == ["a", "b"]
    named = [{cell.attack.name: cell for cell in cells} for cells in (first, second)]
    for each in compare_sides(Sides("models", *named, [])):
        pair = numbers[each.label]
        assert (pair.lost, pair.gained) == (len(each.lost), len(each.gained))
        assert pair.both + pair.lost + pair.gained + pair.neither == each.n
        assert each.tested is not None
        assert pair.tested == each.tested.paired


def test_holms_correction_is_over_the_columns_of_the_two() -> None:
    (numbers,) = pairs_of(
        sides_of(board(*cells_of("a", {"bim": 30, "fgsm": 30}), *cells_of("b", {"bim": 20, "fgsm": 29})))
    ).values()
    assert set(numbers) == {"bim", "fgsm", "worst_case"}
    p = sorted(pair.tested.p_value for pair in numbers.values() if pair.tested)
    holm = sorted(pair.p_holm for pair in numbers.values() if pair.p_holm is not None)
    assert holm[0] == pytest.approx(3 * p[0])
    assert all(after >= before for before, after in zip(p, holm, strict=True))


def test_bounds_and_other_examples_are_not_tested() -> None:
    whole = cells_of("a", {"bim": 30, "cw": 3})
    failed = [make_cell("b", "bim", correct=[1] * 40, fooled=outcome(20), failures=1)]
    fewer = [make_cell("b", "cw", correct=[1] * 40, fooled=outcome(20), first=1)]
    sides = sides_of(board(*whole, *failed))
    (numbers,) = pairs_of(sides).values()
    assert numbers["bim"].tested is None
    assert numbers["bim"].lost == 10
    others = sides_of(board(*fewer))
    assert pairs_of([sides[0], others[0]])[0, 1] == {}


@pytest.mark.parametrize("name", HOSTILE)
def test_commands_hold_names_as_single_words(name: str) -> None:
    found = board(*cells_of(name, {"bim": 3}, protocol="standard@40"))
    told = reproduction(found, found.rows[0])
    run = next(line for line in told.commands if line.startswith("robustboard run"))
    words = shlex.split(run)
    assert words[words.index("--models") + 1] == for_terminal(name)
    assert words[words.index("--n") + 1] == "40"
    assert words[words.index("--protocol") + 1] == "standard"
    assert all("\n" not in line for line in told.commands)
    assert shlex.split(told.diagnose) == ["robustboard", "diagnose", f"digits/{for_terminal(name)}"] or name.startswith(" ")


def test_commands_name_the_changes_of_a_protocol() -> None:
    found = board(*cells_of("relu", {"bim": 3}, protocol="standard@eps-0.1@seed-3"))
    run = reproduction(found, found.rows[0]).commands[-2]
    assert "--protocol standard --eps 0.1 --seed 3 " in run


def test_what_other_boards_show_of_the_model_is_reproduced_too() -> None:
    mine = board(*cells_of("relu", {"bim": 3}), *cells_of("other", {"bim": 3}))
    theirs = board(*cells_of("relu", {"cw": 3}, protocol="distances"))
    elsewhere = board(*cells_of("relu", {"cw": 3}, protocol="distances", dataset="mnist"))
    retrained = board(*cells_of("relu", {"cw": 3}, protocol="distances", weights="b" * 64))
    other_code = board(*(replace(cell, model=replace(cell.model, code="c" * 64)) for cell in theirs.rows[0].cells.values()))
    (relu,) = [row for row in mine.rows if row.model == "relu"]
    (other,) = [row for row in mine.rows if row.model == "other"]
    told = reproduction(mine, relu, [mine, theirs, elsewhere, retrained, other_code])
    runs = [line for line in told.commands if line.startswith("robustboard run")]
    assert [shlex.split(run)[3] for run in runs] == ["standard", "distances"]
    assert runs[1] == "robustboard run --protocol distances --dataset digits --models relu --attacks cw --out again"
    assert len([line for line in reproduction(mine, other, [theirs]).commands if line.startswith("robustboard run")]) == 1


def at_commit(commit: str, cells: Sequence[CellResult]) -> Board:
    return board(*(replace(cell, environment=replace(cell.environment, git_commit=commit)) for cell in cells))


def test_a_commit_is_checked_out_only_where_all_that_is_made_again_is_of_it() -> None:
    mine = at_commit("c" * 40, cells_of("relu", {"bim": 3}))
    for commit, is_one in (("c" * 40, True), ("d" * 40, False)):
        theirs = at_commit(commit, cells_of("relu", {"cw": 3}, protocol="distances"))
        told = reproduction(mine, mine.rows[0], [mine, theirs])
        assert (f"git checkout {'c' * 40}" in told.commands) == is_one
        apart = "at 2 commits, to be checked out in turn: cccccccccccc for bim; dddddddddddd for cw."
        assert any(note.endswith(apart) for note in told.notes) != is_one


def test_the_cost_is_told_by_what_it_was_spent_on() -> None:
    quick, slow = cells_of("relu", {"bim": 3, "cw": 3})
    slow = replace(slow, cost=replace(slow.cost, seconds=600.0))
    quick = replace(quick, cost=replace(quick.cost, seconds=9.0, device="cuda:0"))
    found = board(quick, slow)
    told = "The board's own cells took 9 s on a GPU and 10 min on a processor, all attacks together."
    assert told in reproduction(found, found.rows[0]).notes


def test_a_protocol_of_ones_own_is_told_to_be_given_by_its_file() -> None:
    ours, theirs = (board(*cells_of("relu", {"bim": 3}, protocol=name)) for name in ("standard@40", "mine@40"))
    told = "The protocol mine is not one of ours: give --protocol the path of its TOML file."
    assert told in reproduction(theirs, theirs.rows[0]).notes
    assert not any("TOML" in note for note in reproduction(ours, ours.rows[0]).notes)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_citation_has_balanced_braces_and_a_plain_key(name: str) -> None:
    found = board(*cells_of(name, {"bim": 3}))
    text = citation(found, found.rows[0])
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.match(r"@software\{[A-Za-z0-9-]+,\n", text)
    assert "year    = {2024}" in text


@given(st.text())
def test_templates_show_any_text_as_text(text: str) -> None:
    shown = environment().from_string("{{ text }}").render(text=text)
    assert "<" not in shown
    assert all(sign.isprintable() or sign == "\n" for sign in shown)


def test_the_bundle_of_datatables_becomes_a_script() -> None:
    script = datatables.script()
    assert "globalThis.DataTable=" in script
    assert not re.search(r"(?m)\bexport\s*\{", script)
    assert "datatables.net/license" in script
    assert "MIT License" in datatables.licence()
    with pytest.raises(InputError, match="no default export"):
        datatables.as_script("var a=1;export{a as b};")
