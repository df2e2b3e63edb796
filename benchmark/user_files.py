"""A function in a file of the user's own: imported so that what it imports is hers, called, and its answer looked at."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from torch import nn

from robustboard.benchmark.errors import InputError, ModelFaultError, first_line, suggest

_user_modules: dict[str, str] = {}
"""Modules that came from folders of users' files -> the folder."""


def call(path: Path, function: str) -> nn.Module:
    """Run the user's file as a module of its own and call her function. What either imports from her folder is hers.

    Where it stops at a torchvision that lacks its operators beside this torch, it is run once more with them declared.
    """
    try:
        return _called(path, function)
    except ModelFaultError as trouble:
        if "torchvision::nms" not in str(trouble):
            raise
        importlib.import_module("robustboard.torchvision_compatibility")
        return _called(path, function)


def _called(path: Path, function: str) -> nn.Module:
    folder = _make_room(path)
    before = set(sys.modules)
    try:
        return _built(_imported(path), path, function)
    finally:
        _user_modules.update(dict.fromkeys(_hers(set(sys.modules) - before, folder), str(folder)))


def _built(module: ModuleType, path: Path, function: str) -> nn.Module:
    build = getattr(module, function, None)
    if not callable(build):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelFaultError(f"--model: {path} has no function {function!r}{suggest(function, known)}")
    try:
        network = build()
    except (Exception, SystemExit) as trouble:
        raise ModelFaultError(f"{path}:{function} raised {type(trouble).__name__}: {first_line(trouble)}") from trouble
    if not isinstance(network, nn.Module):
        raise ModelFaultError(f"{path}:{function} returned {type(network).__name__}; an nn.Module is wanted")
    return network


def _make_room(path: Path) -> Path:
    """Her folder comes first on the import path and modules of another user's folder are forgotten, so that her own
    packages, whatever their names, are the ones found."""
    folder = path.resolve().parent
    for name in [name for name, home in _user_modules.items() if home != str(folder)]:
        del _user_modules[name]
        sys.modules.pop(name, None)
    sys.path[:] = [str(folder), *(place for place in sys.path if place != str(folder))]
    return folder


def _hers(names: Iterable[str], folder: Path) -> list[str]:
    """Those that came from her folder; neither this package, which may be checked out there, nor an environment's, nor her file
    itself."""
    files = {name: Path(getattr(sys.modules[name], "__file__", None) or "/") for name in names}
    return [
        name
        for name, file in files.items()
        if file.is_relative_to(folder) and "site-packages" not in file.parts and not name.startswith("robustboard")
    ]


def _imported(path: Path) -> ModuleType:
    name = f"robustboard_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--model: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as trouble:
        raise ModelFaultError(f"--model: {path} raised {type(trouble).__name__} on import: {first_line(trouble)}") from trouble
    return module


def code_of(path: Path) -> str:
    """A hash of the user's own modules that the file and its function imported; known once `call` has run."""
    folder = str(path.resolve().parent)
    files = sorted({sys.modules[name].__file__ or "" for name, home in _user_modules.items() if home == folder})
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes() if Path(file).is_file() else b"")
    return digest.hexdigest()
