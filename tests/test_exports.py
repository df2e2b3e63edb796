"""Results for other programs: pandas, notebooks, spreadsheets, LaTeX. No mark is lost on the way, and every name is text."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robustboard
from conftest import ROOT, Command, put
from handmade import make_cell, make_certificate, make_manifest, with_outcome
from pictured import with_confidences
from robustboard.benchmark import results
from robustboard.benchmark.certify.record import write_certificate
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult, Manifest, NotRun
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.escaping import for_latex, for_markdown, for_terminal
from robustboard.benchmark.report.latex import PACKAGES, document
from robustboard.benchmark.report.publish import STYLES, publish, read_boards
from robustboard.benchmark.report.rows import ResultRow, rows_of, to_csv
from robustboard.benchmark.report.sheet import Sheet
from robustboard.benchmark.report.tables import render, sheet
from robustboard.benchmark.results import write_cell, write_manifest

HOSTILE = [
    "<script>alert(1)</script>",
    "\" onmouseover='x'",
    "a|b,c;d\te",
    "\\input{/etc/passwd}",
    "\\write18{touch x} $x^2$ {unbalanced",
    "%#&_^~{}[]*`'''\"---!`?`<<>>",
    "[0pt] first",
    "*star",
    "\x1b[31mred\x07",
    "two\nlines",
    "=1+1",
    "modèle-ñ-ß-中文-🙂-\u202e",
    "x" * 200,
    "--",
    ",,",
]


def save(folder: Path, cells: list[CellResult], manifest: Manifest | None = None) -> Path:
    """The cells as files, whatever their models are called."""
    for at, cell in enumerate(cells):
        write_cell(cell, folder / f"{at}.json")
    if manifest is not None:
        write_manifest(manifest, folder)
    return folder


def rows(*cells: CellResult) -> list[ResultRow]:
    return rows_of(make_boards(cells, []))


def test_a_record_says_how_far_its_number_lies_above_the_worst_case() -> None:
    found = rows(
        make_cell(attack="fgsm", fooled=[0] * 20), make_cell(attack="bim", fooled=[1] * 5 + [0] * 15), make_cell(attack="jsma")
    )
    assert {row.attack: row.above_worst_case for row in found} == {"fgsm": 0.25, "bim": 0.0, "jsma": None}


MARK = "outputs are probabilities, which can hide gradients"


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A folder of a fine model, one with marks and a missing cell, and one that could not run."""
    cells = [
        make_cell("fine"),
        make_cell("fine", "cw"),
        make_cell("odd", failures=3, output="probabilities"),
    ]
    manifest = make_manifest(
        {"digits": {"fine": ["bim", "cw"], "odd": ["bim", "cw"], "broken": ["bim"]}},
        [NotRun("digits", "broken", "the model raised")],
    )
    write_certificate(make_certificate("fine"), tmp_path / "digits" / "fine" / "crown.json")
    return save(tmp_path, cells, manifest)


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
    save(tmp_path, [make_cell("relu"), make_cell("relog", params={"steps": 10})])
    with pytest.raises(InputError, match="bim: steps 40 against 10"):
        robustboard.load_results(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        robustboard.load_results(tmp_path / "absent")


def test_what_does_not_read_is_told(tmp_path: Path) -> None:
    save(tmp_path, [make_cell()])
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
    loaded = robustboard.load_results(save(tmp_path, [make_cell(name, output="probabilities")]))
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


def test_every_sign_that_reports_use_has_its_latex() -> None:
    cells = [make_cell(failures=1), make_cell(attack="cw"), make_cell(attack="ddn"), make_cell(attack="jsma")]
    text = render(make_boards(cells, [], [make_certificate()]), "latex")
    assert "[U+" not in text.replace("{[}", "[")


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="pdflatex is not installed, no LaTeX was compiled: Debian has it in texlive-latex-base and texlive-latex-recommended",
)


def compiled(path: Path) -> Path:
    """The PDF that pdflatex makes of a file, stopping at the first error."""
    done = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "LaTeX Error" not in done.stdout
    return path.with_suffix(".pdf")


def paper(folder: Path, options: str = "", before: str = "Before.") -> Path:
    """A paper that takes the folder's tables in."""
    lines = [rf"\documentclass[{options}]{{article}}", PACKAGES, r"\begin{document}", before, r"\input{tables}", "After."]
    return put(folder / "paper.tex", "\n".join([*lines, r"\end{document}", ""]))


def complaints(source: Path) -> list[str]:
    """What the log says of lines and floats that are larger than their place."""
    log = source.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    return [line for line in log.splitlines() if line.startswith("Overfull") or "too large" in line]


