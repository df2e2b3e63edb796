"""Max pooling by slices is torch's: the same answers and the same gradient to the bit, ties included, whoever asks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustboard.models.pooling import MaxPool2x2

PATIENT = settings(deadline=None)
SIDES = st.integers(2, 9)


@PATIENT
@given(SIDES, SIDES, st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), st.booleans(), st.integers(0, 2**31))
def test_it_answers_as_torchs_and_leads_back_as_torchs(
    height: int, width: int, dtype: torch.dtype, last: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few different values: most windows hold a tie.
    images = torch.randint(-2, 3, (2, 3, height, width), generator=generator).to(dtype)
    images = images.contiguous(memory_format=torch.channels_last) if last else images
    found = []
    for pool in (MaxPool2x2(), nn.MaxPool2d(2)):
        variable = images.clone().requires_grad_(True)
        answers = pool(variable)
        weights = torch.randn(answers.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        found.append((pool(images), answers, *torch.autograd.grad((answers * weights).sum(), variable)))
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_passes_and_stays_in_its_window(value: float) -> None:
    images = torch.zeros(1, 1, 4, 4)
    images[0, 0, 0, :2] = value
    images[0, 0, 1, :2] = value
    variable = images.requires_grad_(True)
    answers = MaxPool2x2()(variable)
    torch.testing.assert_close(answers, nn.MaxPool2d(2)(images), rtol=0, atol=0, equal_nan=True)
    (gradient,) = torch.autograd.grad(answers.sum(), variable)
    assert float(gradient.sum()) == 4
    assert float(gradient[0, 0, :2, :2].sum()) == 1


def test_an_infinite_gradient_goes_to_one_value_alone() -> None:
    variable = torch.arange(4.0).reshape(1, 1, 2, 2).requires_grad_(True)
    (gradient,) = torch.autograd.grad(MaxPool2x2()(variable) * torch.inf, variable, torch.ones(1, 1, 1, 1))
    assert torch.equal(gradient, torch.tensor([[[[0.0, 0.0], [0.0, torch.inf]]]]))


def test_it_can_be_led_through_twice_and_for_many_answers_at_once() -> None:
    variable = torch.rand(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MaxPool2x2(), variable, fast_mode=True)
    assert torch.autograd.gradgradcheck(MaxPool2x2(), variable, fast_mode=True)
    several = torch.randn(5, 2, 2, 2, 3, dtype=torch.float64)

    def back(pool: nn.Module) -> Tensor:
        (gradient,) = torch.autograd.grad(pool(variable), variable, several, is_grads_batched=True)
        return gradient

    assert torch.equal(back(MaxPool2x2()), back(nn.MaxPool2d(2)))


@pytest.mark.parametrize(("height", "width"), [(4, 252), (4, 254), (4, 256), (4, 258), (256, 4)])
def test_wide_and_high_images_lead_back_to_the_same_places(height: int, width: int) -> None:
    # The largest value in the lower right corner of every window: the farthest step there is.
    images = torch.arange(float(height * width)).reshape(1, 1, height, width).requires_grad_(True)
    gradients = []
    for pool in (MaxPool2x2(), nn.MaxPool2d(2)):
        answers = pool(images)
        gradients.append(torch.autograd.grad(answers, images, torch.arange(1.0, answers.numel() + 1).reshape(answers.shape))[0])
    assert torch.equal(*gradients)
    assert int((gradients[0] > 0).sum()) == height * width // 4
