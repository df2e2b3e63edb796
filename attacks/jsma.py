"""The Jacobian-based saliency map attack: push the two most telling features to the end of their range, again and again."""

from __future__ import annotations

import torch
from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, register
from robustboard.attacks.losses import is_decisive, success_margin
from torch import Tensor


@register("jsma", norm="l0", aim="minimum", version=1, source="Papernot et al. 2016, algorithms 2 and 3, section IV-A")
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
    Returns the image itself where nothing was found. Costs one pass forward and two back a step, example and class.
    """
    if not 0 < abs(theta) <= 1:
        raise ValueError(f"theta is the change of a feature in [0, 1] and must be in [-1, 0) or (0, 1], got {theta}")
    pairs = int(epsilon) // 2
    owners, aims = _rows(model, images, labels, targets)
    best, taken = images.clone(), torch.zeros_like(labels)
    current = images[owners].clone()
    open_features = _movable(current, theta)
    for number in range(pairs + 1):
        reached, alpha, beta = _look(model, current, labels[owners], aims, targets is not None, row_cap)
        best, done = _keep_first(best, current, owners, reached)
        if number == pairs:
            break
        first, second, valid = best_pair(alpha, beta, open_features, theta)
        going = valid & ~done[owners]
        owners, aims, current, open_features = owners[going], aims[going], current[going], open_features[going]
        if not len(owners):
            break
        current = _push(current, first[going], second[going], theta)
        open_features &= _movable(current, theta)
        taken[owners] = number + 1
    return Proposal(best, taken)


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


def _look(
    model: Model, images: Tensor, labels: Tensor, aims: Tensor, targeted: bool, row_cap: int
) -> tuple[Tensor, Tensor, Tensor]:
    """By how much each row has succeeded (n,), minus infinity where not decisively, and its α and β (n, features)."""
    parts = [
        _look_once(model, *part, targeted)
        for part in zip(images.split(row_cap), labels.split(row_cap), aims.split(row_cap), strict=True)
    ]
    reached, alpha, beta = (torch.cat(column) for column in zip(*parts, strict=True))
    return reached, alpha, beta


def _look_once(model: Model, images: Tensor, labels: Tensor, aims: Tensor, targeted: bool) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        variable = images.detach().requires_grad_(True)
        logits = model(variable)
        own = logits.gather(1, aims[:, None]).sum()
        (alpha,) = torch.autograd.grad(own, variable, retain_graph=True)
        (everything,) = torch.autograd.grad(logits.sum(), variable)
    wanted = success_margin(logits.detach(), labels, aims if targeted else None)
    reached = torch.where(is_decisive(logits, wanted), wanted, -torch.inf)
    return reached, alpha.flatten(1), (everything - alpha).flatten(1)


def _keep_first(best: Tensor, current: Tensor, owners: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
    """Put the first success of each example into `best`; among its rows that succeed together the widest margin wins."""
    margins = torch.full((len(best),), -torch.inf, device=best.device).scatter_reduce(0, owners, reached, "amax")
    done = margins > -torch.inf
    winners = ((reached == margins[owners]) & done[owners]).nonzero().squeeze(1)
    best[owners[winners]] = current[winners]
    return best, done


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
    a, order = a.sort(1, descending=True)
    b = b.gather(1, order)
    layers = _records(b)
    layers |= _records(b.masked_fill(layers, -torch.inf))
    width = max(2, int(layers.sum(1).max()))
    kept, places = layers.to(torch.int8).topk(min(width, layers.shape[1]), dim=1)
    a = a.gather(1, places).masked_fill(kept == 0, -torch.inf)
    b = b.gather(1, places).masked_fill(kept == 0, -torch.inf)
    sum_a, sum_b = a[:, :, None] + a[:, None, :], b[:, :, None] + b[:, None, :]
    distinct = ~torch.eye(a.shape[1], dtype=torch.bool, device=a.device)
    saliency = torch.where((sum_a > 0) & (sum_b > 0) & distinct, sum_a * sum_b, -torch.inf).flatten(1)
    value, at = saliency.max(1)
    features = order.gather(1, places)
    first = features.gather(1, (at // a.shape[1])[:, None]).squeeze(1)
    second = features.gather(1, (at % a.shape[1])[:, None]).squeeze(1)
    return first, second, value > -torch.inf


def _records(values: Tensor) -> Tensor:
    """(n, m) bool: larger than everything before it in its row."""
    before = values.cummax(1).values.roll(1, 1)
    before[:, 0] = -torch.inf
    return values > before
