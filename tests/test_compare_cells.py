"""Two cells on the same examples: differences, flips, distances, corrections, and when B is worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from handmade import make_cell
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult, PerExample
from robustboard.benchmark.report.compare.differences import Comparison, compare_cells, compare_sides
from robustboard.benchmark.report.compare.gate import worse_cells
from robustboard.benchmark.report.compare.sides import Sides
from robustboard.benchmark.statistics import holm_adjusted, paired_bootstrap, paired_difference, wilson

FEW = settings(deadline=None, max_examples=20)
WEAK = [1] * 12 + [0] * 8
STRONG = [0] * 10 + [1] * 3 + [0] * 7
OUTCOMES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


def cells(outcomes: Sequence[tuple[int, int]]) -> tuple[CellResult, CellResult]:
    a, b = zip(*outcomes, strict=True)
    right = [1] * len(outcomes)
    return make_cell("a", correct=right, fooled=a), make_cell("b", correct=right, fooled=b)


def permuted(cell: CellResult, places: Sequence[int]) -> CellResult:
    """The same examples in another order."""
    columns = {name: [values[at] for at in places] for name, values in vars(cell.per_example).items() if name[0] != "_"}
    return replace(cell, per_example=PerExample(**columns))


def measured(model: str, distances: Sequence[float | None]) -> CellResult:
    """C&W found these distances, None: nothing."""
    found = [distance is not None for distance in distances]
    cell = make_cell(model, "cw", correct=[1] * len(found), fooled=found, eps=2.0, aim="minimum")
    return replace(cell, per_example=replace(cell.per_example, distance=list(distances)))


def test_differences_are_those_of_the_examples() -> None:
    found = compare_cells("bim", make_cell("a", fooled=WEAK), make_cell("b", fooled=STRONG))
    assert (found.n, found.a.value, found.b.value) == (20, 0.4, 0.85)
    assert (found.a.ci95, found.b.ci95) == (wilson(8, 20), wilson(17, 20))
    # Examples 0 to 9 are gained (fooled in a, not in b), 12 is lost; 10 and 11 are fooled in both.
    assert (found.gained, found.lost) == (tuple(range(10)), (12,))
    ours, theirs = [0] * 12 + [1] * 8, [1] * 10 + [0] * 3 + [1] * 7
    assert found.tested is not None
    assert found.tested.paired == paired_difference(ours, theirs)
    assert found.tested.bootstrap == paired_bootstrap(ours, theirs)
    assert found.tested.paired.difference == pytest.approx(0.45)


def test_flips_are_positions_in_the_split() -> None:
    found = compare_cells("bim", make_cell("a", fooled=WEAK, first=100), make_cell("b", fooled=STRONG, first=100))
    assert found.lost == (112,)
    with pytest.raises(InputError, match="example 0 is on one side only"):
        compare_cells("bim", make_cell("a"), make_cell("b", first=1))


def test_clean_errors_are_not_robust_on_either_side() -> None:
    correct = [0] * 5 + [1] * 15
    found = compare_cells("bim", make_cell("a", correct=correct, fooled=[0] * 20), make_cell("b", fooled=[0] * 20))
    assert (found.a.value, found.b.value) == (0.75, 1.0)
    assert found.gained == (0, 1, 2, 3, 4)


@FEW
@given(OUTCOMES)
def test_a_model_against_itself_differs_by_nothing(outcomes: list[tuple[int, int]]) -> None:
    a, _ = cells(outcomes)
    found = compare_cells("bim", a, a)
    assert (found.lost, found.gained, found.changes) == ((), (), ())
    assert found.tested is not None
    assert (found.tested.paired.difference, found.tested.paired.p_value) == (0, 1)
    assert worse_cells([found], 0, "difference") == []


@FEW
@given(OUTCOMES)
def test_the_sides_change_places(outcomes: list[tuple[int, int]]) -> None:
    a, b = cells(outcomes)
    forth, back = compare_cells("bim", a, b), compare_cells("bim", b, a)
    assert (forth.lost, forth.gained) == (back.gained, back.lost)
    assert forth.b.value - forth.a.value == pytest.approx((len(forth.gained) - len(forth.lost)) / forth.n)
    assert forth.tested is not None
    assert back.tested is not None
    assert forth.tested.paired.difference == pytest.approx(-back.tested.paired.difference)
    assert forth.tested.p_holm == pytest.approx(back.tested.p_holm)


@FEW
@given(OUTCOMES.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(range(len(rows))))))
def test_the_order_of_examples_changes_nothing(case: tuple[list[tuple[int, int]], list[int]]) -> None:
    outcomes, places = case
    a, b = cells(outcomes)
    assert compare_cells("bim", permuted(a, places), b) == compare_cells("bim", a, b)


def compared(**sides: tuple[CellResult, CellResult]) -> list[Comparison]:
    ours, theirs = {name: pair[0] for name, pair in sides.items()}, {name: pair[1] for name, pair in sides.items()}
    return compare_sides(Sides("models", ours, theirs, []))


def test_holms_correction_is_over_all_shared_cells_and_bounds_are_not_tested() -> None:
    lost = {"one": 3, "two": 6, "three": 9}
    pairs = {name: (make_cell("a", fooled=[0] * 20), make_cell("b", fooled=[1] * k + [0] * (20 - k))) for name, k in lost.items()}
    found = compared(**pairs, bound=(make_cell("a"), make_cell("b", failures=1)))
    assert found[-1].tested is None
    assert found[-1].b.is_bound
    after = [each.tested.p_holm for each in found if each.tested]
    assert after == pytest.approx(holm_adjusted([2 * 0.5**k for k in lost.values()]))
    # Smallest first: 3 · 2⁻⁸, then 2 · 2⁻⁵, then 2⁻².
    assert after == pytest.approx([2**-2, 2 * 2**-5, 3 * 2**-8])


def test_distances_are_tested_by_wilcoxon_over_what_both_have_right() -> None:
    near, far = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.5, 3.0, 4.5, 6.0, 7.5, 9.0]
    (found,) = compared(cw=(measured("a", near), measured("b", far)))
    assert found.lengths is not None
    assert (found.lengths.a, found.lengths.b) == (3.5, 5.25)
    assert found.lengths.paired.difference == pytest.approx(1.75)
    assert found.lengths.p_holm == pytest.approx(float(stats.wilcoxon(np.array(far) - np.array(near)).pvalue))
    assert found.lengths.paired.p_value == pytest.approx(2 * 0.5**6)


def test_what_was_never_fooled_is_the_farthest() -> None:
    (found,) = compared(cw=(measured("a", [1.0, 1.0, 1.0]), measured("b", [1.5, None, None])))
    assert found.lengths is not None
    assert found.lengths.b == np.inf
    assert found.lengths.paired.difference == np.inf


def test_only_attacks_that_seek_a_minimum_have_distances() -> None:
    assert compare_cells("bim", make_cell("a"), make_cell("b")).lengths is None


def losing(lost: int, gained: int, n: int) -> Comparison:
    ours = [0] * lost + [1] * gained + [0] * (n - lost - gained)
    theirs = [1] * lost + [0] * gained + [0] * (n - lost - gained)
    return compare_cells("bim", make_cell("a", correct=[1] * n, fooled=ours), make_cell("b", correct=[1] * n, fooled=theirs))


@pytest.mark.parametrize(
    ("lost", "gained", "worse"), [(10, 0, []), (11, 0, ["bim"]), (30, 20, []), (31, 20, ["bim"]), (0, 31, [])]
)
def test_ten_of_a_thousand_are_not_more_than_one_point(lost: int, gained: int, worse: list[str]) -> None:
    assert worse_cells([losing(lost, gained, 1000)], 1.0, "difference") == worse


@FEW
@given(st.integers(0, 40), st.integers(0, 10), st.integers(0, 50))
def test_the_interval_is_the_milder_judge_and_more_points_forgive_more(lost: int, gained: int, points: int) -> None:
    found = [losing(lost, gained, 50)]
    by_difference, by_interval = worse_cells(found, points, "difference"), worse_cells(found, points, "interval")
    assert set(by_interval) <= set(by_difference)
    assert set(worse_cells(found, points + 1, "difference")) <= set(by_difference)
    assert bool(by_difference) == ((lost - gained) * 100 > points * 50)


def test_a_bound_on_either_side_cannot_be_judged() -> None:
    for a, b in ((make_cell("a", failures=1), make_cell("b")), (make_cell("a"), make_cell("b", failures=1))):
        with pytest.raises(InputError, match="bim failed on some examples"):
            worse_cells([compare_cells("bim", a, b)], 1.0, "difference")
