"""SPSA: the gradient estimated from differences along random signs, for models whose own gradient is missing or lies."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.adam import Moments, descent_step
from robustboard.attacks.attack import Model, Proposal, logits_of, register
from robustboard.attacks.losses import is_decisive, success_margin


@register(
    "spsa",
    norm="linf",
    aim="budget",
    version=1,
    source="Uesato et al. 2018, section 3.3, algorithm 1",
    needs_gradient=False,
)
def spsa(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    directions: int = 128,
    iterations: int = 100,
    delta: float = 0.01,
    rate: float = 0.01,
    targets: Tensor | None = None,
    row_cap: int = 1024,
) -> Proposal:
    """Adam at `rate` on the estimated gradient of the margin, back into ball and box after each iteration.

    The estimate averages `directions` two-sided differences with steps of `delta`, each along its own random ±1 vector,
    drawn per example. Stops per example at success, keeps the best. Never asks for a gradient; at most `row_cap` rows
    are in the model at once. Adam's ε of 1e-8 is the paper's: where all logits lie within about 1e-7 of one another it stalls.
    Costs 2 · directions + 1 forward passes an iteration and an example.
    """
    best = images.clone()
    scores = images.new_full((len(images),), -torch.inf)
    taken = torch.zeros_like(labels)
    rows = torch.arange(len(images), device=images.device)
    current, moments = images, Moments.zero(images)
    for iteration in range(iterations + 1):
        logits = torch.cat([logits_of(model, part) for part in current.split(row_cap)])
        wanted = success_margin(logits, labels[rows], None if targets is None else targets[rows])
        better = wanted > scores[rows]
        best[rows[better]] = current[better]
        scores[rows[better]] = wanted[better]
        going = ~is_decisive(logits, wanted)
        rows, current, moments = rows[going], current[going], moments.select(going)
        if iteration == iterations or not len(rows):
            break
        aims = None if targets is None else targets[rows]
        signs_of = randomness.derive(keys[rows], iteration)
        gradient = estimate_gradient(model, current, labels[rows], aims, signs_of, directions, delta, row_cap)
        change, moments = descent_step(-gradient, moments, rate)
        current = projections.linf(current + change, images[rows], epsilon)
        taken[rows] += 1
    return Proposal(best, taken)


def estimate_gradient(
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    keys: Tensor,
    directions: int,
    delta: float,
    row_cap: int,
) -> Tensor:
    """The mean over directions v of (f(x + δv) − f(x − δv)) / 2δ · v, f the margin; like `images`.

    Queries are clipped to the box: at a feature on its edge the difference is one-sided, half as large, of equal sign.
    """
    together = max(1, row_cap // (2 * directions))
    at_once = min(directions, max(1, row_cap // 2))
    estimates = []
    for start in range(0, len(images), together):
        part = slice(start, start + together)
        vectors = randomness.signs(keys[part], (directions, *images.shape[1:])).to(images)
        total = torch.zeros_like(images[part])
        for chunk in vectors.split(at_once, dim=1):
            difference = _differences(model, images[part], labels[part], None if targets is None else targets[part], chunk, delta)
            total += torch.einsum("nd,nd...->n...", difference, chunk)
        estimates.append(total / directions)
    return torch.cat(estimates)


def _differences(model: Model, images: Tensor, labels: Tensor, targets: Tensor | None, vectors: Tensor, delta: float) -> Tensor:
    """(f(x + δv) − f(x − δv)) / 2δ for vectors (n, d, …): (n, d), both signs in one forward pass."""
    count, directions = vectors.shape[:2]
    shifted = torch.stack([images[:, None] + delta * vectors, images[:, None] - delta * vectors])
    logits = logits_of(model, projections.box(shifted).flatten(0, 2))
    owners = labels[:, None].expand(count, directions).flatten().repeat(2)
    aims = None if targets is None else targets[:, None].expand(count, directions).flatten().repeat(2)
    values = success_margin(logits, owners, aims).reshape(2, count, directions)
    return (values[0] - values[1]) / (2 * delta)
