"""Square: random search with squares that shrink, for models that give no gradient, or whose gradient lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.ascent import Ascent, cascade
from robustboard.attacks.attack import Model, Proposal, logits_of, register_linf_and_l2
from robustboard.attacks.losses import is_decisive, is_success, margin
from robustboard.attacks.projections import BallNorm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries, of 10,000, after which the share of the image that a square covers is halved."""


def check_p_init(p_init: float) -> None:
    """Refuse a square that covers nothing, or more than the image."""
    if not 0 < p_init <= 1:
        raise ValueError(f"p_init is the share of the image that the first square covers and must be in (0, 1], got {p_init:g}")


@register_linf_and_l2(
    "square",
    aim="budget",
    version=1,
    source="Andriushchenko et al. 2020, algorithms 1 to 3; margin loss",
    needs_gradient=False,
    check=check_p_init,
)
def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    queries: int = 5000,
    p_init: float = 0.8,
    restarts: int = 1,
    norm: BallNorm = "linf",
) -> Proposal:
    """The best of `restarts` random searches of `queries` forward passes each; only survivors start again.

    A query changes a random square of the best image so far and is kept where the margin rises. The side shrinks from
    `p_init` of the image in nine halvings, whatever the number of queries. The clean image is looked at first. Never asks
    for a gradient; an example stops at success. Raises ValueError when `p_init` is not in (0, 1].
    """
    check_p_init(p_init)

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        seeds = randomness.derive(keys[rows], numbers + 1)
        return _search(model, images[rows], labels[rows], seeds, epsilon, queries, p_init, norm)

    best = cascade(_unchanged(model, images, labels), restarts, attempt)
    return Proposal(best.images, best.iterations)


def _unchanged(model: Model, images: Tensor, labels: Tensor) -> Ascent:
    """The clean images, of which those that are wrong already are done: a search would begin elsewhere."""
    logits = logits_of(model, images)
    values = margin(logits, labels)
    return Ascent(images.clone(), values, torch.zeros_like(labels), is_decisive(logits, values))


def _search(
    model: Model, images: Tensor, labels: Tensor, keys: Tensor, epsilon: float, queries: int, p_init: float, norm: BallNorm
) -> Ascent:
    """One random search; its first query is the start's stripes or tiles."""
    start, move = (_stripes, _with_square) if norm == "linf" else (_tiles, _with_moved_square)
    best = Ascent.nothing(images)
    rows = torch.arange(len(images), device=images.device)
    for query in range(queries):
        seeds, origins = randomness.derive(keys[rows], query), images[rows]
        if query == 0:
            candidates = start(origins, seeds, epsilon)
        else:
            side = _side(query, queries, p_init, images.shape[2:], norm)
            candidates = move(best.images[rows], origins, seeds, side, epsilon)
        logits = logits_of(model, candidates)
        values = margin(logits, labels[rows])
        # A rise within rounding would let the batch size decide which way the search goes.
        rises = is_decisive(logits, values - best.scores[rows]) | is_success(values, None)
        done = is_decisive(logits, values)
        best.keep(rows, candidates, torch.where(rises, values, -torch.inf), done)
        best.iterations[rows] += 1
        rows = rows[~done]
        if not len(rows):
            break
    return best


def _side(query: int, queries: int, p_init: float, shape: tuple[int, ...], norm: BallNorm) -> int:
    """The side of this query's square; in L2 it is odd. Where the schedule has come to single features the paper's L2 search
    stays at 3, which no bump of a small image can be finer than: here every other query is a single feature."""
    height, width = shape
    halvings = sum(query * 10_000 > after * queries for after in HALVINGS)
    side = max(1, round(math.sqrt(p_init * height * width / 2**halvings)))
    if norm == "l2":
        side = max(3, side + 1 - side % 2) if side > 1 or query % 2 else 1
    return min(side, height, width)


def _stripes(origins: Tensor, keys: Tensor, epsilon: float) -> Tensor:
    """Every column of every channel at +ε or −ε."""
    _, channels, _, width = origins.shape
    return projections.box(origins + epsilon * randomness.signs(keys, (channels, 1, width)))


