"""What a board says of the runs behind it: where their seconds were spent, and why one of them stopped."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from handmade import make_cell, make_manifest
from robustboard.benchmark.records import NotRun
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.tables import render

styles = pytest.mark.parametrize("style", ["terminal", "markdown"])


@styles
def test_seconds_say_whether_a_gpu_took_them(style: str) -> None:
    here = make_cell(attack="bim")
    there = replace(make_cell(attack="fgsm"), cost=replace(here.cost, device="cuda:0"))
    told = {"here": [here], "there": [there], "both": [here, there]}
    cells = [replace(cell, model=replace(cell.model, name=name)) for name, some in told.items() for cell in some]
    rows = [line for line in render(make_boards(cells, []), style).splitlines() if line.strip("| ").split(" ")[0] in told]
    ends = {row.strip("| ").split(" ")[0]: re.split(r"\d\.\d{3}", row.strip("| "))[-1].strip() for row in rows}
    assert ends == {"here": "", "there": "GPU", "both": "partly GPU"}


@styles
def test_a_run_that_stopped_half_way_says_why(style: str) -> None:
    """Cells that are there do not hide why the others are not."""
    stopped = NotRun("digits", "relog", "memory runs out on a single example: try another --device")
    manifest = make_manifest({"digits": {"relog": ["bim", "cw"]}}, [stopped])
    text = " ".join(render(make_boards([make_cell("relog", "bim")], [manifest]), style).split())
    assert "relog: no result here of cw: its last run stopped, memory runs out on a single example: try another --device." in text
    whole = render(make_boards([make_cell("relog", "bim"), make_cell("relog", "cw")], [manifest]), style)
    assert "stopped" not in whole, "another run has done what was left"
