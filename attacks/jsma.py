"""The Jacobian-based saliency map attack: push the two most telling features to the end of their range, again and again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, finite, logits_of, register
from robustboard.attacks.losses import is_decisive, is_success, success_margin


def check_theta(theta: float) -> None:
    """Refuse a change that is none, or more than a feature's range."""
    if not 0 < abs(theta) <= 1:
        raise ValueError(f"theta is the change of a feature in [0, 1] and must be in [-1, 0) or (0, 1], got {theta:g}")


@register(
    "jsma",
    norm="l0",
    aim="minimum",
    version=2,
    source="Papernot et al. 2016, algorithms 2 and 3, section IV-A",
    check=check_theta,
)
def jsma(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    theta: float = 1.0,
    targets: Tensor | None = None,
    row_cap: int = 256,
) -> Proposal:
    """Change feature pairs by `theta` until the target is reached, no pair is left, or `epsilon` features are spent.

    The pair maximises −(αₚ + α_q)(βₚ + β_q) with α the gradient of the target's logit and β that of the sum of all
    others, where the α-sum is above 0 and the β-sum below (θ < 0 turns both). A feature leaves when it saturates.
    `epsilon` counts features: γ · C · H · W. Untargeted, every wrong class is tried side by side and the first to
    change the label, hence with the fewest features, is kept. At most `row_cap` images are in the model at once.
    Where nothing was found, returns the first image that lost its label without reaching its target, or the image itself.
    Costs one pass forward and two back a step, example and class; at the first step, where all wrong classes look from the same
    image, one forward and one back for each class.
    """
    check_theta(theta)
    pairs = int(epsilon) // 2
    owners, aims = _rows(model, images, labels, targets)
    best, uncertain, strayed = images.clone(), images.clone(), images.clone()
    finished, taken = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels)
    doubtful, lost = torch.zeros_like(finished), torch.zeros_like(finished)
    current = images[owners].clone()
    open_features = _movable(current, theta)
    for number in range(pairs + 1):
        if number == 0 and pairs and targets is None:
            look = _look_from_images(model, images, labels, owners, aims, row_cap)
        else:
            look = _look(model, current, labels[owners], aims, targets is not None, row_cap, with_gradient=number < pairs)
        uncertain, there = _keep_widest(uncertain, current, owners, look.reached, ~doubtful)
        doubtful |= there
        strayed, gone = _keep_widest(strayed, current, owners, look.astray, ~lost)
        lost |= gone
        best, done = _keep_widest(best, current, owners, torch.where(look.certain, look.reached, -torch.inf), ~finished)
        finished |= done
        if number == pairs:
            break
        first, second, valid = best_pair(look.alpha, look.beta, open_features, theta)
        going = valid & ~finished[owners]
        owners, aims, current, open_features = owners[going], aims[going], current[going], open_features[going]
        if not len(owners):
            break
        current = _push(current, first[going], second[going], theta)
        open_features &= _movable(current, theta)
        taken[owners] = number + 1
    otherwise = torch.where(projections.per_example(doubtful, images), uncertain, strayed)
    return Proposal(torch.where(projections.per_example(finished, images), best, otherwise), taken)


