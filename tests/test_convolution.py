"""A convolution that reads images is torch's: the same answers to the bit, the same gradient up to rounding, whoever asks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustboard.models.convolution import ImageConv2d, convolution

PATIENT = settings(deadline=None)
FORMS = [(1, 0), (3, 0), (3, 1), (5, 0), (5, 2)]


def pair(channels: int, form: tuple[int, int], seed: int) -> tuple[nn.Conv2d, nn.Conv2d, Tensor]:
    """One that reads images and torch's with the same weights, neither to be trained, and images, all in float64."""
    torch.manual_seed(seed)
    kernel, padding = form
    plain = nn.Conv2d(channels, 4, kernel, padding=padding).double().requires_grad_(False)
    ours = convolution(channels, 4, kernel, padding=padding).double().requires_grad_(False)
    ours.load_state_dict(plain.state_dict())
    return ours, plain, torch.rand(3, channels, 7, 6, dtype=torch.float64)


@PATIENT
@given(st.integers(1, 3), st.sampled_from(FORMS), st.booleans(), st.integers(0, 2**31))
def test_it_answers_as_torchs_and_leads_back_as_torchs(channels: int, form: tuple[int, int], last: bool, seed: int) -> None:
    ours, plain, images = pair(channels, form, seed)
    assert isinstance(ours, ImageConv2d)
    if last:
        ours.to(memory_format=torch.channels_last)
        plain.to(memory_format=torch.channels_last)
    variable = images.requires_grad_(True)
    assert torch.equal(ours(variable), plain(variable))
    weights = torch.randn_like(plain(variable))
    (mine,) = torch.autograd.grad((ours(variable) * weights).sum(), variable)
    (theirs,) = torch.autograd.grad((plain(variable) * weights).sum(), variable)
    torch.testing.assert_close(mine, theirs)
    assert torch.autograd.gradcheck(ours, variable, fast_mode=True)


def test_it_can_be_led_through_twice_and_for_many_answers_at_once() -> None:
    ours, plain, images = pair(2, (3, 1), 0)
    variable = images.requires_grad_(True)
    assert torch.autograd.gradgradcheck(ours, variable, fast_mode=True)
    several = torch.randn(5, *plain(variable).shape, dtype=torch.float64)
    (mine,) = torch.autograd.grad(ours(variable), variable, several, is_grads_batched=True)
    (theirs,) = torch.autograd.grad(plain(variable), variable, several, is_grads_batched=True)
    torch.testing.assert_close(mine, theirs)


def test_the_gradient_of_an_image_does_not_depend_on_the_images_beside_it() -> None:
    ours = convolution(1, 32, 5).requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.rand(64, 1, 28, 28)

    def gradient(part: Tensor) -> Tensor:
        variable = part.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(ours(variable).square().sum(), variable)
        return found

    assert torch.equal(gradient(images)[:8], gradient(images[:8]))


def test_whoever_trains_gets_the_gradient_of_weights_and_images() -> None:
    ours, plain, images = pair(1, (3, 1), 0)
    variable = images.requires_grad_(True)
    of_images = []
    for layer in (ours, plain):
        layer.requires_grad_(True)
        layer(variable).square().sum().backward()
        of_images.append(variable.grad)
        variable.grad = None
    assert ours.weight.grad is not None
    assert plain.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    assert ours.bias is not None
    assert plain.bias is not None
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad)
    torch.testing.assert_close(*of_images)


def test_the_gradient_under_autocast_is_summed_in_the_images_precision() -> None:
    ours = convolution(1, 32, 5).requires_grad_(False)
    variable = torch.rand(4, 1, 28, 28, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answers = ours(variable)
        (rounded,) = torch.autograd.grad(answers.float().sum(), variable)
    (exact,) = torch.autograd.grad(ours(variable).sum(), variable)
    assert answers.dtype == torch.bfloat16
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).abs().max()) < 2e-2 * float(exact.abs().max())


@pytest.mark.parametrize("channels", [4, 32])
def test_more_channels_are_torchs_business(channels: int) -> None:
    assert type(convolution(channels, 4, 3)) is nn.Conv2d
