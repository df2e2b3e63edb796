"""Augmentation keeps images images: their range, shape and dtype, and each change is the one that its name says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustboard.models.training.augmentation import augment
from robustboard.models.training.settings import Augmentation

STRENGTHS = [
    Augmentation(translation=2),
    Augmentation(rotation=30.0),
    Augmentation(scaling=0.3),
    Augmentation(flip=True),
    Augmentation(erasing=1.0, erased_share=0.5),
    Augmentation(noise=0.3),
    Augmentation(2, 10.0, 0.1, True, 0.5, 0.25, 0.1),
]


@pytest.mark.parametrize("strength", STRENGTHS, ids=range(len(STRENGTHS)))
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_augmentation_keeps_range_shape_and_dtype_and_follows_its_generator(
    strength: Augmentation, shape: tuple[int, int, int]
) -> None:
    images = torch.rand(16, *shape, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    global_state = torch.random.get_rng_state()

    def changed(seed: int) -> Tensor:
        return augment(images, strength, torch.Generator().manual_seed(seed))

    first = changed(1)
    assert first.shape == images.shape
    assert first.dtype == images.dtype
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert torch.equal(first, changed(1))
    assert not torch.equal(first, changed(2))
    assert torch.equal(images, before)
    assert torch.equal(torch.random.get_rng_state(), global_state)


def test_no_augmentation_changes_nothing() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(augment(images, Augmentation(), torch.Generator()), images)


def test_translation_moves_by_whole_pixels_within_its_reach() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    moved = augment(image.repeat(200, 1, 1, 1), Augmentation(translation=2), torch.Generator().manual_seed(0))
    # A single bright pixel in the middle stays single: mirrored borders are out of its reach.
    assert torch.equal(moved.flatten(1).sum(1), torch.ones(200))
    places = {divmod(int(place), 9) for place in moved.flatten(1).argmax(1)}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_erasing_zeroes_one_square() -> None:
    erased = augment(torch.ones(50, 3, 8, 8), Augmentation(erasing=1.0, erased_share=0.5), torch.Generator().manual_seed(0))
    assert (erased == 0).flatten(1).sum(1).tolist() == [3 * 16] * 50


def test_flip_mirrors_about_half() -> None:
    images = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    flipped = augment(images, Augmentation(flip=True), torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 140 < int(mirrored.sum()) < 260  # 200 ± 6 standard deviations of 10


def spread(images: Tensor) -> tuple[Tensor, Tensor]:
    """The standard deviation (N,) of each image's brightness along its longest axis, and that axis' angle (N,) in degrees."""
    size = images.shape[-1]
    places = torch.arange(size) - (size - 1) / 2
    weights = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
    along_x = (weights * places.square()[None, None, :]).sum((1, 2))
    along_y = (weights * places.square()[None, :, None]).sum((1, 2))
    across = (weights * places[None, None, :] * places[None, :, None]).sum((1, 2))
    angle = torch.rad2deg(torch.atan2(2 * across, along_x - along_y)) / 2
    half = (along_x - along_y).square().div(4).add(across.square()).sqrt()
    return ((along_x + along_y) / 2 + half).sqrt(), angle


def bars(count: int) -> Tensor:
    """Soft horizontal bars, longer than high, far from the border."""
    places = torch.arange(41) - 20.0
    bar = torch.exp(-(places[None, :] / 4).square() / 2 - (places[:, None] / 1.5).square() / 2)
    return bar.expand(count, 1, 41, 41)


def test_rotation_turns_by_degrees_and_keeps_the_size() -> None:
    length, angle = spread(augment(bars(400), Augmentation(rotation=30.0), torch.Generator().manual_seed(0)))
    assert float(angle.abs().max()) == pytest.approx(30, abs=0.5)
    assert float(angle.std()) == pytest.approx(30 / 3**0.5, rel=0.1), "uniform"
    assert length.tolist() == pytest.approx([4] * 400, rel=0.03)


def test_scaling_is_relative_and_turns_nothing() -> None:
    length, angle = spread(augment(bars(400), Augmentation(scaling=0.25), torch.Generator().manual_seed(0)))
    factor = 4 / length
    assert (float(factor.min()), float(factor.max())) == pytest.approx((0.75, 1.25), abs=0.02)
    assert float(factor.std()) == pytest.approx(0.25 / 3**0.5, rel=0.1), "uniform"
    assert float(angle.abs().max()) < 0.1


def test_noise_has_its_standard_deviation() -> None:
    noisy = augment(torch.full((50, 1, 16, 16), 0.5), Augmentation(noise=0.1), torch.Generator().manual_seed(0))
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.03)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.003)