def _rows(model: Model, images: Tensor, labels: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """One row an (example, target): which example, which class. Untargeted: all wrong classes."""
    everyone = torch.arange(len(images), device=images.device)
    if targets is not None:
        return everyone, targets
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    aims = (labels[:, None] + torch.arange(1, classes, device=images.device)) % classes
    return everyone.repeat_interleave(classes - 1), aims.flatten()


def _movable(images: Tensor, theta: float) -> Tensor:
    """(n, features) bool: not yet at the end of the range that θ pushes to."""
    flat = images.flatten(1)
    return flat < 1 if theta > 0 else flat > 0


class Look(NamedTuple):
    """What the model says about rows (n): by how much each has succeeded (minus infinity where not), whether that is above
    rounding, by how much it has lost its label, to whatever class, and its α and β (n, features), zero where not asked for."""

    reached: Tensor
    certain: Tensor
    astray: Tensor
    alpha: Tensor
    beta: Tensor


def _look(
    model: Model, images: Tensor, labels: Tensor, aims: Tensor, targeted: bool, row_cap: int, *, with_gradient: bool
) -> Look:
    once = _with_jacobian if with_gradient else _without_jacobian
    parts = [
        once(model, *part, targeted)
        for part in zip(images.split(row_cap), labels.split(row_cap), aims.split(row_cap), strict=True)
    ]
    return Look(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _look_from_images(model: Model, images: Tensor, labels: Tensor, owners: Tensor, aims: Tensor, row_cap: int) -> Look:
    """The look of rows that all stand on their own image: every class's gradient once, for all rows of the image."""
    parts = [_all_gradients(model, part) for part in images.split(row_cap)]
    logits, gradients = (torch.cat(column) for column in zip(*parts, strict=True))
    alpha = gradients[owners, aims]
    return Look(*_success(logits[owners], labels[owners], aims, False), alpha, gradients.sum(1)[owners] - alpha)


def _all_gradients(model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n, K) and the gradient of each (n, K, features), one pass back a class."""
    with torch.enable_grad():
        variable = images.detach().requires_grad_(True)
        logits = finite(model(variable), "outputs")
        columns = logits.sum(0).unbind()
        rows = [torch.autograd.grad(column, variable, retain_graph=True)[0].flatten(1) for column in columns]
    return logits.detach(), finite(torch.stack(rows, 1), "gradients")


def _with_jacobian(model: Model, images: Tensor, labels: Tensor, aims: Tensor, targeted: bool) -> Look:
    with torch.enable_grad():
        variable = images.detach().requires_grad_(True)
        logits = finite(model(variable), "outputs")
        own = logits.gather(1, aims[:, None]).sum()
        (alpha,) = torch.autograd.grad(own, variable, retain_graph=True)
        (everything,) = torch.autograd.grad(logits.sum(), variable)
    alpha, everything = finite(alpha, "gradients").flatten(1), finite(everything, "gradients").flatten(1)
    return Look(*_success(logits.detach(), labels, aims, targeted), alpha, everything - alpha)


def _without_jacobian(model: Model, images: Tensor, labels: Tensor, aims: Tensor, targeted: bool) -> Look:
    nothing = torch.zeros_like(images).flatten(1)
    return Look(*_success(logits_of(model, images), labels, aims, targeted), nothing, nothing)


def _success(logits: Tensor, labels: Tensor, aims: Tensor, targeted: bool) -> tuple[Tensor, Tensor, Tensor]:
    targets = aims if targeted else None
    wanted, away = success_margin(logits, labels, targets), success_margin(logits, labels, None)
    astray = torch.where(is_success(away, None) & is_decisive(logits, away), away, -torch.inf)
    return torch.where(is_success(wanted, targets), wanted, -torch.inf), is_decisive(logits, wanted), astray


def _keep_widest(best: Tensor, current: Tensor, owners: Tensor, reached: Tensor, open_: Tensor) -> tuple[Tensor, Tensor]:
    """Put a success of each example that is still `open_` (N,) into `best`; of its rows that succeed together the one with
    the widest margin. Also which examples (N,) got one."""
    margins = best.new_full((len(best),), -torch.inf).scatter_reduce(0, owners, reached, "amax")
    new = (margins > -torch.inf) & open_
    winners = ((reached == margins[owners]) & new[owners]).nonzero().squeeze(1)
    best = best.clone()
    best[owners[winners]] = current[winners]
    return best, new


def _push(images: Tensor, first: Tensor, second: Tensor, theta: float) -> Tensor:
    flat = images.flatten(1).clone()
    for feature in (first, second):
        flat.scatter_add_(1, feature[:, None], torch.full_like(flat[:, :1], theta))
    return projections.box(flat).reshape(images.shape)


def best_pair(alpha: Tensor, beta: Tensor, allowed: Tensor, theta: float) -> tuple[Tensor, Tensor, Tensor]:
    """The two allowed features of the highest saliency, and whether there is a valid pair: three (n,) tensors.

    With a = ±α and b = ∓β the saliency (aₚ + a_q)(bₚ + b_q) rises in every coordinate wherever it is valid, so both
    members lie on the first two Pareto layers of the points (a, b): a handful of candidates instead of all pairs.
    """
    sign = 1.0 if theta > 0 else -1.0
    a = torch.where(allowed, sign * alpha, -torch.inf)
    b = torch.where(allowed, -sign * beta, -torch.inf)
    a, order = a.sort(dim=1, descending=True, stable=True)
    b = b.gather(1, order)
    layers = _records(b)
    layers |= _records(b.masked_fill(layers, -torch.inf))
    width = max(2, int(layers.sum(1).max()))
    places, kept = _places(layers, width)
    a, b = a.gather(1, places).masked_fill(~kept, -torch.inf), b.gather(1, places).masked_fill(~kept, -torch.inf)
    sum_a, sum_b = a[:, :, None] + a[:, None, :], b[:, :, None] + b[:, None, :]
    once = torch.ones(width, width, dtype=torch.bool, device=a.device).triu(1)
    saliency = torch.where((sum_a > 0) & (sum_b > 0) & once, sum_a * sum_b, -torch.inf).flatten(1)
    value, at = saliency.max(1)
    features = order.gather(1, places)
    first = features.gather(1, (at // width)[:, None]).squeeze(1)
    second = features.gather(1, (at % width)[:, None]).squeeze(1)
    return first, second, value > -torch.inf


def _places(marked: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The columns where each row of `marked` (n, m) is true, in order, filled up to `width`; and which of them are real."""
    rank = torch.where(marked, marked.cumsum(1) - 1, width)
    columns = torch.arange(marked.shape[1], device=marked.device).expand_as(rank)
    places = torch.zeros(len(marked), width + 1, dtype=torch.int64, device=marked.device).scatter_(1, rank, columns)
    return places[:, :width], torch.arange(width, device=marked.device) < marked.sum(1, keepdim=True)


def _records(values: Tensor) -> Tensor:
    """(n, m) bool: larger than everything before it in its row."""
    before = values.cummax(1).values.roll(1, 1)
    before[:, 0] = -torch.inf
    return values > before
