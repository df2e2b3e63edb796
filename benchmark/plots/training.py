"""How a model of the registry was trained: loss and accuracy of every epoch, as its training recorded them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import colour, line, marker, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import name_of, percent, where
from robustboard.models import registry
from robustboard.models.registry import ModelCard

NOTE = (
    "Means over an epoch's training images, which are augmented, and perturbed where training is adversarial: no accuracy on "
    "test images."
)


@dataclass(frozen=True)
class Curve:
    """The means of every epoch (K,), from the first: loss, accuracy in [0, 1], and the accuracy against several steps where the
    adversary takes one, else None."""

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    probed: tuple[float | None, ...]


def curve_of(card: ModelCard, home: Path = registry.HOME) -> Curve:
    """The recorded curve of an entry. Raises `InputError` where there is none that reads."""
    path = home / "curves" / f"{card.stem}.json"
    try:
        epochs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["epochs"]
        losses, accuracies = ([float(epoch[name]) for epoch in epochs] for name in ("loss", "accuracy"))
    except (OSError, ValueError, KeyError, TypeError) as trouble:
        raise InputError(f"{card.name} has no training curve that reads: {path.name} is written by {card.command}") from trouble
    if not epochs:
        raise InputError(f"{card.name} has a training curve without epochs: {path.name}")
    return Curve(tuple(losses), tuple(accuracies), tuple(epoch.get("probed") for epoch in epochs))


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` for one that is not the registry's, or of other weights than its entry."""
    row, dataset = view.row, view.board.dataset
    card = registry.read_cards().get(f"{dataset}/{row.model}")
    if card is None or (row.cells and view.bench.is_other(dataset, row)):
        raise InputError(f"{dataset}/{row.model} is not the registry's: no training curve of it is recorded")
    curve = curve_of(card)
    end = f"{len(curve.losses)} epochs, at the end {percent(curve.accuracies[-1])} % of the training images right"
    about = About("Training", f"{where(view.board, [], name_of(row))} · {end}", (NOTE, *view.notes()))
    return Picture("training", dataset, row.model, about, draw(curve, about))


@styled
def draw(curve: Curve, about: About) -> Figure:
    """Loss and accuracy side by side."""
    figure = sheet(about, 2.2)
    losses, accuracies = figure.subplots(1, 2)
    epochs = range(1, len(curve.losses) + 1)
    marks: dict[str, Any] = {"color": colour(0), "linestyle": line(0), "marker": marker(0), "markersize": 3}
    losses.plot(epochs, curve.losses, **marks)
    losses.set(title="loss", xlabel="epoch")
    losses.set_ylim(bottom=0)
    accuracies.plot(epochs, curve.accuracies, **marks)
    probed = [(epoch, value) for epoch, value in zip(epochs, curve.probed, strict=True) if value is not None]
    if probed:
        accuracies.plot(*zip(*probed, strict=True), color=colour(1), linestyle="none", marker=marker(1), markersize=4)
        accuracies.annotate("squares: against several steps", (0.02, 0.04), xycoords="axes fraction", size="small")
    accuracies.set(title="accuracy", xlabel="epoch", ylim=(0, 1.02))
    accuracies.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure
