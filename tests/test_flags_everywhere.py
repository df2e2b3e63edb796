"""A model that failed a check carries its sign wherever its number or its place stands, whatever the format."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import robustboard
from handmade import diagnosed, make_cell
from pictured import texts
from robustboard.benchmark.diagnose.record import file_of, write_diagnosis
from robustboard.benchmark.plots import clean_robust, epsilon
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.claims import page as claims
from robustboard.benchmark.report.publish import publish
from robustboard.benchmark.report.ranks.page import as_json, render
from robustboard.benchmark.report.ranks.study import study
from robustboard.benchmark.report.tables import sheet
from robustboard.benchmark.results import write_cell
from sited import keep, make_site, read_page

SEEN = "black-box fools 3 that white-box left (examples 1, 2, 3)"
N = 40
SIGNS = {"relog": "▲", "relog-maxout_4": "△", "relu": ""}


def cell(model: str, attack: str, standing: int, distance: float = 1.0) -> CellResult:
    fooled = [0] * standing + [1] * (N - standing)
    made = make_cell(model, attack, correct=[1] * N, fooled=fooled, dataset="mnist")
    lengths = [distance if hit else None for hit in fooled]
    if attack in ("cw", "ddn"):
        made = replace(made, attack=replace(made.attack, aim="minimum", norm="l2", eps=2.0))
    examples = replace(made.per_example, distance=lengths)
    return replace(made, identity=f"{model}{attack}".encode().hex()[:64].ljust(64, "0"), per_example=examples)


CELLS = [
    *(cell("relog", attack, standing) for attack, standing in (("fgsm", 36), ("bim", 2), ("cw", 0), ("ddn", 0))),
    *(cell("relog-maxout_4", attack, standing) for attack, standing in (("fgsm", 38), ("bim", 20), ("cw", 0), ("ddn", 0))),
    *(cell("relu", attack, standing) for attack, standing in (("fgsm", 4), ("bim", 38), ("cw", 0), ("ddn", 0))),
]
DIAGNOSES = [
    *diagnosed(CELLS[:4], {"relog": {7: "fail"}}, SEEN),
    *diagnosed(CELLS[4:], {"relog-maxout_4": {8: "fail"}}, "FGSM beats BIM"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = keep(tmp_path_factory.mktemp("results"), CELLS)
    for diagnosis in DIAGNOSES:
        write_diagnosis(diagnosis, file_of(found / "standard", "mnist", diagnosis.model.name))
    return found


def bare(text: str) -> list[str]:
    """Where a marked model is named without its sign, on either side of it."""
    found = []
    for model, sign in SIGNS.items():
        for named in re.finditer(rf"(?<![\w-]){re.escape(model)}(?![\w-])", text):
            around = text[max(0, named.start() - 3) : named.end() + 3]
            if sign and sign not in around:
                found.append(text[max(0, named.start() - 60) : named.end() + 60])
    return found


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_tables_and_their_optimality(style: str, folder: Path) -> None:
    text = publish([folder], style).text
    assert "optimality" in text
    assert bare(text) == []
    assert f"▲ relog: check 7: {SEEN}." in text


def test_latex(folder: Path) -> None:
    text = publish([folder], "latex").text.replace(r"$\blacktriangle$", "▲").replace(r"$\triangle$", "△").replace(r"\_", "_")
    assert bare(text.replace("{}", "")) == []
    assert "check 7" in text


def test_data_frames_and_notebooks(folder: Path) -> None:
    loaded = robustboard.load_results(folder)
    frame = loaded.to_pandas()
    flags = frame[frame["model"] == "relog"]["flags"]
    assert all(any(SEEN in flag for flag in told) for told in flags)
    assert frame[frame["model"] == "relu"]["flags"].map(len).sum() == 0
    assert "relog ▲" in loaded._repr_html_()
    assert "relog-maxout_4 △" in loaded._repr_html_()
    csv = publish([folder], "csv").text.splitlines()
    assert all(SEEN in line for line in csv if ",relog," in line)


def test_orders_and_their_json(folder: Path) -> None:
    found = study([folder])
    text = render(found, "markdown")
    assert "falls behind" in text, "the orders by FGSM and BIM differ beyond chance"
    assert bare(text) == []
    (board,) = json.loads(json.dumps(as_json(found)))["boards"]
    assert board["marks"] == {"relog": [f"▲ check 7: {SEEN}"], "relog-maxout_4": ["△ check 8: FGSM beats BIM"]}


def test_the_answers_to_the_claims() -> None:
    cells = [*CELLS, cell("relog-maxout_4", "worst_case", 20)]
    verdicts = [
        line for line in claims.page(make_boards(cells, [], [], DIAGNOSES)).splitlines() if line.startswith("**Verdict**")
    ]
    assert any("relog-maxout_4 △" in verdict for verdict in verdicts)
    assert bare("\n".join(verdicts)) == []


def test_pictures() -> None:
    (board,) = make_boards(CELLS, [], [], DIAGNOSES)
    one = tuple(row for row in board.rows if row.model == "relog")
    for picture in (clean_robust.picture(View(board, board.rows, "board")), epsilon.picture(View(board, one, "model"))):
        shown = " ".join(texts(picture))
        assert "relog ▲" in shown
        assert "black-box fools 3" in shown


def test_the_first_answers_of_the_pages(folder: Path, tmp_path: Path) -> None:
    make_site(folder, tmp_path / "site")
    for name in ("index.html", "mnist.html"):
        shown = read_page(tmp_path / "site" / name).shown
        assert "relog-maxout_4 △ : 50.0" in shown, f"{name}: the leader"
        assert "relog ▲ with" in shown, f"{name}: a suspect"


def test_the_page_of_optimality_has_it_too() -> None:
    (board,) = make_boards(CELLS, [], [], DIAGNOSES)
    grid = sheet(board).optimality
    assert grid is not None
    assert {row[0] for row in grid.rows} == {"relog ▲", "relog-maxout_4 △", "relu"}


@pytest.mark.parametrize("protocol", ["distances", "standard"])
def test_tables_and_orders_of_other_folders_have_it_from_results_that_are_known(
    protocol: str, folder: Path, tmp_path: Path
) -> None:
    for at, each in enumerate(CELLS):
        write_cell(replace(each, protocol=replace(each.protocol, name=protocol)), tmp_path / f"{at}.json")
    text = publish([tmp_path], "markdown", known=[folder]).text
    assert bare(text) == []
    assert f"▲ relog: check 7 elsewhere, under standard v1: {SEEN}." in text
    assert "not diagnosed" not in text
    assert bare(render(study([tmp_path], known=[folder]), "markdown")) == []


def test_a_table_of_other_folders_keeps_the_sign(folder: Path, tmp_path: Path) -> None:
    """Cells without their diagnosis are told to have none: never a bare number."""
    for at, each in enumerate(CELLS):
        write_cell(each, tmp_path / f"{at}.json")
    text = publish([tmp_path], "markdown").text
    assert "relog △" in text
    assert "relu △" in text
