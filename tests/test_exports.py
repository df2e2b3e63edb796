"""Results for other programs: pandas, notebooks, spreadsheets, LaTeX. No mark is lost on the way, and every name is text."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robustboard
from conftest import Command
from exported import HOSTILE, MARK
from handmade import make_cell, with_outcome
from pictured import with_confidences
from robustboard.benchmark import results
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.escaping import for_latex, for_markdown, for_terminal
from robustboard.benchmark.report.publish import STYLES, publish
from robustboard.benchmark.report.rows import ResultRow, rows_of, to_csv
from sited import keep

pytest_plugins = ("exported",)


def rows(*cells: CellResult) -> list[ResultRow]:
    return rows_of(make_boards(cells, []))


def test_a_record_says_how_far_its_number_lies_above_the_worst_case() -> None:
    found = rows(
        make_cell(attack="fgsm", fooled=[0] * 20), make_cell(attack="bim", fooled=[1] * 5 + [0] * 15), make_cell(attack="jsma")
    )
    assert {row.attack: row.above_worst_case for row in found} == {"fgsm": 0.25, "bim": 0.0, "jsma": None}


@pytest.mark.parametrize("style", STYLES)
def test_marks_bounds_and_what_is_missing_stand_in_every_format(style: str, marked: Path) -> None:
    text = publish([marked], style).text
    assert MARK in text
    assert "bim failed on 3 of 20 examples (the candidate is outside the box): upper bound only" in text
    assert "no result here of cw" in text
    assert "the model raised" in text
    sign, bound, proof = {
        "latex": (r"odd $\blacktriangle$", r"$\leq$ 75.0", r"$\geq$ 25.0"),
        "csv": (MARK, "True", "crown"),
    }.get(style, ("odd ▲", "≤ 75.0", "≥ 25.0"))
    assert all(said in text for said in (sign, bound, proof))


def test_the_suffix_chooses_the_style(marked: Path, tmp_path: Path, command: Command) -> None:
    beginnings = {"a.md": "## digits", "a.tex": "% pdflatex", "a.csv": "protocol,", "a.txt": "digits ·", "page": "## digits"}
    for name, beginning in beginnings.items():
        answer = command("report", marked, "--write", tmp_path / "out" / name)
        assert answer.code == 0
        assert answer.out.startswith("digits ·"), "what is printed is --format's"
        assert (tmp_path / "out" / name).read_text(encoding="utf-8").startswith(beginning)
    command("report", marked, "--format", "latex", "--write", tmp_path / "out" / "plain")
    assert (tmp_path / "out" / "plain").read_text(encoding="utf-8").startswith("% pdflatex")
    refused = command("report", marked, "--write", tmp_path / "out" / "a.docx")
    assert refused.code == 2
    assert "name a file that ends in .md, .markdown, .tex, .csv, .txt" in refused.err
    assert not (tmp_path / "out" / "a.docx").exists()
    printed = command("report", marked, "--format", "csv").out
    assert printed == (tmp_path / "out" / "a.csv").read_bytes().decode()


def parsed(text: str) -> list[ResultRow]:
    """The rows of a CSV file, each field by the type that it is declared with."""

    def value(kind: str, word: str) -> Any:
        if kind == "tuple[str, ...]":
            return tuple(json.loads(word))
        if "None" in kind and not word:
            return None
        plain = kind.removesuffix(" | None")
        return {"int": int, "float": float, "bool": lambda told: told == "True"}.get(plain, str)(word)

    kinds = {field.name: str(field.type) for field in fields(ResultRow)}
    lines = csv.DictReader(io.StringIO(text, newline=""))
    return [ResultRow(**{name: value(kinds[name], word) for name, word in line.items()}) for line in lines]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(model=texts, note=texts, accuracy=st.floats(0, 1), parameter=st.one_of(st.integers(), texts), mark=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_csv_file_reads_back_in_full(model: str, note: str, accuracy: float, parameter: int | str, mark: bool) -> None:
    cell = make_cell(model, params={"p": parameter}, note=note, output="probabilities" if mark else "logits")
    written = rows(with_outcome(cell, robust_accuracy=accuracy), make_cell(model, "cw", note=note))
    assert parsed(to_csv(written)) == written


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_read_back_from_csv(name: str) -> None:
    (row,) = parsed(to_csv(rows(make_cell(name))))
    assert row.model == name


def test_pandas_reads_the_csv_too(marked: Path, tmp_path: Path) -> None:
    publish([marked], "terminal", tmp_path / "t.csv")
    read = pandas.read_csv(tmp_path / "t.csv")
    frame = robustboard.load_results(marked).to_pandas()
    assert list(read.columns) == list(frame.columns)
    pandas.testing.assert_series_equal(read["robust_low"], frame["robust_low"])
    assert [json.loads(flags) for flags in read["flags"]] == [list(flags) for flags in frame["flags"]]


def test_results_load_as_one_row_a_cell(marked: Path) -> None:
    loaded = robustboard.load_results(str(marked))
    assert loaded.rows == results.load(marked).rows
    assert [(row.model, row.attack, row.state) for row in loaded] == [
        ("fine", "bim", "measured"),
        ("fine", "cw", "measured"),
        ("odd", "bim", "measured"),
        ("odd", "cw", "missing"),
        ("broken", "", "not run"),
    ]
    frame = loaded.to_pandas()
    assert len(frame) == len(loaded) == 5
    assert frame["n"].dtype == "Int64"
    assert frame["robust_accuracy"].dtype == "float64"
    assert frame["robust_accuracy"].isna().tolist() == [False, False, False, True, True]
    assert frame.groupby("model")["robust_accuracy"].mean()["fine"] == pytest.approx(0.75)
    odd = frame[(frame["model"] == "odd") & (frame["attack"] == "bim")].iloc[0]
    assert odd["upper_bound_only"]
    assert odd["worst_case_upper_bound_only"]
    assert MARK in odd["flags"]
    fine = frame.iloc[0]
    assert (fine["certified_accuracy"], fine["certified_by"], fine["certified_exact"]) == (0.25, "crown", False)


def test_a_row_says_what_its_cell_says() -> None:
    cell = make_cell("relu", "cw", failures=1, eps=1.5, params={"steps": 40, "rate": 0.1})
    (row,) = rows(cell)
    assert (row.eps, row.norm, row.n, row.n_attack_failures) == (1.5, "l2", 20, 1)
    assert (row.robust_accuracy, row.robust_low, row.robust_high) == (
        cell.outcome.robust_accuracy,
        *cell.outcome.robust_accuracy_ci95,
    )
    assert (row.forwards, row.backwards, row.seconds) == (40.0, 40.0, 1.0)
    assert json.loads(row.params) == {"steps": 40, "rate": 0.1}
    assert (row.identity, row.weights_sha256) == (cell.identity, cell.model.weights_sha256)


def test_a_row_of_max_confidence_has_all_that_it_is_reported_by() -> None:
    cell = with_confidences(
        make_cell("relu", "max_confidence", correct=[1, 1, 1, 1, 0], fooled=[0] * 5),
        [0.9, 0.9, 0.8, 0.4, 0.7],
        [0.95, 0.8, 0.3, None, None],
    )
    (row,) = rows(cell)
    assert (row.coverage_at_half, row.success_at_half, row.failure_at_half) == (0.8, 0.6, 0.4)
    assert row.success_fail_area == pytest.approx(0.56)
    (other,) = rows(make_cell("relu", "bim"))
    assert (other.coverage_at_half, other.success_fail_area) == (None, None)


def test_cells_that_cannot_share_a_table_are_refused_by_name(tmp_path: Path) -> None:
    keep(tmp_path, [make_cell("relu"), make_cell("relog", params={"steps": 10})])
    with pytest.raises(InputError, match="bim: steps 40 against 10"):
        robustboard.load_results(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        robustboard.load_results(tmp_path / "absent")


def test_what_does_not_read_is_told(tmp_path: Path) -> None:
    keep(tmp_path, [make_cell()])
    (tmp_path / "damaged.json").write_text("{", encoding="utf-8")
    loaded = robustboard.load_results(tmp_path)
    assert len(loaded) == 1
    assert "damaged.json" in loaded.troubles[0]
    assert "damaged.json" in repr(loaded)
    assert "damaged.json" in loaded._repr_html_()


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", HOSTILE)
def test_a_notebook_shows_a_hostile_name_as_text(name: str, tmp_path: Path) -> None:
    loaded = robustboard.load_results(keep(tmp_path, [make_cell(name, output="probabilities")]))
    page = Tags()
    page.feed(loaded._repr_html_())
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert page.attributes <= {"style"}
    assert " ".join(f"{name} ▲".split()) in " ".join(page.text.split())
    assert MARK in page.text
    shown = repr(loaded)
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
    assert MARK in shown


@given(text=st.text())
def test_escaped_text_is_one_line_that_commands_nothing(text: str) -> None:
    assert all(sign.isprintable() for sign in for_terminal(text))
    assert "<" not in for_markdown(text)
    assert len(for_markdown(text).splitlines()) <= 1
    latex = for_latex(text)
    assert latex.isascii()
    assert "\n" not in latex
    macros = r"\\(textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|textasciigrave|dots)\{\}"
    known = rf"{macros}|\{{\\char34\}}|\\[{{}}$&#%_]|\$[\\_a-z0-9{{}}^-]+\$|\\(`|'|\^|~|\"|r|v|c)\{{[A-Za-z]\}}|\{{[-',\[*]\}}"
    assert not set('\\{}$&#%_^~<>|`"') & set(re.sub(known, "", latex))
