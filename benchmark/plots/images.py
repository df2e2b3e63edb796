"""Images in pictures: how one is shown, a row of them with texts, signed values as shades, and which examples are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from robustboard.benchmark.plots.style import SMALL

ROW_HEIGHT, LINE_HEIGHT = 0.88, 0.11
"""Inches of a row of ten images with a line of text, and of a further line."""


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


def show_row(panels: Sequence[Axes], images: Tensor, texts: Sequence[str], heading: str) -> None:
    """Images (M, C, H, W) side by side, a text below each, the heading to their left."""
    for axes, image, text in zip(panels, images, texts, strict=True):
        show(axes, image)
        axes.set_xlabel(text, size=SMALL - 0.5, labelpad=1.5)
    panels[0].set_ylabel(heading, rotation=0, ha="right", va="center", size=SMALL)


def scaled(values: Tensor) -> Tensor:
    """½ + v / (2 max |v|) for each of (M, C, h, w) on its own: in [0, 1], 0 as ½; ½ where all is 0."""
    largest = values.abs().flatten(1).amax(1)[:, None, None, None]
    return 0.5 + values / (2 * torch.where(largest > 0, largest, torch.ones_like(largest)))


def largest_of(values: Tensor) -> list[float]:
    """The largest absolute value of each of (M, C, h, w)."""
    found: list[float] = values.abs().flatten(1).amax(1).tolist()
    return found


def first_of_each_class(labels: Tensor, correct: Tensor) -> list[int]:
    """Where each class is first classified right, in the order of classes; classes that never are have none."""
    right = correct.nonzero().squeeze(1).tolist()
    return [next(at for at in right if int(labels[at]) == label) for label in sorted({int(labels[at]) for at in right})]
