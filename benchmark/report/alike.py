"""What makes two cells comparable: the same question, and an answer that was sought in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult

ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """One thing in which two cells differ: its name, and its value in either."""

    what: str
    first: object
    second: object

    def __str__(self) -> str:
        return f"{self.what} {self.first} against {self.second}"


def question(first: CellResult, second: CellResult) -> list[Difference]:
    """In what the two ask different things: protocol, examples, threat model. Numbers of different questions never compare."""
    return differing(
        ("protocol", first.protocol.name, second.protocol.name),
        ("data set", first.dataset.name, second.dataset.name),
        ("split", first.dataset.split, second.dataset.split),
        ("n", first.dataset.n, second.dataset.n),
        ("examples", first.dataset.fingerprint[:12], second.dataset.fingerprint[:12]),
        ("norm", first.attack.norm, second.attack.norm),
        ("eps", first.attack.eps, second.attack.eps),
    )


def strength(first: CellResult, second: CellResult) -> list[Difference]:
    """In what the two sought the answer differently: version, seed, implementation, aim, every parameter."""
    a, b = first.attack, second.attack
    return differing(
        ("protocol version", first.protocol.version, second.protocol.version),
        ("seed", first.environment.seed, second.environment.seed),
        ("implementation", a.implementation, b.implementation),
        ("attack version", a.version, b.version),
        ("aim", a.aim, b.aim),
        *((key, a.params.get(key, ABSENT), b.params.get(key, ABSENT)) for key in sorted({*a.params, *b.params})),
    )


def unlike(first: CellResult, second: CellResult) -> str | None:
    """What makes two cells of one attack incomparable in a table, "bim: steps 40 against 10", or None."""
    found = [*question(first, second), *strength(first, second)]
    return f"{first.attack.name}: {found[0]}" if found else None


def differing(*pairs: tuple[str, object, object]) -> list[Difference]:
    """Of (name, one value, the other) those whose values differ."""
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


def refuse_unlike(cells: Sequence[CellResult]) -> None:
    """Raise `InputError` for cells that cannot stand in one table, and say what parts them."""
    firsts: dict[str, CellResult] = {}
    for cell in cells:
        first = firsts.setdefault(cell.attack.name, cell)
        difference = unlike(first, cell)
        if difference:
            raise InputError(
                f"{first.model.name} and {cell.model.name} cannot stand in one table: {difference}; run the older one again"
            )
    radii: dict[str, CellResult] = {}
    for cell in cells:
        first = radii.setdefault(cell.attack.norm, cell)
        if cell.attack.eps != first.attack.eps:
            one, other = (f"{each.attack.name} on {each.model.name} at ε = {each.attack.eps:g}" for each in (first, cell))
            raise InputError(f"{one} and {other} cannot stand in one table; run the older one again")
    versions = {cell.protocol.version for cell in cells}
    if len(versions) > 1:
        raise InputError(f"cells of protocol versions {sorted(versions)} cannot stand in one table; run the older ones again")
