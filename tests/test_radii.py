"""A radius as it is printed is the radius."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from robustboard.benchmark.radii import radius


@given(st.integers(0, 255) | st.floats(0, 50).map(lambda value: float(f"{value:.4g}")))
def test_a_radius_says_the_whole_number(value: float) -> None:
    epsilon = value / 255 if isinstance(value, int) else value
    whole, _, parts = radius(epsilon).partition("/")
    assert float(whole) / float(parts or 1) == epsilon
    assert radius(8 / 255) == "8/255"
    assert radius(0.3) == "0.3"
