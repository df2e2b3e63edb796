"""Writing the site's folder: whole, nothing of an older site left in it, and nothing that is not a site's touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.results import write_atomically

LIST = "site.json"
"""Names every file that the site is made of."""


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, by their paths in `folder`, and remove those that an older site left there.

    Raises `InputError` for a folder that holds anything but a site.
    """
    old = _old(folder)
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    write_atomically(folder / LIST, json.dumps(sorted(files), indent=1) + "\n")
    for name in sorted(set(old) - set(files)):
        (folder / name).unlink(missing_ok=True)
        _remove_empty((folder / name).parent, folder)


def check_folder(folder: Path) -> None:
    """Raise `InputError` for a folder that holds anything but a site."""
    _old(folder)


def _old(folder: Path) -> list[str]:
    """The files of the site that is there, none where there is none."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    try:
        names = json.loads((folder / LIST).read_text(encoding="utf-8"))
        if not isinstance(names, list) or not all(isinstance(name, str) and _is_inside(name) for name in names):
            raise ValueError(f"{LIST} is no list of files")
    except (OSError, ValueError) as trouble:
        raise InputError(f"{folder} is no site of this program and is left alone: choose an empty folder with --out") from trouble
    return names


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
