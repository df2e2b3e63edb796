"""The walks of DDN and FMN along the mean of their gradients: the same where these agree, nearer where they turn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attack_problems import linear_problem
from conftest import keys
from robustboard.attacks.carlini_wagner import cw
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


@WALKS
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_on_a_linear_model_every_gradient_is_the_mean(attack: Any, momentum: float) -> None:
    model, images, labels = linear_problem(classes=2)
    plain, along_the_mean = (attack(model, images, labels, keys(len(images)), momentum=m).images for m in (0.0, momentum))
    torch.testing.assert_close(norms(along_the_mean - images, "l2"), norms(plain - images, "l2"), rtol=1e-3, atol=1e-4)


@WALKS
def test_where_the_gradient_turns_from_step_to_step_their_mean_leads_to_nearer_errors(attack: Any) -> None:
    model = Rippled()
    images = 0.3 + 0.4 * torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    lengths = [
        norms(attack(model, images, labels, keys(64), momentum=momentum, initial_norm=1.0).images - images, "l2")
        for momentum in (0.0, 0.8)
    ]
    assert float(lengths[1].mean()) < 0.85 * float(lengths[0].mean())


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
@pytest.mark.parametrize(("attack", "parameter"), [(ddn, "momentum"), (fmn, "momentum"), (cw, "start_momentum")])
def test_a_momentum_that_is_no_share_is_refused(attack: Any, parameter: str, momentum: float) -> None:
    model, images, labels = linear_problem(classes=2)
    with pytest.raises(ValueError, match=f"at least 0 and below 1, got {momentum:g}"):
        attack(model, images, labels, keys(len(images)), **{parameter: momentum})
