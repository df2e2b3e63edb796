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
from robustboard.benchmark.evaluate import ExampleRecord
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.verify.agreement import Causes, disagreements
from robustboard.benchmark.verify.files import sorted_out

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


@pytest.mark.parametrize("board", ["results", "distances", "exact"])
def test_the_committed_cells_agree_with_themselves(board: str) -> None:
    folder = Path(__file__).parents[1] / "leaderboards" / board
    for path, cell in sorted_out(folder).cells.items():
        causes = Causes()
        disagreements(cell, causes)
        assert causes.told() == (), path
