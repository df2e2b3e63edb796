"""Input gradients as images, on clean images and on noise: where the model looks, and whether there is anything to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from robustboard.attacks.attack import logits_and_gradient
from robustboard.attacks.losses import margin
from robustboard.attacks.randomness import make_keys, normal
from robustboard.benchmark.errors import ModelFaultError, first_line
from robustboard.benchmark.judge import ask
from robustboard.benchmark.plots.bench import Sitter, sitting
from robustboard.benchmark.plots.images import ROW_HEIGHT, first_of_each_class, largest_of, scaled, show_row
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import class_name, name_of, where

USUAL_N = 200
SEED = 0
DEVIATION = 0.25
NOTE = (
    "Gradient of the margin, the largest other logit less that of the class in question, by the input: the label's on "
    "clean images (the first of each class that is right), the model's answer on noise (½ + ¼ · normal, clipped to [0, 1], "
    f"seed {SEED}). Grey is 0, brighter: more of the pixel brings the model nearer to another answer; each on its own "
    "scale, below it the largest absolute value."
)


@dataclass(frozen=True)
class Gradients:
    """Images (M, C, H, W) in [0, 1], the classes asked about (M,), and the margin's gradients by the images, like them."""

    images: Tensor
    classes: Sequence[int]
    gradients: Tensor


def noise(count: int, shape: tuple[int, ...], seed: int = SEED) -> Tensor:
    """`count` images (count, C, H, W) of normal noise about ½, clipped to [0, 1], the same for the same seed."""
    keys = make_keys(seed, torch.arange(count), "plot gradients")
    return (0.5 + DEVIATION * normal(keys, shape)).clamp(0, 1)


def of_images(sitter: Sitter, images: Tensor, classes: Tensor | None = None) -> Gradients:
    """The margin's gradients for `classes` (M,), for None those that the model answers. Raises `ModelFaultError` for a model
    that has none, or none that is finite."""
    images = images.to(sitter.device)
    asked = (ask(sitter.network, images).argmax(1) if classes is None else classes).to(sitter.device)
    try:
        _, _, gradient = logits_and_gradient(sitter.network, images, lambda logits: margin(logits, asked))
    except Exception as trouble:
        raise ModelFaultError(f"{sitter.name} has no gradient by its input: {first_line(trouble)}") from trouble
    return Gradients(images.cpu(), asked.tolist(), gradient.cpu())


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` for a network that is not to be had."""
    row, dataset = view.row, view.board.dataset
    with sitting(view.bench, dataset, row.model, view.bench.examples(dataset, USUAL_N)) as sitter:
        examples = sitter.examples
        chosen = first_of_each_class(examples.labels, sitter.clean.correct.cpu()) or list(range(min(10, len(examples.labels))))
        clean = of_images(sitter, examples.images[chosen], examples.labels[chosen])
        on_noise = of_images(sitter, noise(len(chosen), tuple(examples.images.shape[1:])))
    place = f"{where(view.board, [], name_of(row))} · {len(chosen)} images and {len(chosen)} of noise"
    about = About("Input gradients", place, (NOTE, *view.notes()))
    return Picture("gradients", dataset, row.model, about, draw(dataset, clean, on_noise, about))


@styled
def draw(dataset: str, clean: Gradients, on_noise: Gradients, about: About) -> Figure:
    """Two rows of images, each with its row of gradients."""
    figure = sheet(about, 4 * ROW_HEIGHT)
    panels = figure.subplots(4, len(clean.classes), squeeze=False)
    for place, (shown, heading) in enumerate(((clean, "clean"), (on_noise, "noise"))):
        show_row(panels[2 * place], shown.images, [class_name(dataset, label) for label in shown.classes], heading)
        show_row(
            panels[2 * place + 1], scaled(shown.gradients), [f"{size:.2g}" for size in largest_of(shown.gradients)], "gradient"
        )
    return figure
