"""Results for other programs that tests share: names that are hostile to every format, a folder with every kind of mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from handmade import make_cell, make_certificate, make_manifest
from robustboard.benchmark.certify.record import write_certificate
from robustboard.benchmark.records import NotRun
from sited import keep

MARK = "outputs are probabilities, which can hide gradients"

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
    return keep(tmp_path, cells, manifest)
