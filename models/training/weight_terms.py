"""What a loss adds for the size of the units' weights: the reward for wide gaps (`max_fit`), or the ordinary penalties."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustboard.models.architectures.blocks import Normalisation, normalised_maps
from robustboard.models.recipe import WeightTerm
from robustboard.models.units import Elliptical, Spherical

REWARDED = 10.0
"""How far a unit's size is rewarded: an L2 reward's pull grows with what it has won, and behind a logarithm nothing else holds
a unit back. Elliptical units grew beyond all bounds."""


def weight_term(network: nn.Module, term: WeightTerm) -> Tensor:
    """± strength · the mean over the units of ‖w‖₁ / fan-in, or of ‖w‖₂² / fan-in: minus for `max_fit`, which the loss then
    rewards, up to `REWARDED` a unit. A scalar with a graph; 0 where the term has no strength.

    For inputs in the unit box ‖w‖₁ is the range of w·x: the L1 reward asks each unit for a wide gap between its best and its
    worst input. The weights are those that act: where batch normalisation follows, w · γ / σ, σ as it is, because a normalised
    unit's own scale has no effect. The output layer has no units and is left out.
    """
    sizes = [_sizes(weights, term) for weights in acting_weights(network)] if term.strength else []
    if not sizes:
        return torch.zeros(())
    units = torch.cat(sizes)
    return -term.strength * units.clamp(max=REWARDED).mean() if term.max_fit else term.strength * units.mean()


def _sizes(weights: Tensor, term: WeightTerm) -> Tensor:
    flat = weights.flatten(1)
    return (flat.abs() if term.norm == "l1" else flat.square()).mean(1)


def acting_weights(network: nn.Module) -> list[Tensor]:
    """The weights (units, inputs…) of every layer that batch normalisation follows, times its γ / σ; what stands for them in
    an elliptical unit are its aᵢ², in a spherical one 1 / n."""
    return [_times(_weights(block[place]), block[place + 1]) for block, place in normalised_maps(network)]


def _weights(map_: nn.Module) -> Tensor:
    if isinstance(map_, Elliptical):
        return map_.scale.square()
    if isinstance(map_, Spherical):
        return torch.full_like(map_.centre, 1 / map_.fan_in)
    assert isinstance(map_, nn.Conv2d | nn.Linear)
    return map_.weight


def _times(weights: Tensor, norm: nn.Module) -> Tensor:
    assert isinstance(norm, Normalisation)
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var.detach() + norm.eps).sqrt()
    return weights * scale.reshape(-1, *[1] * (weights.dim() - 1))
