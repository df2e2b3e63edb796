"""The pages as files: every link and asset is there, every name is text, nothing from elsewhere, the same bytes twice."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest

from conftest import Command
from handmade import make_cell, make_manifest
from robustboard.benchmark.canaries.grades import find_grades
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.kinds import Kind, Missing, attempt
from robustboard.benchmark.plots.picture import Picture
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.records import NotRun
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.report.publish import read_boards
from robustboard.benchmark.report.tables import sheet
from robustboard.benchmark.results import load
from robustboard.benchmark.site import pairs, pictures
from sited import HOSTILE, Page, cells_of, keep, make_site, read_page, some_sizes

pytest_plugins = ("browsed",)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = [cell for at, name in enumerate(HOSTILE) for cell in cells_of(name, {"bim": 3 + at, "cw": 2})]
    cells += cells_of("fine", {"bim": 20, "cw": 2}, note="<b>a note</b>")
    manifest = make_manifest({"digits": {name: ["bim", "cw"] for name in HOSTILE}}, [NotRun("digits", "<i>gone", "no <u>file")])
    out = tmp_path_factory.mktemp("hostile")
    make_site(keep(tmp_path_factory.mktemp("cells"), cells, manifest), out)
    return out


def pages(site: Path) -> dict[str, Page]:
    return {str(path.relative_to(site)): read_page(path) for path in sorted(site.rglob("*.html"))}


def broken(site: Path) -> list[str]:
    """Links and assets that lead nowhere, and those that lead out of the site."""
    found, read = [], pages(site)
    for name, page in read.items():
        for link in [*page.values("href"), *page.values("src")]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("/"):
                found.append(f"{name}: {link} leaves the site")
                continue
            path = (site / PurePosixPath(name).parent / unquote(parts.path)).resolve() if parts.path else site / name
            if not path.is_file() or not path.is_relative_to(site):
                found.append(f"{name}: {link} is not there")
            elif parts.fragment and path.name != "compare.html" and parts.fragment not in read[str(path.relative_to(site))].ids:
                found.append(f"{name}: {link} has no such place")
    return found


@pytest.mark.parametrize("which", ["site", "hostile"])
def test_every_link_and_asset_is_there(which: str, request: pytest.FixtureRequest) -> None:
    assert broken(request.getfixturevalue(which)) == []


@pytest.mark.parametrize("which", ["site", "hostile"])
def test_nothing_comes_from_elsewhere_and_nothing_runs_inside_a_page(which: str, request: pytest.FixtureRequest) -> None:
    for name, page in pages(request.getfixturevalue(which)).items():
        policy = next(attributes for tag, attributes in page.elements if tag == "meta" and "http-equiv" in attributes)
        assert "default-src 'none'" in str(policy["content"]), name
        assert "http" not in str(policy["content"]), name
        for tag, attributes in page.elements:
            assert tag not in ("iframe", "object", "embed", "style", "base"), name
            assert tag != "script" or attributes.get("src") or attributes.get("type") == "application/json", name
            assert not any(key.startswith("on") or key == "style" for key in attributes), (name, attributes)
        assert len(set(page.ids)) == len(page.ids), name
        assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img"), name


def test_the_style_sheet_asks_nothing_of_anyone(site: Path) -> None:
    assert not re.search(r"url\(|@import", (site / "assets" / "site.css").read_text(encoding="utf-8"))


def test_the_board_says_what_the_report_says(site: Path, results: Path) -> None:
    boards, _ = read_boards([results])
    for board in boards:
        said, page = sheet(board, find_grades([results])), read_page(site / f"{board.dataset}.html")
        assert said.table is not None
        for row in said.table.rows:
            for text in row:
                number, bracket, rest = text.partition(" [")
                assert number.removesuffix(" ▲") in page.shown
                assert not bracket or f"[{rest.partition(']')[0]}]" in page.shown
        for bullet in said.bullets:
            assert bullet in page.shown
        assert f"protocol {board.protocol} v{board.version}" in page.shown
        assert said.legend.replace("**", "") in re.sub(r" (?=:)", "", page.shown)


def test_a_board_is_sorted_by_its_numbers_whatever_their_size(tmp_path: Path) -> None:
    make_site(keep(tmp_path / "cells", some_sizes()), tmp_path / "site")
    page = read_page(tmp_path / "site" / "digits.html")
    heads = [str(attributes["data-kind"]) for tag, attributes in page.elements if tag == "th" and "data-kind" in attributes]
    orders = [str(attributes["data-order"]) for _, attributes in page.elements if "data-order" in attributes]
    rows = [dict(zip(heads, orders[at : at + len(heads)], strict=True)) for at in range(0, len(orders), len(heads))]
    told = {row["model"]: (float(row["parameters"]), row["rank"], row["median"]) for row in rows}
    assert told["large"] == (36.5e6, "1.0", "-Infinity")
    assert told["middle"] == (11.2e6, "1.0", "Infinity")
    assert told["doubted"][:2] == (1.5e6, "Infinity")


def test_every_column_is_explained(site: Path) -> None:
    page = read_page(site / "digits.html")
    heads = [attributes for tag, attributes in page.elements if tag == "th" and attributes.get("data-kind")]
    assert len(heads) > 10
    assert all(len(str(head["data-tip"])) > 15 for head in heads)
    bim = next(str(head["data-tip"]) for head in heads if "bim (version 1)" in str(head["data-tip"]))
    assert "steps 40" in bim
    assert "upper bound" in bim


def test_the_first_page_answers_in_sentences(site: Path) -> None:
    shown = read_page(site / "index.html").shown
    assert "strong △ : 90.0 [76.9–96.0] % of 40 images withstand everything that was run within L∞ ε = 0.2." in shown
    assert "Better than the next" in shown
    assert "2 of 5 models are marked ▲ and not ranked" in shown
    assert "doubted ▲ with 100.0 [91.2–100.0] (more than the leader, but not to be compared yet)" in shown
    assert "outputs are probabilities, which can hide gradients" in shown


def test_where_nothing_stands_no_model_is_called_the_most_robust(tmp_path: Path) -> None:
    cells = [*cells_of("a", {"bim": 0}), *cells_of("b", {"bim": 0}), *cells_of("odd", {"bim": 0}, output="probabilities")]
    make_site(keep(tmp_path / "cells", cells), tmp_path / "site")
    shown = read_page(tmp_path / "site" / "index.html").shown
    assert "None: every ranked model is wrong on every image, clean or under something that was run within L∞ ε = 0.2." in shown
    assert "not in doubt." not in shown
    assert "Tied with" not in shown


def test_a_board_without_numbers_comes_after_those_with_some(tmp_path: Path) -> None:
    manifest = make_manifest({"digits": {"gone": ["bim"]}}, [NotRun("digits", "gone", "it raised")])
    make_site(keep(tmp_path / "cells", cells_of("a", {"bim": 9}, dataset="mnist"), manifest), tmp_path / "site")
    shown = read_page(tmp_path / "site" / "index.html").ids
    assert [name for name in shown if name in ("mnist", "digits")] == ["mnist", "digits"]


def test_the_marks_of_the_first_models_are_told_first(site: Path) -> None:
    shown = read_page(site / "index.html").shown
    (mark,) = re.findall(r"strong △ : ([^.]*(?:\.[0-9][^.]*)*)\. This leaves its worst case what it is\.", shown)
    assert "check" in mark or "not diagnosed" in mark


def test_a_board_says_how_far_its_order_can_be_believed(tmp_path: Path) -> None:
    cells = [
        *cells_of("relu", {"bim": 36, "fgsm": 4}),
        *cells_of("relu-seed_1", {"bim": 34, "fgsm": 6}),
        *cells_of("relog", {"bim": 5, "fgsm": 38}),
        *cells_of("alone", {"bim": 5}, dataset="mnist"),
    ]
    make_site(keep(tmp_path / "cells", cells), tmp_path / "site")
    shown = read_page(tmp_path / "site" / "digits.html").shown
    told = shown[shown.index("How far to believe the order") :]
    # By BIM 36 > 34 > 5, by FGSM the reverse; in the worst case, the smaller of the two, 4, 6 and 5.
    assert "fgsm -1.00 (3) worst L∞ -0.33 (3) +0.33 (3)" in told
    # 3 + 2 + 1 discordant pairs; both attacks separate relog from either relu, and nothing separates these or the worst cases.
    assert "6 times a pair of models swaps from one column to another, 2 times beyond chance" in told
    assert "relu bim 2 87.5 85.0–90.0" in told, "two seeds: mean and range"
    assert "How far to believe the order" not in read_page(tmp_path / "site" / "mnist.html").shown


def test_a_models_page_tells_all_that_is_known(site: Path) -> None:
    weak = read_page(site / "models" / "digits" / "weak.html").shown
    assert "check 8: FGSM beats BIM on 3" in weak
    assert "These inform" in weak
    assert all(f"title {number}" in weak for number in range(1, 24))
    assert "robustboard run --protocol standard --dataset digits --models weak --attacks bim,fgsm,cw --out again" in weak
    assert "@software{robustboard-standard-v1-digits-weak," in weak
    strong = read_page(site / "models" / "digits" / "strong.html").shown
    assert "Not diagnosed" in strong
    assert "≥ 25.0" in strong
    assert "robustboard certify digits/strong --method crown" in strong
    unfinished = read_page(site / "models" / "digits" / "unfinished.html").shown
    assert unfinished.count("no result") >= 2
    assert "no result here of fgsm, cw" in unfinished


def test_a_model_of_the_registry_shows_its_recipe_and_one_of_other_weights_does_not(tmp_path: Path) -> None:
    from robustboard.models.registry import read_cards  # noqa: PLC0415

    card = read_cards()["digits/relu-fast_at"]
    cells = [*cells_of("relu-fast_at", {"bim": 20}, weights=card.sha256), *cells_of("relu", {"bim": 20})]
    make_site(keep(tmp_path / "results", cells), tmp_path / "site", "cells")
    shown = read_page(tmp_path / "site" / "models" / "digits" / "relu-fast_at.html").shown
    assert card.sha256 in shown
    assert card.checkpoint in shown
    assert "Linear" in shown or "Conv2d" in shown
    page = read_page(tmp_path / "site" / "models" / "digits" / "relu-fast_at.html")
    images = page.values("src")
    assert any(name.endswith("/training.webp") for name in images)
    assert any(name.endswith("/epsilon.webp") for name in images)
    assert "gallery (clean images, adversarial images and differences): left out by --pictures cells" in page.shown
    other = read_page(tmp_path / "site" / "models" / "digits" / "relu.html").shown
    assert "The registry now holds other weights under this name" in other
    assert "no training curve of it is recorded" in other
    assert broken(tmp_path / "site") == []


def test_hostile_names_are_text_in_every_page(hostile: Path) -> None:
    board = read_page(hostile / "digits.html")
    for name in HOSTILE:
        assert " ".join(for_terminal(name).split()) in board.shown
    assert len(list((hostile / "models" / "digits").iterdir())) == len(HOSTILE) + 1
    assert "not run: <i>gone: no <u>file" in board.shown
    tags = {tag for page in pages(hostile).values() for tag, _ in page.elements}
    assert not {"i", "u", "img"} & tags
    for path in (hostile / "models" / "digits").iterdir():
        assert "hacked" not in str([pair for pair in read_page(path).elements if pair[0] == "script"])


def test_no_file_lies_outside_the_site(hostile: Path) -> None:
    listed = json.loads((hostile / "site.json").read_text(encoding="utf-8"))
    there = {str(path.relative_to(hostile)) for path in hostile.rglob("*") if path.is_file()}
    assert there == {*listed, "site.json"}


def test_downloads_hold_every_row(site: Path, results: Path) -> None:
    wanted = [row for row in load(results) if row.dataset == "digits"]
    rows = json.loads((site / "data" / "digits.json").read_text(encoding="utf-8"))
    assert [(row["model"], row["attack"], row["robust_accuracy"]) for row in rows] == [
        (row.model, row.attack, row.robust_accuracy) for row in wanted
    ]
    with (site / "data" / "digits.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(wanted)
    alone = json.loads((site / "data" / "digits" / "weak.json").read_text(encoding="utf-8"))
    assert {row["model"] for row in alone["rows"]} == {"weak"}
    assert len(alone["diagnosis"]["findings"]) == 23


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = keep(tmp_path / "results", [*cells_of("a", {"bim": 3}), *cells_of("b", {"bim": 4})])
    for name in ("first", "second"):
        make_site(results, tmp_path / name, "cells")
    first, second = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("first", "second")
    )
    assert first == second
    assert any(path.endswith(".webp") for path in first)


def test_a_picture_is_drawn_once_and_anew_when_its_cells_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, out = keep(tmp_path / "results", [*cells_of("a", {"bim": 3}), *cells_of("b", {"bim": 4})]), tmp_path / "site"
    make_site(results, out, "cells")
    first = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    drawn: list[str] = []

    def counting(kind: Kind, view: View) -> Picture | Missing:
        made = attempt(kind, view)
        drawn.extend([f"{view.model} {kind.name}"] if isinstance(made, Picture) else [])
        return made

    monkeypatch.setattr(pictures, "attempt", counting)
    make_site(results, out, "cells")
    assert drawn == []
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first
    (out / "pictures" / "digits" / "models" / "a" / "epsilon.webp").write_bytes(b"not what was drawn")
    make_site(results, out, "cells")
    assert drawn == ["a epsilon"]
    drawn.clear()
    keep(results, [*cells_of("a", {"bim": 5}), *cells_of("b", {"bim": 4})])
    make_site(results, out, "cells")
    assert {"a epsilon", "a passes", "a confidence", " clean_robust"} <= set(drawn)
    assert not any(name.startswith("b ") for name in drawn)


def test_a_build_that_was_killed_goes_on_after_its_last_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = keep(tmp_path / "results", [*cells_of("a", {"bim": 3}), *cells_of("b", {"bim": 4})])
    make_site(results, tmp_path / "whole", "cells")
    drawn: list[str] = []

    def dying(kind: Kind, view: View) -> Picture | Missing:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        made = attempt(kind, view)
        drawn.extend([f"{view.model} {kind.name}"] if isinstance(made, Picture) else [])
        return made

    monkeypatch.setattr(pictures, "attempt", dying)
    with pytest.raises(KeyboardInterrupt):
        make_site(results, tmp_path / "site", "cells")
    assert not (tmp_path / "site").exists(), "pages are written at the end"
    first, drawn[:] = tuple(drawn), []
    unfinished = tmp_path / ".site.drawn"
    damaged = next(path for path in sorted(unfinished.iterdir()) if path.suffix == ".webp")
    damaged.write_bytes(b"cut short")
    monkeypatch.setattr(pictures, "attempt", lambda kind, view: drawn.append(f"{view.model} {kind.name}") or attempt(kind, view))
    make_site(results, tmp_path / "site", "cells")
    assert len(set(first) & set(drawn)) == 1, "the damaged one alone is drawn again"
    assert not unfinished.exists()
    whole, goneon = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("whole", "site"))
    assert whole == goneon


def test_an_older_site_leaves_nothing_behind(results: Path, tmp_path: Path) -> None:
    make_site(results, tmp_path / "site")
    keep(tmp_path / "few", cells_of("only", {"bim": 3}))
    make_site(tmp_path / "few", tmp_path / "site")
    assert not (tmp_path / "site" / "models" / "digits" / "strong.html").exists()
    assert not (tmp_path / "site" / "mnist.html").exists()
    assert (tmp_path / "site" / "models" / "digits" / "only.html").is_file()


@pytest.mark.parametrize("content", ["", "[]", '["../other.txt"]', '["/etc/x"]', '{"a": 1}'])
def test_a_folder_of_something_else_is_left_alone(content: str, results: Path, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other.txt"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine", encoding="utf-8")
    other.write_text("other", encoding="utf-8")
    if content:
        (mine / "site.json").write_text(content, encoding="utf-8")
    if content == "[]":
        make_site(results, mine)
    else:
        with pytest.raises(InputError, match="is no site of this program"):
            make_site(results, mine)
        assert not (mine / "index.html").exists()
    assert (mine / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert other.is_file()


def test_several_protocols_of_a_data_set_have_a_page_each(tmp_path: Path) -> None:
    cells = [*cells_of("a", {"bim": 3}), *cells_of("a", {"bim": 3}, protocol="quick")]
    make_site(keep(tmp_path / "results", cells), tmp_path / "site")
    found = sorted(path.name for path in (tmp_path / "site").glob("digits*.html"))
    assert found == ["digits-quick-v1.html", "digits-standard-v1.html"]
    assert broken(tmp_path / "site") == []


def test_a_board_of_too_many_models_says_that_no_pair_was_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST", 1)
    results = keep(tmp_path / "results", [*cells_of("a", {"bim": 3}), *cells_of("b", {"bim": 4})])
    make_site(results, tmp_path / "site")
    assert '"pairs":{}' in (tmp_path / "site" / "data" / "digits.js").read_text(encoding="utf-8")


def test_the_command_says_what_it_wrote_and_refuses_an_empty_folder(command: Command, results: Path, tmp_path: Path) -> None:
    answer = command("site", results, "--out", tmp_path / "site", "--pictures", "none", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith(f"open {tmp_path / 'site' / 'index.html'}\n")
    (tmp_path / "empty").mkdir()
    answer = command("site", tmp_path / "empty", "--out", tmp_path / "none")
    assert answer.code == 2
    assert "there is nothing to show in" in answer.err
    assert not (tmp_path / "none").exists()


def test_a_file_that_does_not_read_is_said(command: Command, tmp_path: Path) -> None:
    keep(tmp_path / "results", [make_cell()])
    (tmp_path / "results" / "broken.json").write_text("{", encoding="utf-8")
    answer = command("site", tmp_path / "results", "--out", tmp_path / "site", "--pictures", "none", "--quiet")
    assert answer.code == 0
    assert "broken.json is no result" in answer.err
    assert "broken.json is no result" in read_page(tmp_path / "site" / "index.html").shown
