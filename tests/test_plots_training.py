"""The training curve: what the registry recorded, and a sentence where nothing of it is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Linear, put
from handmade import diagnosed, make_cell
from pictured import ABOUT, bench_of, lines, points, subject, texts, view_of
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots import training
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.report.board import make_boards
from robustboard.models import registry
from robustboard.models.registry import ModelCard


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return registry.read_cards()["digits/relu"]


def test_the_curve_of_an_entry_is_what_its_training_recorded(card: ModelCard) -> None:
    curve = training.curve_of(card)
    assert card.training is not None
    assert len(curve.losses) == len(curve.accuracies) == card.training.epochs
    assert all(0 <= accuracy <= 1 for accuracy in curve.accuracies)
    figure = training.draw(curve, ABOUT)
    assert [y for _, y in points(lines(figure, 0)[0])] == list(curve.losses)
    assert [y for _, y in points(lines(figure, 1)[0])] == list(curve.accuracies)
    assert [x for x, _ in points(lines(figure, 0)[0])] == list(range(1, card.training.epochs + 1))


def test_probes_against_several_steps_stand_where_they_were_made() -> None:
    figure = training.draw(training.Curve((2.0, 1.0, 0.5), (0.2, 0.6, 0.8), (None, 0.5, 0.7)), ABOUT)
    marks = next(line for line in figure.axes[1].get_lines() if line.get_linestyle() == "None")
    assert points(marks) == [(2, 0.5), (3, 0.7)]


def test_the_picture_says_the_end_and_that_it_is_of_training_images(card: ModelCard) -> None:
    made = training.picture(view_of([make_cell("relu", weights=card.sha256)], "model"))
    shown = " ".join(texts(made))
    assert f"{card.training.epochs if card.training else 0} epochs" in shown
    assert "no accuracy on test images" in shown


def test_a_mark_of_the_row_stands_on_the_picture(card: ModelCard) -> None:
    cells = [make_cell("relu", weights=card.sha256)]
    (board,) = make_boards(cells, [], [], diagnosed(cells, {"relu": {7: "fail"}}))
    shown = " ".join(texts(training.picture(View(board, board.rows, "model"))))
    assert "relu ▲" in shown
    assert "check 7: something was seen" in shown


def test_a_model_of_other_weights_or_of_none_has_no_curve() -> None:
    for view in (
        view_of([make_cell("relu", weights="b" * 64)], "model"),
        view_of([make_cell("mine")], "model", bench_of(subject("mine", Linear.__new__(Linear)))),
    ):
        with pytest.raises(InputError, match="no training curve of it is recorded"):
            training.picture(view)


@pytest.mark.parametrize("content", [None, "", "{}", '{"epochs": []}', '{"epochs": [{"loss": "x"}]}', '{"epochs": 3}'])
def test_a_curve_that_does_not_read_is_a_sentence(content: str | None, card: ModelCard, tmp_path: Path) -> None:
    if content is not None:
        put(tmp_path / "curves" / f"{card.stem}.json", content)
    with pytest.raises(InputError, match=r"digits/relu has (no|a) training curve"):
        training.curve_of(card, tmp_path)


def test_a_curve_of_another_home_is_read_there(card: ModelCard, tmp_path: Path) -> None:
    other = replace(card, name="digits/relog", recipe="relog")
    put(tmp_path / "curves" / "digits-relog.json", json.dumps({"epochs": [{"loss": 1.5, "accuracy": 0.25}]}))
    assert training.curve_of(other, tmp_path) == training.Curve((1.5,), (0.25,), (None,))
