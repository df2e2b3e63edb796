"""A radius as the field writes it."""

from __future__ import annotations


def radius(epsilon: float) -> str:
    """ "8/255" of a whole number of pixel values that four digits do not tell exactly, else four digits: "0.3", "2"."""
    digits, steps = f"{epsilon:.4g}", epsilon * 255
    whole = round(steps)
    return f"{whole}/255" if float(digits) != epsilon and abs(steps - whole) < 1e-9 else digits
