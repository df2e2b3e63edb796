"""The exact answer for small piecewise-linear networks, by mixed-integer linear programming (Tjeng, Xiao & Tedrake 2019,
"Evaluating robustness of neural networks with mixed integer programming", sections 4.1 and 4.2), solved by HiGHS.

Of every ReLU that can be either, a 0/1 variable says which; the bounds of its input are the big-M constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, sparse
from torch import Tensor

from robustboard.benchmark.certify.interval import Box
from robustboard.benchmark.certify.layers import Affine, Layer, Relu
from robustboard.benchmark.certify.trace import UncertifiableError

FEASIBILITY = 1e-6
"""How far HiGHS lets a constraint be broken (its default primal feasibility tolerance)."""
LARGEST_MATRIX = 2**24
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """One search. `status`: "empty" where no point of the ball reaches the wrong class, "found" with such a point, else
    "undecided": the time was up. `point` (features,) is None unless found. `margin`: what Z_label − Z_wrong is at least
    over the ball, without any rounding, by the solver's bound less its
    tolerance; None where it has none or nothing is left of the ball."""

    status: Literal["empty", "found", "undecided"]
    point: Tensor | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Stage:
    """An affine map as a matrix, (O, I) and (O,), and the place of the layer that follows it."""

    weight: Array
    bias: Array
    place: int


def stages(layers: Sequence[Layer]) -> list[Stage]:
    """The affine maps between the ReLUs of a chain, each as one matrix.

    Raises `UncertifiableError` for a chain with another non-linear layer, and for one whose matrices would be too large.
    """
    found, start = [], 0
    for place in range(len(layers) + 1):
        layer = layers[place] if place < len(layers) else None
        if isinstance(layer, Affine):
            continue
        if layer is not None and not isinstance(layer, Relu):
            raise UncertifiableError(
                f"the exact method knows affine layers and ReLU, not {type(layer).__name__}: use --method crown"
            )
        found.append(_stage(layers[start:place], place))
        start = place + 1
    return found


def search(parts: Sequence[Stage], boxes: Sequence[Box], label: int, wrong: int, slack: float, seconds: float) -> Answer:
    """Maximise Z_wrong − Z_label over the ball of one example, where it is at least −`slack`.

    `boxes` are those before every layer, of this example alone (1, *shape); `slack` ≥ 0 covers what a float32 pass may
    round, and what the solver may overlook comes on top. "empty" is a proof up to the solver's own correctness; a "found"
    point is a proposal that has to be judged.
    """
    program = _Program()
    previous = program.variables(_array(boxes[0].lower.flatten()), _array(boxes[0].upper.flatten()))
    width = len(previous)
    for part in parts[:-1]:
        box = boxes[part.place]
        previous = _relu(program, part, previous, _array(box.lower.flatten()), _array(box.upper.flatten()))
    last = parts[-1]
    weight = last.weight[wrong] - last.weight[label]
    bias = float(last.bias[wrong] - last.bias[label])
    program.constrain(weight[None], previous, [-slack - FEASIBILITY - bias], [np.inf])
    answer = program.maximise(weight, previous, width, seconds)
    return answer if answer.margin is None else replace(answer, margin=answer.margin - bias - FEASIBILITY)


class _Program:
    """A mixed-integer linear program that grows: variables with bounds, rows of constraints."""

    def __init__(self) -> None:
        self._lower: list[Array] = []
        self._upper: list[Array] = []
        self._whole: list[Array] = []
        self._rows: list[tuple[Array, npt.NDArray[np.intp]]] = []
        self._row_lower: list[float] = []
        self._row_upper: list[float] = []
        self._count = 0

    def variables(self, lower: Array, upper: Array, *, whole: bool = False) -> npt.NDArray[np.intp]:
        """New variables between the bounds; their numbers."""
        self._lower.append(lower)
        self._upper.append(upper)
        self._whole.append(np.full(len(lower), float(whole)))
        self._count += len(lower)
        return np.arange(self._count - len(lower), self._count)

    def constrain(self, weights: Array, numbers: npt.NDArray[np.intp], lower: Sequence[float], upper: Sequence[float]) -> None:
        """lower ≤ weights (R, V) · the variables of these numbers (V,) ≤ upper."""
        self._rows += [(row, numbers) for row in weights]
        self._row_lower += lower
        self._row_upper += upper

    def maximise(self, weights: Array, numbers: npt.NDArray[np.intp], width: int, seconds: float) -> Answer:
        """The point, in the first `width` variables, at which `weights` · variables is largest; `margin` is what the
        opposite of that sum is at least."""
        cost = np.zeros(self._count)
        cost[numbers] = -weights
        matrix = sparse.lil_matrix((len(self._rows), self._count))
        for place, (row, columns) in enumerate(self._rows):
            matrix[place, columns] = row
        found = optimize.milp(
            cost,
            integrality=np.concatenate(self._whole),
            bounds=optimize.Bounds(np.concatenate(self._lower), np.concatenate(self._upper)),
            constraints=optimize.LinearConstraint(matrix.tocsc(), np.array(self._row_lower), np.array(self._row_upper)),
            options={"time_limit": seconds, "mip_rel_gap": 1e-4},
        )
        if found.status == 2:  # SciPy: infeasible
            return Answer("empty")
        if found.x is None:
            return Answer("undecided")
        # A program without a 0/1 variable has no dual bound: its optimum is one (SciPy's status 0).
        bound = found.fun if found.mip_dual_bound is None and found.status == 0 else found.mip_dual_bound
        point = torch.from_numpy(np.asarray(found.x[:width], dtype=np.float64))
        return Answer("found", point, bound if bound is not None and np.isfinite(bound) else None)


def _relu(program: _Program, part: Stage, previous: npt.NDArray[np.intp], lower: Array, upper: Array) -> npt.NDArray[np.intp]:
    """Variables a = max(0, W · previous + b), where `lower` ≤ W · previous + b ≤ `upper`: always on, always off, or
    a ≥ 0, a ≥ z, a ≤ u d, a ≤ z − l (1 − d) with d in {0, 1} (Tjeng et al. 2019, section 4.2)."""
    after = program.variables(np.maximum(lower, 0), np.maximum(upper, 0))
    on = lower >= 0
    both = ~on & (upper > 0)
    open_ = np.flatnonzero(both)
    which = dict(zip(open_.tolist(), program.variables(np.zeros(len(open_)), np.ones(len(open_)), whole=True), strict=True))
    for unit in np.flatnonzero(on | both).tolist():
        above = np.append(part.weight[unit], -1.0)
        numbers = np.append(previous, after[unit])
        if on[unit]:
            program.constrain(above[None], numbers, [-part.bias[unit]], [-part.bias[unit]])
            continue
        # z − a ≤ 0;  z − a − l (1 − d) ≥ 0;  a − u d ≤ 0
        program.constrain(above[None], numbers, [-np.inf], [-part.bias[unit]])
        switched = np.append(above, lower[unit])
        program.constrain(switched[None], np.append(numbers, which[unit]), [lower[unit] - part.bias[unit]], [np.inf])
        program.constrain(np.array([[1.0, -upper[unit]]]), np.array([after[unit], which[unit]]), [-np.inf], [0.0])
    return after


def _stage(layers: Sequence[Layer], place: int) -> Stage:
    maps = [layer for layer in layers if isinstance(layer, Affine)]
    if not maps:
        raise UncertifiableError("the exact method needs an affine layer before every ReLU: use --method crown")
    shape = maps[0].shape_in
    inputs = int(np.prod(shape))
    outputs = int(np.prod(maps[-1].shape_out))
    if inputs * outputs > LARGEST_MATRIX:
        raise UncertifiableError(f"the exact method is for small networks, a layer here has {outputs} × {inputs} weights")
    columns = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *shape)
    offset = torch.zeros(1, *shape, dtype=torch.float64)
    for layer in maps:
        columns, offset = layer.linear(columns), layer(offset)
    return Stage(_array(columns.reshape(inputs, outputs).T), _array(offset.flatten()), place)


def _array(values: Tensor) -> Array:
    return np.asarray(values, dtype=np.float64)
