"""How pictures look and are kept: contrast, what is left in grey, the same bytes twice, and names that are nothing but text."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from handmade import make_cell
from pictured import cell_of, texts, view_of, with_confidences, with_distances
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots import clean_robust, confidence, curves, distances, epsilon, passes, placing, success_fail
from robustboard.benchmark.plots.heat import SHADES
from robustboard.benchmark.plots.picture import About, Picture, file_name, parsed_formats, rendered, save, sheet
from robustboard.benchmark.plots.style import (
    COLOURS,
    OKABE_ITO,
    RC,
    colour,
    contrast,
    line,
    luminance,
    marker,
    plain,
    text_on,
    wrapped,
)

HOSTILE = "a_b $x^2$ <script>alert('1')</script> & \"$\\frac{\""


def everything(name: str) -> list[Picture]:
    """A picture of every kind that cells are enough for, of a marked model with that name."""
    rng = np.random.default_rng(0)
    lengths = [float(each) for each in rng.uniform(0.1, 3, 20)]
    cells = [
        make_cell(name, "bim", output="probabilities"),
        make_cell(name, "fgsm", output="probabilities"),
        with_distances(cell_of(name, "cw", output="probabilities"), lengths, 2.0),
        with_confidences(cell_of(name, "max_confidence", output="probabilities"), [0.9] * 20, [0.8] * 10 + [None] * 10),
    ]
    board, model = view_of(cells), view_of(cells, "model")
    made = [clean_robust.picture(board), distances.picture(board), success_fail.picture(board)]
    return [*made, *(kind.picture(model) for kind in (distances, success_fail, epsilon, passes, confidence))]


def test_colours_are_okabes_and_stand_out_from_white() -> None:
    assert set(COLOURS) <= set(OKABE_ITO.values())
    assert all(contrast(each, "#FFFFFF") >= 3 for each in COLOURS)
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1


def test_no_two_series_look_alike_without_colour() -> None:
    looks = [(line(place), marker(place)) for place in range(44)]
    assert len(set(looks)) == len(looks)
    # Neighbours differ in line, in marker and in colour.
    assert all(len({look(place) for place in (n, n + 1)}) == 2 for n in range(43) for look in (line, marker, colour))


def test_shades_are_in_the_order_of_their_grey_and_texts_on_them_can_be_read() -> None:
    shades = [SHADES(share)[:3] for share in np.linspace(0, 1, 256)]
    greys = [luminance(shade) for shade in shades]
    assert all(after <= before for before, after in itertools.pairwise(greys))
    assert greys[0] > 0.9
    assert greys[-1] < 0.1
    assert min(contrast(text_on(shade), shade) for shade in shades) >= 4.5


def test_the_same_data_give_the_same_bytes() -> None:
    for one, other in itertools.islice(zip(everything("relu"), everything("relu"), strict=True), 0, None, 2):
        first = rendered(one, "svg")
        assert first == rendered(other, "svg"), one.kind
        assert b"dc:date" not in first
        if one.kind in ("clean_robust", "epsilon"):
            assert first == rendered(one, "svg"), f"{one.kind}: a second time"
            assert rendered(one, "png") == rendered(other, "png"), one.kind


def test_hostile_names_are_text_in_every_kind() -> None:
    name = "_" + HOSTILE
    for picture in everything(name):
        source = rendered(picture, "svg").decode()
        assert "<script" not in source
        assert not re.search(r"<[^>]*\son\w+=", source)
        shown = " ".join(texts(picture))
        assert plain(name)[:12] in shown, picture.kind
        assert "▲" in shown, f"{picture.kind}: a suspect number is marked"
        assert "can hide gradients" in shown, f"{picture.kind}: and it says why"


def test_names_of_any_kind_make_pictures_and_files(tmp_path: Path) -> None:
    names = ["$", "x" * 200, "\x00\x1b[31m\u202e", "日本語", " ", "a\nb", "..", "../../up", "$\\frac{$"]
    for kind in (clean_robust, distances):
        picture = kind.picture(view_of([with_distances(cell_of(name, "cw"), [0.5] * 20, 2.0) for name in names]))
        assert len(texts(picture)) > len(names)
    for name in names:
        cell = with_confidences(cell_of(name, "max_confidence"), [0.9] * 20, [0.8] * 10 + [None] * 10)
        (path,) = save(success_fail.picture(view_of([cell], "model")), tmp_path, ["svg"])
        assert path.resolve().is_relative_to(tmp_path.resolve())
        assert path.resolve().parent.parent == (tmp_path / "digits").resolve()
        assert path.stat().st_size > 1000


def test_a_name_that_begins_with_an_underscore_is_in_the_legend() -> None:
    cells = [cell_of("_m", "bim"), with_distances(cell_of("_m", "cw"), [0.5] * 20, 2.0)]
    made = epsilon.picture(view_of(cells, "model"))
    drawn = [epsilon.curve_of([cell]) for cell in cells]
    renamed = [replace(curve, name=f"_{curve.name}") for curve in drawn]
    figure = curves.draw(renamed, made.about)
    assert {"_bim", "_cw"} <= set(texts(Picture("epsilon", "digits", "_m", made.about, figure)))


@given(st.text(max_size=300))
def test_plain_is_short_printable_and_leaves_good_names_alone(text: str) -> None:
    shown = plain(text)
    assert len(shown) <= 40
    assert shown.isprintable()
    assert plain(shown) == shown
    if text.isprintable() and len(text) <= 40 and text == " ".join(text.split()):
        assert shown == text


@given(st.text(max_size=120), st.text(max_size=120))
def test_file_names_are_harmless_and_different_for_different_names(one: str, other: str) -> None:
    name = file_name(one)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*", name)
    assert len(name) <= 100
    assert (name == file_name(other)) == (one == other)


@given(st.text(alphabet="abc mW", max_size=200), st.floats(0.5, 8))
def test_wrapped_keeps_every_word_in_order(text: str, width: float) -> None:
    assert " ".join(wrapped(text, width, 7.0)).split() == text.split()


def test_no_text_is_cut_off() -> None:
    about = About(
        "W" * 40 + " a heading that is longer than its sheet is wide " * 2, "digits", ("a note " * 80, "i" * 38 + " " + "W" * 38)
    )
    figure = sheet(about, 1.0)
    figure.subplots()
    renderer = FigureCanvasAgg(figure).get_renderer()
    edges = [text.get_window_extent(renderer).extents for text in figure.texts]
    width, height = figure.get_size_inches() * figure.dpi
    assert min(box[0] for box in edges) >= 0
    assert max(box[2] for box in edges) <= width
    assert min(box[1] for box in edges) >= 0
    assert max(box[3] for box in edges) <= height


@pytest.mark.parametrize("count", [1, 30])
def test_pictures_of_many_models_cut_nothing(count: int) -> None:
    cells = [with_distances(cell_of(f"relog-minmaxout_4_2-max_fit_l2_{n}", "cw"), [0.5] * 20, 2.0) for n in range(count)]
    cells += [cell_of(f"relog-minmaxout_4_2-max_fit_l2_{n}", "bim") for n in range(count)]
    for kind in (clean_robust, distances):
        figure = kind.picture(view_of(cells)).figure
        with mpl.rc_context(RC):
            renderer = FigureCanvasAgg(figure).get_renderer()
            figure.draw_without_rendering()
            box = figure.get_tightbbox(renderer)
        width, height = figure.get_size_inches()
        assert box.x0 >= -0.01
        assert box.x1 <= width + 0.01
        assert box.y0 >= -0.01
        assert box.y1 <= height + 0.01


@given(st.lists(st.tuples(st.floats(30, 270), st.floats(30, 170)), min_size=1, max_size=12, unique=True))
def test_labels_cover_neither_points_nor_each_other(places: list[tuple[float, float]]) -> None:
    sizes = [(8.0, 9.0)] * len(places)
    moved = placing.shifts(places, sizes, (0, 0, 300, 200), [])
    placed = [(place, shift) for place, shift in zip(places, moved, strict=True) if shift is not None]
    assert placed, "the first has room at least"
    boxes = [(x + dx - 4, y + dy - 4.5, x + dx + 4, y + dy + 4.5) for (x, y), (dx, dy) in placed]
    for one, other in itertools.combinations(boxes, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
    for left, bottom, right, top in boxes:
        assert left >= 0
        assert right <= 300
        assert bottom >= 0
        assert top <= 200
        assert not any(left < x < right and bottom < y < top for x, y in places)


CROWDED = [(103.0, 110.0), (115.0, 100.0), (110.0, 100.0), (110.0, 106.0), (104.0, 110.0), (108.0, 106.0)]


def crossings(spots: list[tuple[float, float]]) -> int:
    """How many of the lines from spots to their labels meet between their ends."""
    moved = placing.shifts(spots, [(8.0, 9.0)] * len(spots), (0, 0, 300, 200), [])
    ends = [(x + shift[0], y + shift[1]) for (x, y), shift in zip(spots, moved, strict=True) if shift is not None]
    assert len(ends) == len(spots)
    found = 0
    for (one, to_one), (other, to_other) in itertools.combinations(zip(spots, ends, strict=True), 2):
        x, y = ((to_one[0] - one[0], to_one[1] - one[1]), (to_other[0] - other[0], to_other[1] - other[1]))
        turn = x[0] * y[1] - x[1] * y[0]
        gap = (other[0] - one[0], other[1] - one[1])
        found += bool(turn) and all(0 < (gap[0] * way[1] - gap[1] * way[0]) / turn < 1 for way in (y, x))
    return found


def test_lines_to_labels_do_not_cross_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert crossings(CROWDED) == 0
    monkeypatch.setattr(placing, "CROSSED", 0.0)
    assert crossings(CROWDED) > 0, "they would cross, if crossing cost nothing"


def test_in_a_crowd_no_label_is_far_from_its_point() -> None:
    moved = placing.shifts([(100.0 + 0.1 * place, 100.0) for place in range(200)], [(8.0, 9.0)] * 200, (0, 0, 300, 200), [])
    placed = [shift for shift in moved if shift is not None]
    assert 0 < len(placed) < 200
    assert max(float(np.hypot(*shift)) for shift in placed) < 36, "points"


def test_formats_and_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    assert parsed_formats("png, svg,png") == ["png", "svg"]
    for text in ("", "pdf", "svg,pgn"):
        with pytest.raises(InputError, match="the formats are svg, png"):
            parsed_formats(text)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder with --out"):
        save(everything("relu")[0], tmp_path / "file")
