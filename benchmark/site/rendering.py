"""Templates filled in: every text escaped, what does not print spelled out, nothing left undefined."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from robustboard.benchmark.radii import radius
from robustboard.benchmark.report.escaping import for_terminal


def environment() -> Environment:
    """The environment of the templates in `templates/`."""
    found = Environment(
        loader=PackageLoader("robustboard.benchmark.site"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["bold"] = _bold
    found.filters["line"] = for_terminal
    found.filters["radius"] = radius
    found.filters["breakable"] = _breakable
    return found


def _printable(value: Any) -> Any:
    """Text, each sign of which prints: a name cannot turn the line it stands in round, nor end it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in row) for row in value.split("\n"))


def _breakable(text: str) -> Markup:
    """One line that a narrow column may break behind an underscore."""
    return Markup("_<wbr>").join(for_terminal(text).split("_"))


def _bold(text: str) -> Markup:
    """Words between ** in bold."""
    parts = text.split("**")
    return Markup("").join(
        Markup("<strong>{}</strong>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )
