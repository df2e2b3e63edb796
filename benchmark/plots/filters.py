"""First-layer filters: what each unit of a network's first layer reads its input with, as an image."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor, nn

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.bench import sitting
from robustboard.benchmark.plots.images import largest_of, scaled, show
from robustboard.benchmark.plots.picture import About, Picture, sheet
from robustboard.benchmark.plots.style import SMALL, styled
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import name_of, where

MOST = 64
COLUMNS = 16
NOTE = (
    "Grey is 0, brighter positive, darker negative; each filter on its own scale, the number below it is its largest "
    "absolute weight. Batch normalisation is folded into the weights of the registry's networks."
)


@dataclass(frozen=True)
class Filters:
    """The first layer's weights (M, C, h, w), those of `total` units that are shown, and the layer's name."""

    weights: Tensor
    total: int
    layer: str


def first_filters(network: nn.Module, shape: tuple[int, int, int]) -> Filters | None:
    """The weights that the network's first layer applies to images of `shape` (C, H, W): those of the first parameter,
    in the order of modules, that fits such images; None where none does. A layer that reads more channels than an
    image has (x and x² side by side) is shown by its first."""
    channels, height, width = shape
    for name, parameter in network.named_parameters():
        weights = parameter.detach().cpu().float()
        if weights.dim() == 4 and weights.shape[1] % channels == 0 and min(weights.shape[2:]) > 1:
            return Filters(weights[:MOST, :channels], len(weights), name)
        if weights.dim() == 2 and weights.shape[1] % (channels * height * width) == 0:
            flat = weights[:MOST, : channels * height * width]
            return Filters(flat.reshape(-1, channels, height, width), len(weights), name)
    return None


def picture(view: View) -> Picture:
    """The picture of one model. Raises `InputError` for a network that is not to be had, and for one without such a layer."""
    row, dataset = view.row, view.board.dataset
    examples = view.bench.examples(dataset, 1)
    with sitting(view.bench, dataset, row.model, examples) as sitter:
        channels, height, width = examples.images.shape[1:]
        found = first_filters(sitter.network, (channels, height, width))
    if found is None:
        raise InputError(f"{dataset}/{row.model} has no first layer of weights over its images that could be shown")
    shown = f"the first {len(found.weights)} of {found.total} units" if found.total > MOST else f"{found.total} units"
    about = About(
        "First-layer filters", f"{where(view.board, [], name_of(row))} · {shown} ({found.layer})", (NOTE, *view.notes())
    )
    return Picture("filters", dataset, row.model, about, draw(found, about))


@styled
def draw(found: Filters, about: About) -> Figure:
    """The filters in rows of sixteen."""
    count = len(found.weights)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = sheet(about, (7.0 / max(columns, 8) + 0.16) * rows)
    panels = figure.subplots(rows, max(columns, 8), squeeze=False)
    images, largest = scaled(found.weights), largest_of(found.weights)
    for axes in panels.flat:
        axes.set_axis_off()
    for place, (image, size) in enumerate(zip(images, largest, strict=True)):
        axes = panels[place // columns, place % columns]
        axes.set_axis_on()
        show(axes, image)
        axes.set_xlabel(f"{size:.2g}", size=SMALL - 1.5, labelpad=1)
    return figure
