"""What a model takes the classes for, clean and under attack: two matrices of counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from robustboard.benchmark.plots.bands import Counts
from robustboard.benchmark.plots.bench import Attacked, answered, attacked, sitting
from robustboard.benchmark.plots.heat import matrix
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import plain, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import attack_words, class_name, marked, name_of, percent, where
from robustboard.benchmark.statistics import wilson

USUAL_N = 200
ATTACK = "bim"
NOTE = (
    "Rows: the true class; columns: the model's answer (where the label's logit is not strictly the largest, the largest "
    "other); shaded by the share of the row. Run anew on the first n test examples; a candidate that breaks a rule is "
    "replaced by its clean image."
)


@dataclass(frozen=True)
class Confusion:
    """Counts (K, K): true class by answer, clean and attacked."""

    attack: str
    clean: Counts
    attacked: Counts

    @property
    def n(self) -> int:
        return int(self.clean.sum())


def counted(labels: Tensor, logits: Tensor) -> Counts:
    """How often each class (row) was answered by each (column): (K, K) of labels (N,) and logits (N, K)."""
    answers = answered(labels, logits)
    counts = np.zeros((logits.shape[1], logits.shape[1]), dtype=np.int64)
    np.add.at(counts, (labels.numpy(), answers.numpy()), 1)
    return counts


def of_attacked(found: Attacked, name: str) -> Confusion:
    """The two matrices of the judged candidates."""
    return Confusion(name, counted(found.labels, found.clean_logits), counted(found.labels, found.logits))


def picture(view: View) -> Picture:
    """The picture of one model under one attack. Raises `InputError` for a network that is not to be had."""
    row, dataset = view.row, view.board.dataset
    setting = view.setting((view.attacks or (ATTACK,))[0], USUAL_N)
    with sitting(view.bench, dataset, row.model, view.bench.examples(dataset, USUAL_N)) as sitter:
        found = attacked(sitter, setting)
    shown = of_attacked(found, marked(plain(setting.block.name), bool(found.failed.any())))
    notes = (NOTE, attack_words(setting.block), *view.notes())
    about = About("Confusion, clean and attacked", where(view.board, [shown.n], name_of(row)), notes)
    return Picture("confusion", dataset, row.model, about, draw(dataset, shown, about))


@styled
def draw(dataset: str, shown: Confusion, about: About) -> Figure:
    """The two matrices side by side."""
    figure = sheet(about, 4.1)
    panels = figure.subplots(1, 2)
    for axes, counts, heading in zip(panels, (shown.clean, shown.attacked), ("clean", shown.attack), strict=True):
        names = [class_name(dataset, label) for label in range(len(counts))]
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        matrix(axes, shares, [[f"{count}" if count else "" for count in row] for row in counts], names, names)
        right, n = int(np.trace(counts)), int(counts.sum())
        low, high = wilson(right, n)
        axes.set_title(f"{heading}: {percent(right / n)} % right [{percent(low)}–{percent(high)}]")
        axes.set(xlabel="answer", ylabel="true class" if axes is panels[0] else "")
        axes.tick_params(axis="x", rotation=90 if len(names[0]) > 1 else 0)
    return figure