def text_of(pdf: Path) -> str:
    """The text within the pages."""
    tools = {"pdftotext": ["-raw", pdf.name, "-"], "mutool": ["draw", "-q", "-F", "txt", pdf.name]}
    tool = next((name for name in tools if shutil.which(name)), None)
    if tool is None:
        pytest.skip(f"the log alone was read: {' and '.join(tools)}, which read a PDF, are not installed")
    done = subprocess.run([tool, *tools[tool]], cwd=pdf.parent, capture_output=True, check=True, timeout=120)
    return unicodedata.normalize("NFKC", done.stdout.decode())


def said(sheet: Sheet) -> str:
    grids = [grid for grid in (sheet.table, sheet.optimality) if grid is not None]
    cells = [cell for grid in grids for row in grid.rows for cell in row]
    return " ".join([sheet.heading, sheet.budgets, sheet.legend, sheet.optimality_legend, *sheet.bullets, *cells])


def words(text: str) -> list[str]:
    """Runs of letters and digits: a PDF's fonts have no underscore, and lines end at hyphens."""
    return re.findall("[A-Za-z0-9]+", unicodedata.normalize("NFKC", text))


@needs_latex
def test_pdflatex_sets_every_board_whatever_its_models_are_called(tmp_path: Path) -> None:
    cells = [make_cell(name, attack, failures=1, note=name) for name in HOSTILE for attack in ("bim", "cw", "ddn")]
    manifest = make_manifest(
        {"digits": {name: ["bim", "cw", "ddn", "fgsm"] for name in HOSTILE}, "mnist": {"relu": ["bim"]}},
        [NotRun("cifar10", "", f"{HOSTILE[5]}: not here")],
        title=HOSTILE[4],
    )
    folder = save(tmp_path / "results", cells, manifest)
    publish([folder], "terminal", tmp_path / "tables.tex")
    pdf = compiled(tmp_path / "tables.tex")
    assert pdf.stat().st_size > 10_000
    log = (tmp_path / "tables.log").read_text(encoding="utf-8", errors="replace")
    assert "Missing character" not in log
    assert (tmp_path / "tables.aux").read_text(encoding="utf-8").count("{lot}") == 3, "digits, MNIST, CIFAR-10"
    assert complaints(tmp_path / "tables.tex") == []
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def committed() -> list[Sheet]:
    boards, _ = read_boards([ROOT / "leaderboards" / "results"])
    return [sheet(board) for board in boards]


@needs_latex
@pytest.mark.parametrize("options", [None, "", "twocolumn"])
def test_every_row_and_mark_of_the_committed_boards_is_on_a_page(
    options: str | None, committed: list[Sheet], tmp_path: Path
) -> None:
    """The file as it is, and taken into a paper of one column or two."""
    (tmp_path / "tables.tex").write_text(document(committed), encoding="utf-8")
    source = tmp_path / "tables.tex" if options is None else paper(tmp_path, options)
    pdf = compiled(source)
    assert complaints(source) == []
    wanted = Counter(word for each in committed for word in words(said(each)))
    assert wanted.total() > 5000
    assert wanted - Counter(words(text_of(pdf))) == Counter()


@needs_latex
def test_a_paper_refers_to_a_table_by_its_label(tmp_path: Path, marked: Path) -> None:
    publish([marked], "terminal", tmp_path / "tables.tex")
    (label,) = re.findall(r"\\label\{(tab:digits[a-z0-9-]+)\}", (tmp_path / "tables.tex").read_text(encoding="utf-8"))
    source = paper(tmp_path, before=rf"See table~\ref{{{label}}}.")
    compiled(source)
    pdf = compiled(source)
    assert "undefined" not in source.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    assert "See table 1." in text_of(pdf)


@needs_latex
def test_pdflatex_knows_a_sign_for_every_character(tmp_path: Path) -> None:
    blocks = [
        (0x20, 0x180),
        (0x300, 0x330),
        (0x370, 0x400),
        (0x2010, 0x2030),
        (0x2200, 0x2270),
        (0x25A0, 0x25C0),
        (0x1F600, 0x1F604),
    ]
    signs = [chr(code) for first, last in blocks for code in range(first, last)]
    lines = [for_latex(f"{sign}{sign}a{sign}") for sign in signs]
    text = "\n\n".join(lines)
    (tmp_path / "signs.tex").write_text(
        f"\\documentclass{{article}}\n{PACKAGES}\n\\begin{{document}}\n{text}\n\\end{{document}}\n", encoding="utf-8"
    )
    compiled(tmp_path / "signs.tex")
    assert "Missing character" not in (tmp_path / "signs.log").read_text(encoding="utf-8", errors="replace")
