"""Tables into files: between the marks and nowhere else, and what is not there or cannot be read is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from handmade import make_cell, make_manifest
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult, Manifest
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.publish import BEGIN, END, publish
from robustboard.benchmark.report.tables import render
from robustboard.benchmark.results import write_cell, write_manifest

STYLES = ["terminal", "markdown"]


def save(folder: Path, cells: list[CellResult], manifest: Manifest | None = None) -> None:
    for cell in cells:
        write_cell(cell, folder / cell.dataset.name / cell.model.name / f"{cell.attack.name}.json")
    if manifest is not None:
        write_manifest(manifest, folder)


def test_publish_writes_between_the_marks_and_nowhere_else(tmp_path: Path) -> None:
    save(tmp_path / "results", [make_cell()], make_manifest({"digits": {"relu": ["bim"]}}))
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe end. {END}\n", encoding="utf-8")
    published = publish([tmp_path / "results"], "terminal", tmp_path / "tables.md", [readme])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nThe end. {END}\n")
    assert "old" not in text
    tables = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert tables.startswith("## digits · standard · protocol standard v1")
    assert tables in text
    assert "##" not in published.text
    publish([tmp_path / "results"], "terminal", None, [readme])
    assert readme.read_text(encoding="utf-8") == text  # a second time changes nothing


def test_publish_shows_the_models_it_is_asked_for_in_every_style(tmp_path: Path) -> None:
    save(tmp_path, [make_cell("relu"), make_cell("relog")])
    for style in STYLES:
        text = publish([tmp_path], style, shown=["digits/relu"]).text
        assert "relu" in text
        assert "relog" not in text
    assert [line.split(",")[3] for line in publish([tmp_path], "csv", shown=["relo*"]).text.splitlines()[1:]] == ["relog"]
    with pytest.raises(InputError, match="is called tiny, huge"):
        publish([tmp_path], "csv", shown=["tiny", "huge"])


def test_models_that_are_not_shown_count_among_the_ranks_and_are_told() -> None:
    cells = [make_cell(name, fooled=[1] * hit + [0] * (20 - hit)) for name, hit in (("relu", 20), ("relog", 0), ("tiny", 20))]
    boards = make_boards(cells, [])
    text = render(boards, "markdown", shown=["relu"])
    (row,) = (line for line in text.splitlines() if line.startswith("| relu "))
    assert row.split("|")[2].strip() == "2–3"
    assert "relog" not in text
    assert "2 more models of this board are not shown" in text
    assert render(boards, "markdown", shown=["digits/*"]) == render(boards, "markdown")


@pytest.mark.parametrize("text", ["", "no marks", BEGIN, f"{END} {BEGIN}"])
def test_publish_leaves_a_file_without_marks_alone(tmp_path: Path, text: str) -> None:
    save(tmp_path / "results", [make_cell()])
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"README\.md has no marks"):
        publish([tmp_path / "results"], "terminal", None, [readme])
    assert readme.read_text(encoding="utf-8") == text


def test_publish_says_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is nothing to report in"):
        publish([tmp_path / "empty"], "terminal")
    with pytest.raises(InputError, match=r"there is no folder .*absent"):
        publish([tmp_path / "absent"], "terminal")
    save(tmp_path / "results", [make_cell()])
    with pytest.raises(InputError, match=r"cannot read .*absent\.md"):
        publish([tmp_path / "results"], "terminal", None, [tmp_path / "absent.md"])


def test_publish_names_what_it_cannot_read_and_reports_the_rest(tmp_path: Path) -> None:
    save(tmp_path, [make_cell()])
    (tmp_path / "digits" / "relu" / "damaged.json").write_text("{", encoding="utf-8")
    published = publish([tmp_path], "terminal")
    assert "relu" in published.text
    assert len(published.troubles) == 1
    assert "damaged.json" in published.troubles[0]


def test_a_damaged_manifest_is_named_and_the_cells_are_reported(tmp_path: Path) -> None:
    save(tmp_path, [make_cell()])
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    published = publish([tmp_path], "terminal")
    assert "relu" in published.text
    assert any("manifest.json" in trouble for trouble in published.troubles)
