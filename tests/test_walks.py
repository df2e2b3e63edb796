"""The walks of DDN and FMN along a moving average of their gradients: the same where these agree, nearer where they turn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attack_problems import linear_problem
from conftest import keys
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.ddn import ddn
from robustboard.attacks.fmn import fmn
from robustboard.attacks.projections import norms

WALKS = pytest.mark.parametrize("attack", [ddn, fmn], ids=["ddn", "fmn"])


class Rippled(nn.Module):
    """Two classes that a plane parts, and on it waves so short that their slope is steeper than the plane's. (N, 1, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.plane = nn.functional.normalize(torch.randn(64, generator=generator), dim=0)
        self.waves = torch.randn(64, 64, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        side = (x - 0.5) @ self.plane + 0.1 * torch.sin(40 * x @ self.waves).mean(1)
        return torch.stack([side, -side], 1)


def shortened(attack: Any, model: nn.Module) -> float:
    """The mean distance with a momentum of 0.8, relative to that without."""
    images = 0.3 + 0.4 * torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    plain, averaged = (
        norms(attack(model, images, labels, keys(64), momentum=momentum, initial_norm=1.0).images - images, "l2").mean()
        for momentum in (0.0, 0.8)
    )
    return float(averaged / plain)


@WALKS
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_on_a_linear_model_every_gradient_is_the_mean(attack: Any, momentum: float) -> None:
    model, images, labels = linear_problem(classes=2)
    plain, along_the_mean = (attack(model, images, labels, keys(len(images)), momentum=m).images for m in (0.0, momentum))
    torch.testing.assert_close(norms(along_the_mean - images, "l2"), norms(plain - images, "l2"), rtol=1e-3, atol=1e-4)


@WALKS
def test_where_the_gradient_turns_from_step_to_step_their_mean_leads_to_nearer_errors(attack: Any) -> None:
    assert shortened(attack, Rippled()) < 0.85


class Staircase(Rippled):
    """The plane in steps: between two of them the gradient is exactly 0."""

    def forward(self, images: Tensor) -> Tensor:
        side = (images.flatten(1) - 0.5) @ self.plane
        rest = torch.remainder(side / 0.05, 1)
        side = side + 0.05 * ((4 * rest - 3).clamp_min(0) - rest)
        return torch.stack([side, -side], 1)


@WALKS
def test_where_the_gradient_is_zero_a_walk_goes_on_as_it_went(attack: Any) -> None:
    assert shortened(attack, Staircase()) < 0.95


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
@pytest.mark.parametrize(("name", "parameter"), [("ddn", "momentum"), ("fmn", "momentum"), ("cw", "start_momentum")])
def test_a_momentum_that_is_no_share_is_refused_before_the_attack(name: str, parameter: str, momentum: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1" if momentum > 0 else "0"):
        attack_cards()[name].check_parameters({parameter: momentum})


@pytest.mark.parametrize("norm", [0.0, -1.0])
def test_ddn_refuses_a_norm_that_no_factor_makes_another(norm: float) -> None:
    with pytest.raises(ValueError, match="must be above 0, got"):
        attack_cards()["ddn"].check_parameters({"initial_norm": norm})
