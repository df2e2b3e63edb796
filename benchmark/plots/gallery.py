"""Galleries: clean images, adversarial ones, the difference amplified by a stated factor; labels, answers and confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor

from robustboard.attacks.attack import Norm
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.bench import Attacked, answered, attacked, sitting
from robustboard.benchmark.plots.images import LINE_HEIGHT, ROW_HEIGHT, first_of_each_class, show_row
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import plain, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import NORMS, attack_words, class_name, marked, name_of, where

ATTACKS = ("bim", "cw", "jsma")
USUAL_N = 200
"""Of so many examples the first of each class that is classified right is shown."""
NOTE = (
    "The first test image of each class that the model classifies right. Below each image: the model's answer and its "
    "confidence; =: still right, ≠: fooled within ε, (≠): only beyond it. Difference: grey is no change, brighter is more, "
    "darker less, the change times the factor."
)


@dataclass(frozen=True)
class Strip:
    """One attack's images (M, C, H, W) in [0, 1], the answers to them (M,), their confidences, who was fooled within ε, and the
    sizes of the changes."""

    attack: str
    norm: Norm
    images: Tensor
    answers: Sequence[int]
    confidences: Sequence[float]
    fooled: Sequence[bool]
    distances: Sequence[float]


@dataclass(frozen=True)
class Gallery:
    """Clean images (M, C, H, W) in [0, 1] with their labels and the model's confidences, and a strip an attack."""

    dataset: str
    images: Tensor
    labels: Sequence[int]
    confidences: Sequence[float]
    strips: Sequence[Strip]


def amplification(change: float) -> float:
    """The largest of 0.1, 0.2, 0.5, 1, 2, 5, 10, … by which a change of so much stays within ½; 1 for no change at all."""
    if change <= 0:
        return 1.0
    ladder = [digit * 10.0**power for power in range(-1, 7) for digit in (1, 2, 5)]
    return max(factor for factor in ladder if factor * change <= 0.5 + 1e-6)


def difference(clean: Tensor, adversarial: Tensor, factor: float) -> Tensor:
    """½ + `factor` · (adversarial − clean), clipped to [0, 1]: like the images."""
    return (0.5 + factor * (adversarial - clean)).clamp(0, 1)


def strip_of(found: Attacked, name: str, norm: Norm) -> Strip:
    """What one attack made."""
    answers, sure = answered(found.labels, found.logits).tolist(), found.confidence.tolist()
    return Strip(name, norm, found.candidates, answers, sure, found.fooled.tolist(), found.distance.tolist())


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` for a network that is not to be had, and for one that is never right."""
    row, dataset = view.row, view.board.dataset
    settings = [view.setting(name, USUAL_N) for name in view.attacks or ATTACKS]
    with sitting(view.bench, dataset, row.model, view.bench.examples(dataset, USUAL_N)) as everyone:
        chosen = first_of_each_class(everyone.examples.labels, everyone.clean.correct.cpu())
        if not chosen:
            raise InputError(f"{dataset}/{row.model} is right on none of the first {len(everyone.indices)} test images")
        sitter = everyone.only(chosen)
        found = [attacked(sitter, setting) for setting in settings]
    strips = [
        strip_of(each, marked(plain(setting.block.name), bool(each.failed.any())), setting.block.norm)
        for setting, each in zip(settings, found, strict=True)
    ]
    shown = Gallery(dataset, sitter.examples.images, sitter.examples.labels.tolist(), sitter.clean.confidence.tolist(), strips)
    notes = (NOTE, *(attack_words(setting.block) for setting in settings), *view.notes())
    about = About("Adversarial images", f"{where(view.board, [], name_of(row))} · {len(chosen)} images", notes)
    return Picture("gallery", dataset, row.model, about, draw(shown, about))


@styled
def draw(shown: Gallery, about: About) -> Figure:
    """A column an image; a row of clean images, and two rows an attack."""
    rows = 1 + 2 * len(shown.strips)
    lines = 2 if len(class_name(shown.dataset, 0)) > 1 else 1
    figure = sheet(about, rows * ROW_HEIGHT + (lines - 1) * LINE_HEIGHT * (1 + len(shown.strips)))
    panels = figure.subplots(rows, len(shown.labels), squeeze=False)
    texts = [_told(shown.dataset, *each) for each in zip(shown.labels, shown.confidences, strict=True)]
    show_row(panels[0], shown.images, texts, "clean")
    for place, strip in enumerate(shown.strips):
        changes = strip.images - shown.images
        factor = amplification(float(changes.abs().max()))
        sizes = [f"{NORMS[strip.norm]} {distance:.3g}" for distance in strip.distances]
        show_row(panels[1 + 2 * place], strip.images, _answers(shown, strip), strip.attack)
        show_row(panels[2 + 2 * place], difference(shown.images, strip.images, factor), sizes, f"difference\n× {factor:g}")
    return figure


def _answers(shown: Gallery, strip: Strip) -> list[str]:
    """The sign and the answer to each of a strip's images."""
    texts = []
    for label, answer, sure, fooled in zip(shown.labels, strip.answers, strip.confidences, strip.fooled, strict=True):
        sign = "≠" if fooled else "=" if answer == label else "(≠)"
        texts.append(_told(shown.dataset, answer, sure, sign))
    return texts


def _told(dataset: str, answer: int, confidence: float, sign: str = "") -> str:
    """The answer, how sure it is, and the sign: on one line where classes have one letter; else the sign stands on the second
    line, since images are hardly wider than names."""
    name, sure = class_name(dataset, answer), f"{100 * confidence:.0f} %"
    return f"{sign} {name}, {sure}".strip() if len(name) == 1 else f"{name}\n{f'{sign} {sure}'.strip()}"
