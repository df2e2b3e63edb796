"""Pictures from cells: what the lines, bars and discs of a figure say is what the cells hold, in closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection, PolyCollection

from handmade import make_cell, make_diagnosis, with_outcome
from pictured import ABOUT, cell_of, lines, points, texts, view_of, with_confidences, with_distances
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots import clean_robust, confidence, curves, distances, epsilon, passes, success_fail, words
from robustboard.benchmark.plots.bands import bars, wilson_band
from robustboard.benchmark.plots.curves import Curve
from robustboard.benchmark.plots.style import FAINT
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.success_fail import of_cell
from robustboard.benchmark.statistics import wilson

LENGTHS = [0.1 * place for place in range(1, 21)]


def found_at(lengths: list[float | None], eps: float = 1.0, **more: Any) -> CellResult:
    return with_distances(cell_of("relu", "cw", n=len(lengths), **more), lengths, eps)


def at_radius(eps: float, fooled: list[int], distance: float | None = None) -> CellResult:
    """A budget attack's cell at ε, which fooled as told, at ε's distance or nearer."""
    near = [(eps if distance is None else distance) if hit else None for hit in fooled]
    cell = with_distances(cell_of("relu", "bim", n=len(fooled), protocol=f"standard@eps-{eps}"), near, eps, aim="budget")
    return replace(cell, identity=f"{eps}")


def test_bands_are_wilsons() -> None:
    counts = np.array([0, 3, 3, 20])
    low, high = wilson_band(counts, 20)
    assert list(zip(low, high, strict=True)) == [wilson(int(count), 20) for count in counts]
    below, above = bars(counts, 20)
    assert np.allclose(counts / 20 - below, low)
    assert np.allclose(counts / 20 + above, high)


def test_a_minimum_norm_curve_is_one_minus_the_distribution_of_its_distances() -> None:
    cell = found_at([*LENGTHS[:15], *[None] * 5])
    figure = curves.draw([curves.from_cells([cell])], ABOUT)
    (drawn,) = lines(figure)[:1]
    assert drawn.get_drawstyle() == "steps-post"
    seen = dict(points(drawn))
    for radius, accuracy in seen.items():
        beyond = sum(length is None or length > radius for length in cell.per_example.distance)
        assert accuracy == pytest.approx(beyond / 20)
    assert list(seen.values()) == sorted(seen.values(), reverse=True)
    assert seen[0.0] == 1.0
    assert min(seen.values()) == 0.25, "what is never fooled stays"


@given(st.lists(st.one_of(st.none(), st.floats(0, 5)), min_size=1, max_size=40), st.floats(0.01, 4))
def test_at_epsilon_a_curve_is_the_cells_robust_accuracy_whatever_was_rounded(lengths: list[float | None], eps: float) -> None:
    exact = found_at(lengths, eps)
    rounded: Any = [None if length is None else round(length, 4) for length in lengths]
    cell = replace(exact, per_example=replace(exact.per_example, distance=rounded))
    curve = curves.from_cells([cell])
    assert curve.at(eps) == round(cell.outcome.robust_accuracy * cell.outcome.n)
    assert np.all(np.diff(curve.robust) <= 0)


def test_clean_errors_are_errors_from_the_start() -> None:
    cell = with_distances(make_cell("relu", "cw", correct=[0] * 4 + [1] * 16, fooled=[0] * 20), [0.0] * 4 + [1.0] * 16, 2.0)
    curve = curves.from_cells([cell])
    assert curve.at(0.0) == 16
    assert curve.at(1.0) == 0


def test_cells_at_several_radii_are_one_curve_that_only_falls() -> None:
    small, large = at_radius(0.1, [1] * 5 + [0] * 15), at_radius(0.2, [0] * 3 + [1] * 9 + [0] * 8)
    curve = curves.from_cells([large, small])
    assert curve.measured == (0.1, 0.2)
    assert curve.at(0.05) == 20
    assert curve.at(0.1) == 15
    # Examples 0 to 2 fell at 0.1 and are not found at 0.2: they are fooled within 0.2 all the same.
    assert curve.at(0.2) == 8
    assert curve.last == 0.2, "beyond its ε nothing is known of a budget attack"


@pytest.mark.parametrize("aim", ["budget", "confidence"])
def test_a_confined_attack_is_drawn_where_it_was_run_and_nowhere_else(aim: Any) -> None:
    """A line above what its candidates reached would be false, and one along them looks like robustness at smaller ε."""
    cell = at_radius(0.2, [1] * 5 + [0] * 15, distance=0.01)
    figure = curves.draw([curves.from_cells([replace(cell, attack=replace(cell.attack, aim=aim))])], ABOUT)
    others = [line for line in lines(figure) if line.get_color() != FAINT]
    assert others == []
    (bar,) = [each for each in figure.axes[0].containers if type(each).__name__ == "ErrorbarContainer"]
    assert points(bar.lines[0]) == [(0.2, 0.75)]
    bands = [each for each in figure.axes[0].collections if isinstance(each, PolyCollection)]
    assert bands == []
    exact = curves.draw([curves.from_cells([found_at([*LENGTHS])])], ABOUT)
    assert len([each for each in exact.axes[0].collections if isinstance(each, PolyCollection)]) == 1


def test_a_curve_that_rises_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot rise"):
        Curve("bim", "linf", np.array([0.0, 0.1]), np.array([3, 4]), 5, (0.1,), 0.1, 0.1)


def test_the_picture_joins_other_radii_of_the_same_examples_only() -> None:
    mine = replace(at_radius(0.2, [1] * 10 + [0] * 10), protocol=cell_of("relu", "bim").protocol)
    alike, other = at_radius(0.1, [1] * 5 + [0] * 15), at_radius(0.05, [1] * 2 + [0] * 18)
    other = replace(other, dataset=replace(other.dataset, fingerprint="e" * 64))
    others = tuple(make_boards([alike, other], []))
    made = epsilon.picture(view_of([mine], "model", others=others))
    (cells,) = epsilon.cells_by_attack([mine], [alike, other])
    assert [cell.attack.eps for cell in cells] == [0.2, 0.1]
    assert "Also protocol standard@eps-0.1 v1." in made.about.caption
    assert "eps-0.05" not in made.about.caption
    assert "n = 20" in made.about.caption


def test_bars_stand_where_the_attack_was_run() -> None:
    figure = curves.draw([curves.from_cells([at_radius(0.2, [1] * 5 + [0] * 15)])], ABOUT)
    (bar,) = [each for each in figure.axes[0].containers if type(each).__name__ == "ErrorbarContainer"]
    (path,) = bar.lines[2][0].get_paths()
    assert [tuple(vertex) for vertex in path.vertices] == [(0.2, pytest.approx(end)) for end in wilson(15, 20)]


def test_quantiles_count_the_unfooled_as_infinitely_far() -> None:
    shown = distances.of_cell(found_at([0.1, 0.2, 0.3, *[None] * 3]))
    assert shown.quantile(0.5) == 0.3
    assert shown.quantile(0.75) == float("inf")
    assert (len(shown.found), shown.unfooled) == (3, 3)


def test_attacks_on_one_model_are_shown_on_the_examples_that_all_saw() -> None:
    many, few = found_at([*LENGTHS[:19], None]), with_distances(cell_of("relu", "ddn", n=5), LENGTHS[5:10], 1.0)
    few = replace(few, dataset=replace(few.dataset, indices=[5, 6, 7, 8, 9]))
    flips = with_distances(cell_of("relu", "jsma"), [2.0] * 20, 8.0)
    assert {norm: len(seen) for norm, seen in distances.shared([many, few, flips]).items()} == {"l2": 5, "l0": 20}
    shown = distances.of_cell(many, among=distances.shared([many, few])["l2"])
    assert shown.found.tolist() == LENGTHS[5:10]
    assert (shown.n, shown.unfooled) == (5, 0)
    made = distances.picture(view_of([many, few, flips], "model"))
    assert {"cw (n = 5)", "ddn (n = 5)", "jsma (n = 20)"} <= set(texts(made))
    assert "the examples that all of its attacks saw" in made.about.caption


def test_hills_hold_every_distance() -> None:
    board = view_of([found_at([*LENGTHS[:18], None, None]), with_distances(cell_of("relu", "jsma"), [2.0, 4.0] * 10, 8.0)])
    figure = distances.picture(board).figure
    for axes, count in zip(figure.axes, (18, 20), strict=True):
        hill = axes.patches[0].get_data()  # type: ignore[attr-defined]
        heights = np.asarray(hill.values) - np.asarray(hill.baseline)
        assert heights.max() == pytest.approx(0.85)
        found = np.array(LENGTHS[:18] if count == 18 else [2.0, 4.0] * 10)
        assert np.allclose(heights * np.histogram(found, hill.edges)[0].max(), 0.85 * np.histogram(found, hill.edges)[0])
        assert np.histogram(found, hill.edges)[0].sum() == count
    assert "2 unfooled" in texts(distances.picture(board))


def test_success_and_failure_by_hand() -> None:
    # Clean: 0.9, 0.9, 0.8, 0.4 right, one wrong at 0.7; attacked: wrong at 0.95, 0.8, 0.3, two stay right.
    cell = with_confidences(
        make_cell("relu", "max_confidence", correct=[1, 1, 1, 1, 0], fooled=[0] * 5),
        [0.9, 0.9, 0.8, 0.4, 0.7],
        [0.95, 0.8, 0.3, None, None],
    )
    curve = of_cell(cell)
    assert curve.thresholds.tolist() == [0.95, 0.9, 0.8, 0.4, 0.3]
    assert curve.failure.tolist() == [1, 1, 2, 2, 3]
    assert curve.success.tolist() == [0, 2, 3, 4, 4]
    assert curve.at_half() == (3, 2)
    assert (curve.covered_at_half, curve.right, curve.unfooled) == (4, 4, 2)
    # One fifth wide at height 0, one at 2/5, one at 4/5, and two fifths on at 4/5.
    assert curve.area == pytest.approx((0 + 2 / 5 + 4 / 5) / 5 + 2 / 5 * 4 / 5)
    figure = success_fail.draw([curve], ABOUT)
    solid, lower, upper = lines(figure)[:3]
    assert [line.get_linestyle() for line in (solid, lower, upper)] == ["-", "--", "--"]
    assert lower.get_color() != upper.get_color()
    tenth = [(round(5 * x), round(5 * y)) for x, y in points(solid)]
    assert tenth == [(0, 0), (1, 0), (1, 0), (1, 0), (1, 2), (2, 2), (2, 3)], "to the right first, then up"
    assert [(round(5 * x), round(5 * y)) for x, y in points(lower)] == [(2, 3), (2, 3), (2, 4), (3, 4), (3, 4)]
    assert [(round(5 * x), round(5 * y)) for x, y in points(upper)] == [(2, 3), (4, 3), (4, 3), (4, 4), (5, 4), (5, 4)]


def test_a_sigmoid_head_is_dashed_throughout() -> None:
    cell = with_confidences(cell_of("relu", "max_confidence"), [0.9] * 20, [0.8] * 10 + [None] * 10)
    cell = replace(cell, model=replace(cell.model, head="sigmoid"))
    drawn = [line for line in lines(success_fail.draw([of_cell(cell)], ABOUT)) if len(points(line)) > 2]
    # No confidence is below ½ here: the upper bound has no length.
    assert [line.get_linestyle() for line in drawn] == ["--"]
    low = with_confidences(cell_of("relu", "max_confidence"), [0.9] * 20, [0.4] * 10 + [None] * 10)
    curve = of_cell(replace(low, model=replace(low.model, head="sigmoid")))
    found, upper = (line for line in lines(success_fail.draw([curve], ABOUT)) if len(points(line)) > 2)
    assert [line.get_linestyle() for line in (found, upper)] == ["--", "--"]
    assert max(x for x, _ in points(found)) == 0.5
    assert max(x for x, _ in points(upper)) == 1.0, "below ½ what was not fooled may fail, too"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.one_of(st.none(), st.integers(0, 20))), min_size=1, max_size=30))
def test_success_fail_agrees_with_its_definition_at_every_threshold(rows: list[tuple[bool, int, int | None]]) -> None:
    right = [bool(ok) for ok, _, _ in rows]
    clean = [sure / 20 for _, sure, _ in rows]
    attacked = [None if sure is None else sure / 20 for _, _, sure in rows]
    cell = make_cell("relu", "max_confidence", correct=right, fooled=[0] * len(rows))
    curve = of_cell(with_confidences(cell, clean, attacked))
    for t, success, failure in zip(curve.thresholds, curve.success, curve.failure, strict=True):
        # Just below a threshold's value, that value is covered.
        assert success == sum(ok and sure > t - 1e-9 for ok, sure in zip(right, clean, strict=True))
        assert failure == sum(sure is not None and sure > t - 1e-9 for sure in attacked)
    assert 0 <= curve.area <= 1
    assert np.all(np.diff(curve.success) >= 0)
    assert np.all(np.diff(curve.failure) >= 0)


def test_points_stand_at_clean_and_worst_case_with_their_intervals_and_areas() -> None:
    small = replace(make_cell("small", "bim"), model=replace(make_cell("small").model, parameters=1000))
    large = replace(
        make_cell("large", "bim", correct=[0] * 2 + [1] * 18), model=replace(make_cell("large").model, parameters=4000)
    )
    figure = clean_robust.picture(view_of([small, large])).figure
    discs = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    # The larger lies below; of its 20 two are clean errors and three fell.
    assert [tuple(disc.get_offsets()[0]) for disc in discs] == [(0.9, 0.75), (1.0, 0.75)]  # type: ignore[index]
    assert discs[0].get_sizes()[0] / discs[1].get_sizes()[0] == 4
    point = clean_robust.Point("m", 18, 20, 15, 20, 1)
    (across, up), (low, high) = point.reach, wilson(18, 20)
    assert (0.9 - across[0, 0], 0.9 + across[1, 0]) == (pytest.approx(low), pytest.approx(high))
    assert (0.75 - up[0, 0], 0.75 + up[1, 0]) == (pytest.approx(wilson(15, 20)[0]), pytest.approx(wilson(15, 20)[1]))


def test_a_bound_is_hollow_and_its_row_marked() -> None:
    cell = make_cell("broken", "bim", failures=2)
    picture = clean_robust.picture(view_of([cell, make_cell("whole", "bim")]))
    hollow = [
        each for each in picture.figure.axes[0].collections if isinstance(each, PathCollection) and not len(each.get_facecolor())
    ]
    assert len(hollow) == 1
    assert any(
        text.strip().removeprefix(f"{place}").strip().startswith("broken ▲") for place in (1, 2) for text in texts(picture)
    )
    assert "bim failed on 2 of 20 examples" in picture.about.caption


def test_accuracy_falls_with_the_passes_as_the_iterations_say() -> None:
    cell = make_cell("relu", "bim", fooled=[1] * 8 + [0] * 12)
    spent = replace(cell.per_example, iterations=[1, 1, 2, 2, 2, 4, 4, 8, *[10] * 12])
    cell = replace(cell, per_example=spent, cost=replace(cell.cost, forwards=8.0, backwards=8.0))
    shown = passes.of_cell(cell)
    each = 16 * 20 / sum(spent.iterations)
    assert shown.passes.tolist() == pytest.approx([1, each, 2 * each, 4 * each, 8 * each, 10 * each])
    assert shown.robust.tolist() == [20, 18, 15, 13, 12, 12]
    drawn = points(lines(passes.draw([shown], {"linf": "L∞ ε = 0.2"}, ABOUT))[0])
    assert drawn[0] == (1.0, 1.0)
    assert drawn[-1] == (pytest.approx(10 * each), cell.outcome.robust_accuracy)


def test_attacks_that_go_on_are_points_and_a_worst_case_costs_what_it_joins() -> None:
    bim, spsa = make_cell("relu", "bim"), make_cell("relu", "spsa")
    assert passes.passes_of(bim) == 80
    worst = replace(bim, attack=replace(bim.attack, name="worst_case"))
    shown = passes.of_cell(worst, [bim, spsa])
    assert not shown.is_curve
    assert shown.passes.tolist() == [240]
    assert passes.of_cell(found_at(LENGTHS)).passes.tolist() == [80]  # type: ignore[arg-type]


def test_histograms_hold_every_confidence() -> None:
    values = [0.0, 0.04, 0.5, 0.999, 1.0]
    assert confidence.Confidences("x", np.array(values), 5).counts.sum() == 5
    assert confidence.Confidences("x", np.array([1.0]), 5).counts[-1] == 1
    cell = with_confidences(make_cell("relu", "max_confidence", correct=[1] * 15 + [0] * 5), [0.9] * 20, [0.8] * 10 + [None] * 10)
    right, wrong = confidence.clean_of(cell)
    assert (len(right.values), len(wrong.values), len(confidence.attacked_of(cell).values)) == (15, 5, 10)
    figure = confidence.picture(view_of([cell], "model")).figure
    drawn = [float(np.sum(axes.patches[0].get_data().values)) for axes in figure.axes]  # type: ignore[attr-defined]
    assert drawn == [15, 5, 10]


def test_what_lacks_cells_says_which() -> None:
    view = view_of([make_cell("relu", "bim")], "model")
    with pytest.raises(InputError, match=r"digits/relu has no cell of max_confidence .*robustboard run .*--models relu"):
        success_fail.picture(view)
    with pytest.raises(InputError, match=r"digits/relu has no cell of cw or jsma under protocol standard"):
        distances.picture(view)
    with pytest.raises(InputError, match=r"no row of digits has a cell of max_confidence"):
        success_fail.picture(view_of([make_cell("relu", "bim")]))
    with pytest.raises(InputError, match="no cell of cw under"):
        epsilon.picture(replace(view, attacks=("cw",)))


def test_rows_without_the_cells_are_named() -> None:
    cells = [found_at([0.5] * 20), cell_of("other", "bim")]
    assert "Not shown, no cell of cw or jsma: other." in distances.picture(view_of(cells)).about.caption


def test_captions_say_n_protocol_version_and_every_parameter() -> None:
    cell = make_cell("relu", "bim", params={"loss": "margin", "steps": 40, "step": 1 / 30})
    caption = epsilon.picture(view_of([cell], "model")).about.caption
    for part in (
        "digits",
        "relu",
        "protocol standard v1",
        "n = 20",
        "bim (version 1): L∞ ε = 0.2",
        "steps 40",
        "step 0.03333",
        "loss margin",
    ):
        assert part in caption


def test_a_failed_attack_is_marked_in_its_legend() -> None:
    picture = epsilon.picture(view_of([with_outcome(make_cell("relu", "bim"), upper_bound_only=True)], "model"))
    assert "bim ▲" in texts(picture)


def test_of_many_marked_rows_the_rest_is_counted_by_their_signs() -> None:
    cells = [make_cell(f"m{at}") for at in range(9)]
    looks = [make_diagnosis(f"m{at}", {17 if at < 7 else 9: "fail"}) for at in range(9)]
    (board,) = make_boards(cells, [], [], looks)
    told = words.mark_notes(board.rows)
    assert [note[0] for note in told[:6]] == ["△"] * 6, "rows in doubt stand last"
    assert told[6:] == ("2 more ▲ and 1 more △: see the table.",)
