"""The random numbers: uniform, independent, and a function of the example's key alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from conftest import keys
from robustboard.attacks import randomness

SHAPE = (3, 8, 8)


def flat_uniform(count: int = 200) -> Tensor:
    return randomness.uniform(keys(count), SHAPE).flatten(1)


def test_uniform_numbers_are_in_the_half_open_unit_interval() -> None:
    numbers = randomness.uniform(keys(2000), (200,))
    assert numbers.dtype == torch.float32
    assert numbers.shape == (2000, 200)
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    assert float(numbers.min()) < 1e-4
    assert float(numbers.max()) > 1 - 1e-4


def test_uniform_numbers_have_the_moments_and_the_law_of_the_uniform_distribution() -> None:
    numbers = flat_uniform().flatten().double()
    count = len(numbers)
    assert abs(float(numbers.mean()) - 1 / 2) < 5 * (1 / 12 / count) ** 0.5
    assert abs(float(numbers.var()) - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1])
def test_every_example_and_every_position_is_uniform(axis: int) -> None:
    # The p-values of good numbers are themselves uniform; a bad column or row would give one near 0.
    numbers = flat_uniform()
    slices = numbers.unbind(axis)
    p_values = [stats.kstest(part.numpy(), "uniform").pvalue for part in slices]
    assert min(p_values) > 0.01 / len(slices)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def largest_correlation(table: Tensor) -> float:
    """The largest absolute correlation between two different rows."""
    matrix = torch.corrcoef(table.double())
    return float((matrix - torch.eye(len(matrix))).abs().max())


def test_uniform_numbers_of_examples_and_positions_are_uncorrelated() -> None:
    numbers = flat_uniform()
    # Six standard errors: the largest of 20,000 pairs is expected at about four.
    assert largest_correlation(numbers) < 6 / numbers.shape[1] ** 0.5
    assert largest_correlation(numbers.T) < 6 / numbers.shape[0] ** 0.5


def test_successive_numbers_of_one_key_are_uncorrelated() -> None:
    numbers = randomness.uniform(keys(1), (100_000,))[0]
    for lag in (1, 2, 8, 64):
        pair = torch.stack([numbers[:-lag], numbers[lag:]])
        assert largest_correlation(pair) < 5 / 100_000**0.5


def test_signs_are_fair_and_independent_between_examples_and_positions() -> None:
    signs = randomness.signs(keys(256), (500,))
    assert signs.dtype == torch.float32
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 5 / signs.numel() ** 0.5
    assert float(signs.mean(1).abs().max()) < 5 / 500**0.5
    assert float(signs.mean(0).abs().max()) < 5 / 256**0.5
    assert largest_correlation(signs) < 6 / 500**0.5
    assert largest_correlation(signs.T) < 6 / 256**0.5


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_signs_of_any_count_are_the_beginning_of_longer_ones(count: int) -> None:
    assert torch.equal(randomness.signs(keys(3), (count,)), randomness.signs(keys(3), (256,))[:, :count])


def test_consecutive_keys_give_unrelated_numbers() -> None:
    # make_keys is not the only source of keys: even 0, 1, 2, … and keys a golden ratio apart must not overlap.
    numbers = randomness.uniform(torch.arange(200), (192,))
    assert largest_correlation(numbers) < 6 / 192**0.5
    assert len(numbers.unique()) > 0.99 * numbers.numel()


def test_derived_keys_are_distinct_and_their_numbers_unrelated() -> None:
    base = keys(50)
    derived = torch.stack([randomness.derive(base, number) for number in range(20)])
    everything = torch.cat([derived.flatten(), base])
    assert len(everything.unique()) == len(everything)
    numbers = torch.cat([randomness.uniform(row, (192,)) for row in [base, *derived[:4]]])
    assert largest_correlation(numbers) < 6 / 192**0.5
    for bit in range(64):
        share = float(((derived.flatten() >> bit) & 1).float().mean())
        assert abs(share - 0.5) < 5 * 0.5 / derived.numel() ** 0.5, f"bit {bit} of derived keys is not fair"


def test_derivation_does_not_commute_or_collapse() -> None:
    base = keys(10)
    there = randomness.derive(randomness.derive(base, 1), 2)
    back = randomness.derive(randomness.derive(base, 2), 1)
    assert not bool((there == back).any())


def test_numbers_depend_on_the_key_alone_and_not_on_the_batch() -> None:
    base = keys(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for draw in (randomness.uniform, randomness.signs):
        together = draw(base, SHAPE)
        assert torch.equal(draw(base[order], SHAPE), together[order])
        assert torch.equal(torch.cat([draw(key[None], SHAPE) for key in base]), together)
        assert torch.equal(draw(base[7:9], SHAPE), together[7:9])
    assert torch.equal(randomness.derive(base, 3)[order], randomness.derive(base[order], 3))


def test_the_numbers_are_those_of_splitmix64() -> None:
    # The first outputs of the reference implementation (Vigna's splitmix64.c) from state 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    numbers = randomness.uniform(torch.tensor([1234567]), (5,))[0]
    assert numbers.double().tolist() == [(number >> 40) / 2**24 for number in expected]


def test_the_global_random_state_is_neither_read_nor_written() -> None:
    before = torch.get_rng_state()
    first = randomness.uniform(keys(2), SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(randomness.uniform(keys(2), SHAPE), first)


def test_keys_differ_by_seed_index_and_every_label() -> None:
    indices = torch.arange(100)
    sets = [
        randomness.make_keys(0, indices, "bim"),
        randomness.make_keys(1, indices, "bim"),
        randomness.make_keys(0, indices, "pgd"),
        randomness.make_keys(0, indices, "bim", 1),
        randomness.make_keys(0, indices),
        randomness.make_keys(0, indices + 100, "bim"),
    ]
    assert all(made.dtype == torch.int64 for made in sets)
    assert len(torch.cat(sets).unique()) == 600
    assert largest_correlation(torch.cat([randomness.uniform(made[:20], (192,)) for made in sets])) < 6 / 192**0.5
    assert torch.equal(sets[0], randomness.make_keys(0, indices, "bim"))
    assert torch.equal(sets[0][[5, 3]], randomness.make_keys(0, indices[[5, 3]], "bim")), "a key is its own example's"