def _with_square(current: Tensor, origins: Tensor, keys: Tensor, side: int, epsilon: float) -> Tensor:
    """A random square of every channel set to +ε or −ε. Where that is what was there it is set to the opposite: no query goes
    to an image that is known. Algorithm 2."""
    draws = randomness.uniform(keys, (2 + origins.shape[1],))
    places = _square_at(draws[:, :2], side, origins)
    there, change = origins.flatten(2).gather(2, places), epsilon * _signs(draws[:, 2:])
    drawn, opposite = projections.box(there + change), projections.box(there - change)
    known = (drawn == current.flatten(2).gather(2, places)).flatten(1).all(1)
    return current.flatten(2).scatter(2, places, torch.where(known[:, None, None], opposite, drawn)).reshape(current.shape)


def _tiles(origins: Tensor, keys: Tensor, epsilon: float) -> Tensor:
    """A grid of bumps, five down the image, the sign of each drawn by channel, at length ε."""
    _, channels, height, width = origins.shape
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    signs = randomness.signs(keys, (channels, down, across))
    grid = signs.repeat_interleave(side, 2).repeat_interleave(side, 3) * _bumps(side, origins).repeat(down, across)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    change = torch.zeros_like(origins)
    change[:, :, top : top + down * side, left : left + across * side] = grid
    return projections.box(origins + epsilon * projections.steepest(change, "l2"))


def _with_moved_square(current: Tensor, origins: Tensor, keys: Tensor, side: int, epsilon: float) -> Tensor:
    """The change of one random square, and what is left of ε, spent on bumps in another. Algorithm 3."""
    draws = randomness.uniform(keys, (5 + origins.shape[1],))
    into, out_of = _square_at(draws[:, :2], side, origins), _square_at(draws[:, 2:4], side, origins)
    change = (current - origins).flatten(2)
    unused = (epsilon**2 - change.square().sum((1, 2), keepdim=True)).clamp_min(0) / origins.shape[1]
    here, freed = change.gather(2, into), change.gather(2, out_of).square().sum(2, keepdim=True)
    cleared = change.scatter(2, out_of, 0.0)
    available = (freed + cleared.gather(2, into).square().sum(2, keepdim=True) + unused).sqrt()
    bumps = _bumps(side, origins)
    turned = torch.stack([bumps, bumps.T]).flatten(1)[(draws[:, 4] < 0.5).long()]
    mixed = _signs(draws[:, 5:]) * turned[:, None] + here / _lengths(here)
    moved = cleared.scatter(2, into, mixed / _lengths(mixed) * available)
    return projections.l2(origins + moved.reshape(origins.shape), origins, epsilon)


def _signs(draws: Tensor) -> Tensor:
    """±1 for every channel, (n, C, 1), from numbers uniform in [0, 1)."""
    return torch.where(draws < 0.5, -1.0, 1.0)[:, :, None]


def _square_at(draws: Tensor, side: int, images: Tensor) -> Tensor:
    """The places (n, C, side²) in a flattened image of a square that lies within it, from draws (n, 2) in [0, 1)."""
    _, channels, height, width = images.shape
    steps = torch.arange(side, device=images.device)
    down = (draws[:, :1] * (height - side + 1)).long() + steps
    across = (draws[:, 1:] * (width - side + 1)).long() + steps
    return (down[:, :, None] * width + across[:, None]).flatten(1)[:, None].expand(-1, channels, -1)


def _lengths(change: Tensor) -> Tensor:
    """The L2 norm of every channel (n, C, 1), and never 0."""
    return change.square().sum(2, keepdim=True).sqrt().clamp_min(1e-12)


def _bumps(side: int, like: Tensor) -> Tensor:
    """A bump above one below it of opposite sign, of length 1, (side, side). Section 3.4, equation 2."""
    halves = [_bump(side // 2, side, like), -_bump(side - side // 2, side, like)]
    whole = torch.cat([half / half.square().sum().sqrt() for half in halves])
    return whole / whole.square().sum().sqrt()


def _bump(height: int, width: int, like: Tensor) -> Tensor:
    """(height, width): at a distance of d rings from the middle, the sum over j > d of 1 / j²."""
    down, across = ((torch.arange(size, device=like.device) - size // 2).abs() for size in (height, width))
    ring = torch.maximum(down[:, None], across[None])
    terms = torch.arange(1, max(height, width) // 2 + 2, device=like.device).to(like.dtype) ** -2
    return terms.flip(0).cumsum(0).flip(0)[ring]
