"""The kinds of pictures, and all of them for boards: what the pages and the command line go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots import (
    clean_robust,
    confidence,
    confusion,
    distances,
    epsilon,
    filters,
    gallery,
    gradients,
    passes,
    success_fail,
    sweep,
    training,
    transfer,
)
from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.plots.picture import Picture
from robustboard.benchmark.plots.view import Scope, View
from robustboard.benchmark.report.board import Board, Row

Needs = Literal["cells", "network", "registry"]


@dataclass(frozen=True)
class Kind:
    """A kind of picture: what it shows in a sentence, which scopes it has, whether cells are enough, a network is run on a
    few examples, or the registry is asked, and the function that makes it, which raises `InputError` where what it needs is not
    there. `choose`: which of a board's rows are shown when none are named."""

    name: str
    shows: str
    scopes: tuple[Scope, ...]
    needs: Needs
    picture: Callable[[View], Picture]
    choose: Callable[[Sequence[Row]], Sequence[Row]] = tuple


@dataclass(frozen=True)
class Missing:
    """A picture that could not be made, and why. `model` is "" for a board's."""

    kind: str
    dataset: str
    model: str
    reason: str


_ALL = (
    Kind("clean_robust", "clean against robust accuracy, a point a model", ("board",), "cells", clean_robust.picture),
    Kind("distances", "distances of minimum-norm attacks", ("board", "model"), "cells", distances.picture),
    Kind("success_fail", "success against failure under max-confidence", ("board", "model"), "cells", success_fail.picture),
    Kind("transfer", "who fools whom, within families and across", ("board",), "network", transfer.picture, transfer.choose),
    Kind("epsilon", "robust accuracy against ε for each attack, from cells", ("model",), "cells", epsilon.picture),
    Kind("sweep", "robust accuracy against ε, attacks run anew at several ε", ("model",), "network", sweep.picture),
    Kind("passes", "robust accuracy against passes spent", ("model",), "cells", passes.picture),
    Kind("confidence", "confidences on clean images and on those that fooled", ("model",), "cells", confidence.picture),
    Kind("confusion", "true classes against answers, clean and attacked", ("model",), "network", confusion.picture),
    Kind("gallery", "clean images, adversarial images and differences", ("model",), "network", gallery.picture),
    Kind("filters", "the first layer's weights as images", ("model",), "network", filters.picture),
    Kind("gradients", "input gradients on clean images and on noise", ("model",), "network", gradients.picture),
    Kind("training", "loss and accuracy of every epoch of training", ("model",), "registry", training.picture),
)
KINDS = {kind.name: kind for kind in _ALL}


def views_of(kind: Kind, board: Board, others: Sequence[Board] = (), bench: Bench | None = None) -> Iterator[View]:
    """The views of a board that the kind has: of all rows together, and of each."""
    more, bench = tuple(other for other in others if other is not board), bench or Bench()
    if "board" in kind.scopes:
        yield View(board, tuple(kind.choose(board.rows)), "board", more, bench=bench)
    if "model" in kind.scopes:
        for row in board.rows:
            yield View(board, (row,), "model", more, bench=bench)


def every(
    boards: Sequence[Board], others: Sequence[Board] = (), bench: Bench | None = None, kinds: Sequence[str] = tuple(KINDS)
) -> Iterator[Picture | Missing]:
    """Every picture of the `kinds` for every board, one after the other, or why there is none. `others`: further boards whose
    cells the pictures may take in. Cells alone take a second or two a picture; a network, up to tens of seconds."""
    for board in boards:
        for name in kinds:
            for view in views_of(KINDS[name], board, [*boards, *others], bench):
                yield attempt(KINDS[name], view)


def attempt(kind: Kind, view: View) -> Picture | Missing:
    """The picture, or why there is none."""
    try:
        return kind.picture(view)
    except InputError as trouble:
        return Missing(kind.name, view.board.dataset, view.model, str(trouble))
