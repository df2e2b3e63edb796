"""Random numbers by per-example keys: what an example draws depends on its key alone, never on its batch-mates.

A counter-based generator in tensor operations: the i-th number of a key is the SplitMix64 finaliser (Steele, Lea &
Flood 2014, "Fast splittable pseudorandom number generators", figure 19) of key + i · golden ratio. The same on every device.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit integers, which is what torch has
_STRIDE = 0x5851F42D4C957F2D
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def make_keys(seed: int, indices: Tensor, *labels: str | int) -> Tensor:
    """One key an example from the run's seed, the examples' data set indices (N,) and what the numbers are for.

    Returns (N,) int64 on the device of `indices`. Equal arguments give equal keys; any difference gives unrelated ones.
    """
    text = repr((seed, *labels))
    salt = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)
    return _finalise(_finalise(indices.long()) + salt)


def derive(keys: Tensor, number: int | Tensor) -> Tensor:
    """Keys (N,) for the `number`-th use of `keys` (N,): a restart, an iteration; one number, or one a key (N,) int64."""
    if isinstance(number, Tensor):
        return _finalise(keys + (number + 1) * _STRIDE)
    return _finalise(keys + _signed((number + 1) * _STRIDE))


def uniform(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers uniform in [0, 1), (N, *shape) float32, multiples of 2⁻²⁴."""
    bits = _bits(keys, math.prod(shape))
    return (_shifted(bits, 40).float() * 2.0**-24).reshape(len(keys), *shape)


def signs(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Independent fair signs, (N, *shape) float32 of ±1: 64 of them from every 64-bit number."""
    count = math.prod(shape)
    octets = _bits(keys, math.ceil(count / 64)).view(torch.uint8)
    table = 1.0 - 2.0 * ((torch.arange(256, device=keys.device)[:, None] >> torch.arange(8, device=keys.device)) & 1).float()
    return table[octets.long()].reshape(len(keys), -1)[:, :count].reshape(len(keys), *shape)


def normal(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, (N, *shape) float32 (Box & Muller 1958)."""
    first, second = uniform(keys, (2, math.prod(shape))).unbind(1)
    # 1 − u is never 0, so that the logarithm is finite.
    return ((-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()).reshape(len(keys), *shape)


def in_unit_ball(keys: Tensor, shape: tuple[int, ...], norm: Literal["linf", "l2"]) -> Tensor:
    """A point uniform in the unit ball of `norm`, (N, *shape) float32."""
    if norm == "linf":
        return 2 * uniform(keys, shape) - 1
    # The first d of d + 2 coordinates of a point uniform on the sphere are uniform in the ball.
    count = math.prod(shape)
    points = normal(keys, (count + 2,))
    return (points / points.square().sum(1, keepdim=True).sqrt())[:, :count].reshape(len(keys), *shape)


def _bits(keys: Tensor, count: int) -> Tensor:
    counters = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device) * _GOLDEN
    return _finalise(keys[:, None] + counters)


def _finalise(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _MIX_1
    z = (z ^ _shifted(z, 27)) * _MIX_2
    return z ^ _shifted(z, 31)


def _signed(number: int) -> int:
    """The signed 64-bit integer with the same low bits."""
    return (number + 2**63) % 2**64 - 2**63


def _shifted(z: Tensor, by: int) -> Tensor:
    """Logical shift to the right; torch's own shift carries the sign along."""
    return (z >> by) & ((1 << (64 - by)) - 1)
