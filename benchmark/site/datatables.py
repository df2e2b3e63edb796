"""DataTables for plain pages: the bundle that itables brings is a module, which no browser loads from the file system."""

from __future__ import annotations

import re
from importlib import metadata, resources

from robustboard.benchmark.errors import InputError

_EXPORT = re.compile(r"export\s*\{([^{}]*)\};?")
_DEFAULT = re.compile(r"([\w$]+) as default")


def script() -> str:
    """The bundle as a script that any page can load; it sets `DataTable`. Raises `InputError` where it is not what it was."""
    return as_script((resources.files("itables") / "html" / "dt_bundle.js").read_text(encoding="utf-8"))


def as_script(module: str) -> str:
    """An ES module whose one export statement names a default, as a script that sets `DataTable` to it. The module's own
    comments, licences among them, stay."""
    exports = _EXPORT.findall(module)
    default = _DEFAULT.search(exports[0]) if len(exports) == 1 else None
    if default is None:
        raise InputError("the DataTables bundle of itables has no default export that can be found: install the itables pinned")
    body = _EXPORT.sub(lambda _: f"globalThis.DataTable={default[1]};", module)
    return f'(() => {{"use strict";\n{body}\n}})();\n'


def licence() -> str:
    """The licence of the package that the bundle is from; those of its parts stand in the bundle itself."""
    found = metadata.distribution("itables")
    texts = [file for file in found.files or [] if file.name.upper().startswith("LICENSE")]
    text = texts[0].read_text() if texts else ""
    return f"datatables.js is from itables {found.version}, the licences of its parts stand at its end.\n\n{text}"
