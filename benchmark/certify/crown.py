"""CROWN (Zhang et al. 2018, "Efficient neural network robustness certification with general activation functions"):
linear functions of the logits are carried backward through linear relaxations of the non-linear layers.

Each ReLU that can be either is bounded above by the chord and below by 0 or by the identity, whichever loses less area
(their "adaptive" lower bound, section 3.3); max-pooling above by a constant and below by its likeliest feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustboard.benchmark.certify.interval import Box, after
from robustboard.benchmark.certify.layers import Affine, Layer, MaxPool, Relu

LARGEST_PASS = 2**30
"""Multiply-adds of the backward pass for one layer's box and one example, about a second on one core: where it would take
more, the layer keeps its interval bounds."""


def lower_bounds(layers: Sequence[Layer], boxes: Sequence[Box], rows: Tensor, *, down_to: int = 0) -> Tensor:
    """Lower bounds (N, R) of the linear functions `rows` (N or 1, R, *shape) of the last layer's output.

    `boxes[k]` must hold before layer k. `down_to` is the layer before which the functions are evaluated on its box: 0 for
    CROWN; where only affine layers follow, it is what interval bound propagation gives for those functions.
    """
    constant = torch.zeros(rows.shape[:2], dtype=torch.float64)
    for place in range(len(layers) - 1, down_to - 1, -1):
        rows, added = _through(layers[place], boxes[place], rows)
        constant = constant + added
    flat, box = rows.flatten(2), boxes[down_to]
    center, radius = box.center.flatten(1)[:, :, None], box.radius.flatten(1)[:, :, None]
    return constant + (flat @ center - flat.abs() @ radius).squeeze(2)


def crown_boxes(layers: Sequence[Layer], box: Box) -> tuple[list[Box], list[int]]:
    """The box before every layer and that of the logits, and the non-linear layers whose boxes are interval bounds because
    CROWN's backward pass would be too large. Every box is within the one that intervals alone give."""
    boxes, by_interval = [box], []
    seen_nonlinear = False
    for place, layer in enumerate(layers):
        if not isinstance(layer, Affine):
            # An affine map of a box has exact intervals already, and behind another one there is nothing to gain.
            worth_it = seen_nonlinear and isinstance(layers[place - 1], Affine)
            if worth_it and _fits(layers[:place]):
                boxes[place] = _tightened(layers[:place], boxes, layer)
            elif worth_it:
                by_interval.append(place)
            seen_nonlinear = True
        boxes.append(after(layer, boxes[place]))
    return boxes, by_interval


def _fits(layers: Sequence[Layer]) -> bool:
    # Up to the first relaxation all examples share one pass.
    own = layers[: max(place for place, layer in enumerate(layers) if not isinstance(layer, Affine))]
    one_row = sum(layer.terms * math.prod(layer.shape_out) for layer in own if isinstance(layer, Affine))
    return 2 * math.prod(layers[-1].shape_out) * one_row <= LARGEST_PASS


def _tightened(layers: Sequence[Layer], boxes: Sequence[Box], before: Relu | MaxPool) -> Box:
    """CROWN's box of the last of `layers`' outputs. Before a ReLU, features that are never positive in any example keep
    their box: they become 0 whatever it is, so that no example's bounds depend on its batch-mates."""
    old = boxes[len(layers)]
    lower, upper = old.lower.flatten(1), old.upper.flatten(1)
    matters = (upper > 0).any(0) if isinstance(before, Relu) else torch.ones(upper.shape[1], dtype=torch.bool)
    chosen = matters.nonzero().squeeze(1)
    if not len(chosen):
        return old
    units = torch.zeros(len(chosen), lower.shape[1], dtype=torch.float64)
    units[torch.arange(len(chosen)), chosen] = 1.0
    rows = units.reshape(1, -1, *old.lower.shape[1:])
    found_lower, found_upper = lower_bounds(layers, boxes, torch.cat([rows, -rows], 1)).chunk(2, 1)
    lower, upper = lower.index_copy(1, chosen, found_lower), upper.index_copy(1, chosen, -found_upper)
    return Box(lower.reshape(old.lower.shape), upper.reshape(old.upper.shape)).within(old)


def _through(layer: Layer, box: Box, rows: Tensor) -> tuple[Tensor, Tensor]:
    """`rows` (N or 1, R, *shape_out) as lower-bounding functions (N, R, *shape_in) of the layer's input, and constants (N, R)."""
    if isinstance(layer, Affine):
        before = layer.transposed(rows.flatten(0, 1)).reshape(*rows.shape[:2], *layer.shape_in)
        return before, rows.flatten(2) @ layer.bias.flatten()
    return _through_relu(box, rows) if isinstance(layer, Relu) else _through_pool(layer, box, rows)


def _through_relu(box: Box, rows: Tensor) -> tuple[Tensor, Tensor]:
    lower, upper = box.lower, box.upper
    is_open = (lower < 0) & (upper > 0)
    active = (lower >= 0).double()
    chord = torch.where(is_open, upper / (upper - lower).clamp(min=1e-300), active)
    slope = torch.where(is_open, (upper >= -lower).double(), active)
    offset = torch.where(is_open, -lower * chord, 0.0)
    positive, negative = rows.clamp(min=0), rows.clamp(max=0)
    constant = (negative.flatten(2) @ offset.flatten(1)[:, :, None]).squeeze(2)
    return positive * slope[:, None] + negative * chord[:, None], constant


def _through_pool(layer: MaxPool, box: Box, rows: Tensor) -> tuple[Tensor, Tensor]:
    """max ≥ the feature with the largest lower bound; max ≤ the largest upper bound, or that feature where no other can
    exceed it."""
    lower, upper = layer.windows(box.lower), layer.windows(box.upper)
    best, choice = lower.max(-1)
    others = upper.scatter(-1, choice[..., None], -torch.inf).amax(-1)
    decided = (others <= best).double()
    negative = rows.clamp(max=0)
    constant = negative.flatten(2) @ ((1 - decided) * upper.amax(-1)).flatten(1)[:, :, None]
    kept = (rows.clamp(min=0) + negative * decided[:, None]).flatten(3)
    places = layer.positions(choice).flatten(2)[:, None].expand(kept.shape)
    before = torch.zeros(*kept.shape[:3], math.prod(layer.shape_in[1:]), dtype=torch.float64)
    return before.scatter_add(3, places, kept).reshape(*kept.shape[:2], *layer.shape_in), constant.squeeze(2)
