"""What files are called: whatever a model is named, its page has a harmless name of its own."""

from __future__ import annotations

from collections.abc import Iterable

from robustboard.benchmark.plots.picture import file_name


def slugs(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Name -> a part of a path and of an address, of letters, digits and "_.@+-" alone. No two are alike, nor like one of
    `taken`, where a file system takes capitals for small letters either."""
    found: dict[str, str] = {}
    used = {word.casefold() for word in taken}
    for name in sorted(set(names)):
        slug, number = file_name(name), 2
        while slug.casefold() in used:
            slug, number = f"{file_name(name)}-{number}", number + 1
        used.add(slug.casefold())
        found[name] = slug
    return found
