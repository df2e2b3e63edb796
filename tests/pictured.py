"""What the tests of pictures share: the words and lines of a figure, views of cells made by hand, a linear model of digits."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import nn

from conftest import Linear
from handmade import diagnosed, make_cell
from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.plots.picture import About, Picture, rendered
from robustboard.benchmark.plots.view import Scope, View
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.subjects import Subject
from robustboard.models.recipe import Head

ABOUT = About("A heading", "digits · protocol standard v1 · n = 20")


def view_of(cells: Sequence[CellResult], scope: Scope = "board", bench: Bench | None = None, **more: Any) -> View:
    """The view of the one board that the cells make."""
    (board,) = make_boards(cells, [], [], diagnosed(cells))
    return View(board, board.rows, scope, bench=bench or Bench(), **more)


def with_distances(cell: CellResult, distances: Sequence[float | None], eps: float, aim: Any = "minimum") -> CellResult:
    """The cell of an attack that found each example right clean at a distance, or not at all."""
    right = cell.per_example.correct_clean
    found = [int(bool(ok) and distance is not None) for ok, distance in zip(right, distances, strict=True)]
    fooled = [int(bool(hit) and distance is not None and distance <= eps) for hit, distance in zip(found, distances, strict=True)]
    examples: Any = replace(cell.per_example, distance=list(distances), found=found, fooled=fooled)
    standing = sum(right) - sum(fooled)
    outcome = replace(cell.outcome, robust_accuracy=standing / cell.outcome.n, n_fooled=sum(fooled))
    return replace(cell, per_example=examples, outcome=outcome, attack=replace(cell.attack, eps=eps, aim=aim))


def with_confidences(cell: CellResult, clean: Sequence[float], attacked: Sequence[float | None]) -> CellResult:
    """The cell of a max-confidence attack: None where it left the example right."""
    fooled: Any = [int(value is not None) for value in attacked]
    examples = replace(cell.per_example, clean_confidence=list(clean), confidence=list(attacked), fooled=fooled)
    return replace(cell, per_example=examples, attack=replace(cell.attack, aim="confidence"))


def cell_of(model: str, attack: str, n: int = 20, **more: Any) -> CellResult:
    """A cell of n examples, all right clean, none fooled."""
    return make_cell(model, attack, correct=[1] * n, fooled=[0] * n, **more)


def texts(picture: Picture) -> list[str]:
    """The texts of the SVG, which must be well-formed."""
    root = ET.fromstring(rendered(picture, "svg"))
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


def lines(figure: Figure, panel: int = 0) -> list[Line2D]:
    """The lines of a panel that are drawn through points, error bars left out."""
    return [line for line in figure.axes[panel].get_lines() if line.get_linestyle() != "None" and len(line.get_xdata()) > 1]  # type: ignore[arg-type]


def points(line: Line2D) -> list[tuple[float, float]]:
    """The line's vertices."""
    return [(float(x), float(y)) for x, y in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)]


def subject(name: str, network: nn.Module, head: Head = "softmax") -> Subject:
    """A model of digits in memory."""
    return Subject(name, "digits", "memory", head, lambda: network)


def bench_of(*subjects: Subject, n: int | None = None) -> Bench:
    """A bench that has the subjects, on the CPU."""
    return Bench(device="cpu", n=n, subjects={(each.dataset, each.name): each for each in subjects})


def digits_view(*subjects: Subject, scope: Scope = "model", n: int | None = None, **more: Any) -> View:
    """A view of models that have one cell each."""
    cells = [make_cell(each.name, "fgsm", params={"loss": "margin"}) for each in subjects]
    return view_of(cells, scope, bench_of(*subjects, n=n), **more)


def linear_digits(split: slice = slice(None)) -> Linear:
    """A linear classifier fitted to a part of the digits' training examples."""
    import torch  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    from robustboard.benchmark.datasets import load_dataset  # noqa: PLC0415

    data = load_dataset("digits", "train")
    fitted = LogisticRegression(max_iter=300).fit(data.images[split].flatten(1).numpy(), data.labels[split].numpy())
    return Linear(torch.tensor(fitted.coef_).float(), torch.tensor(fitted.intercept_).float())
