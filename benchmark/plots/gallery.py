"""Galleries: clean images, adversarial ones, the difference amplified by a stated factor; labels, answers and confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.bench import Attacked, attacked, sitting
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import SMALL, plain, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import NORMS, attack_words, marked, name_of, where

ATTACKS = ("bim", "cw", "jsma")
USUAL_N = 200
"""Of so many examples the first of each class that is classified right is shown."""
NOTE = (
    "The first test image of each class that the model classifies right. Below each image: the model's answer and its "
    "confidence; ≠: fooled within ε, =: not. Difference: grey is no change, brighter is more, darker less, the change "
    "times the factor."
)


@dataclass(frozen=True)
class Strip:
    """One attack's images (M, C, H, W) in [0, 1], the answers to them (M,), their confidences, and who was fooled."""

    attack: str
    norm: str
    images: Tensor
    answers: Sequence[int]
    confidences: Sequence[float]
    fooled: Sequence[bool]
    distances: Sequence[float]


@dataclass(frozen=True)
class Gallery:
    """Clean images (M, C, H, W) in [0, 1] with their labels and the model's confidences, and a strip an attack."""

    images: Tensor
    labels: Sequence[int]
    confidences: Sequence[float]
    strips: Sequence[Strip]


def amplification(change: float) -> float:
    """The largest of …, 0.5, 1, 2, 5, 10, … by which a change of so much stays within ½; 1 for no change at all."""
    if change <= 0:
        return 1.0
    ladder = [digit * 10.0**power for power in range(-1, 7) for digit in (1, 2, 5)]
    return max(factor for factor in ladder if factor * change <= 0.5 + 1e-6)


def difference(clean: Tensor, adversarial: Tensor, factor: float) -> Tensor:
    """½ + `factor` · (adversarial − clean), clipped to [0, 1]: like the images."""
    return (0.5 + factor * (adversarial - clean)).clamp(0, 1)


def first_of_each_class(labels: Tensor, correct: Tensor) -> list[int]:
    """Where each class is first classified right, in the order of classes; classes that never are have none."""
    right = correct.nonzero().squeeze(1).tolist()
    return [next(at for at in right if int(labels[at]) == label) for label in sorted({int(labels[at]) for at in right})]


def strip_of(found: Attacked, name: str, norm: str) -> Strip:
    """What one attack made."""
    return Strip(
        name,
        norm,
        found.candidates,
        found.logits.argmax(1).tolist(),
        found.confidence.tolist(),
        found.fooled.tolist(),
        found.distance.tolist(),
    )


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` for a network that is not to be had, and for one that is never right."""
    row, dataset = view.row, view.board.dataset
    settings = [view.setting(name, USUAL_N) for name in view.attacks or ATTACKS]
    with sitting(view.bench, dataset, row.model, view.bench.examples(dataset, USUAL_N)) as everyone:
        chosen = first_of_each_class(everyone.examples.labels, everyone.clean.correct.cpu())
        if not chosen:
            raise InputError(
                f"{dataset}/{row.model} is right on none of {len(everyone.indices)} test images: there is nothing to fool"
            )
        sitter = everyone.only(chosen)
        found = [attacked(sitter, setting) for setting in settings]
    strips = [
        strip_of(each, marked(plain(setting.block.name), bool(each.failed.any())), NORMS[setting.block.norm])
        for setting, each in zip(settings, found, strict=True)
    ]
    shown = Gallery(sitter.examples.images, sitter.examples.labels.tolist(), sitter.clean.confidence.tolist(), strips)
    notes = (NOTE, *(attack_words(setting.block) for setting in settings), *view.notes())
    about = About("Adversarial images", f"{where(view.board, [], name_of(row))} · {len(chosen)} images", notes)
    return Picture("gallery", dataset, row.model, about, draw(shown, about))


@styled
def draw(shown: Gallery, about: About) -> Figure:
    """A column an image; a row of clean images, and two rows an attack."""
    count, rows = len(shown.labels), 1 + 2 * len(shown.strips)
    figure = sheet(about, 0.88 * rows)
    panels = figure.subplots(rows, count, squeeze=False)
    row_of(
        panels[0],
        shown.images,
        [_answer(answer, sure) for answer, sure in zip(shown.labels, shown.confidences, strict=True)],
        "clean",
    )
    for place, strip in enumerate(shown.strips):
        signs = ["≠" if fooled else "=" for fooled in strip.fooled]
        texts = [
            f"{sign} {_answer(answer, sure)}" for sign, answer, sure in zip(signs, strip.answers, strip.confidences, strict=True)
        ]
        row_of(panels[1 + 2 * place], strip.images, texts, strip.attack)
        factor = amplification(float((strip.images - shown.images).abs().max()))
        sizes = [f"{strip.norm} {distance:.3g}" for distance in strip.distances]
        row_of(panels[2 + 2 * place], difference(shown.images, strip.images, factor), sizes, f"difference\n× {factor:g}")
    return figure


def show(axes: Axes, image: Tensor) -> None:
    """An image (C, H, W) in [0, 1], in grey or colour, its pixels as squares."""
    pixels = image.detach().cpu().numpy()
    if len(pixels) == 3:
        axes.imshow(np.moveaxis(pixels, 0, 2), interpolation="nearest", vmin=0, vmax=1)
    else:
        axes.imshow(pixels[0], cmap="gray", interpolation="nearest", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def row_of(panels: Sequence[Axes], images: Tensor, texts: Sequence[str], heading: str) -> None:
    for axes, image, text in zip(panels, images, texts, strict=True):
        show(axes, image)
        axes.set_xlabel(text, size=SMALL - 0.5, labelpad=1.5)
    panels[0].set_ylabel(heading, rotation=0, ha="right", va="center", size=SMALL)


def _answer(answer: int, confidence: float) -> str:
    return f"{answer}, {100 * confidence:.0f} %"
