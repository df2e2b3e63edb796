"""Tables in LaTeX, set by pdflatex: no row, mark or sign is lost, whatever the models are called."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT, put
from exported import HOSTILE
from handmade import make_cell, make_certificate, make_manifest
from robustboard.benchmark.records import NotRun
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.escaping import for_latex
from robustboard.benchmark.report.latex import PACKAGES, document
from robustboard.benchmark.report.publish import publish, read_boards
from robustboard.benchmark.report.sheet import Sheet
from robustboard.benchmark.report.tables import render, sheet
from sited import keep

pytest_plugins = ("exported",)


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
    folder = keep(tmp_path / "results", cells, manifest)
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
