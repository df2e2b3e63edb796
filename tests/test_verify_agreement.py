"""Whether a cell agrees with itself: every cell that was assembled does, and so do all that are committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handmade import make_cell
from robustboard.benchmark.assembly import outcome, per_example
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.certify.record import write_certificate_schema
from robustboard.benchmark.evaluate import ExampleRecord
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.results import CERTIFICATE_SCHEMA_FILE, SCHEMA_FILE, write_schema
from robustboard.benchmark.verify.agreement import Causes, disagreements
from robustboard.benchmark.verify.files import sorted_out

BOARDS = [Path(__file__).parents[1] / "leaderboards" / name for name in ("results", "distances", "exact", "implementations")]
BUDGET = 1.0
THREAT = Threat("l2", BUDGET, "minimum")


@given(st.lists(st.tuples(st.floats(0.0, 2 * BUDGET), st.floats(0.0, 1.0)), min_size=1, max_size=9))
def test_a_cell_agrees_with_what_it_was_assembled_from(found: list[tuple[float, float]]) -> None:
    examples = [
        ExampleRecord(at, True, sure, fooled=distance <= BUDGET, found=True, distance=distance, confidence=sure)
        for at, (distance, sure) in enumerate(found)
    ]
    cell = replace(
        make_cell(attack="cw", aim=THREAT.aim, eps=BUDGET, correct=[True] * len(found), fooled=[True] * len(found)),
        outcome=outcome(examples, THREAT, has_start=False),
        per_example=per_example(examples),
    )
    causes = Causes()
    disagreements(replace(cell, identity=recorded_identity(cell)), causes)
    assert causes.told() == ()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_committed_cells_agree_with_themselves(board: Path) -> None:
    for path, cell in sorted_out(board).cells.items():
        causes = Causes()
        disagreements(cell, causes)
        assert causes.told() == (), path


def test_the_committed_schemas_are_those_of_the_cells_and_certificates_beside_them(tmp_path: Path) -> None:
    write_schema(tmp_path)
    write_certificate_schema(tmp_path)
    for name in (SCHEMA_FILE, CERTIFICATE_SCHEMA_FILE):
        found = [path for board in BOARDS for path in board.rglob(name)]
        assert found
        assert [str(path) for path in found if path.read_text() != (tmp_path / name).read_text()] == []
