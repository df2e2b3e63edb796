"""What a run attacks: registry entries, a function in a file of the user's own, a RobustBench model. Built when needed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import nn

from robustboard.benchmark.datasets import cache_directory
from robustboard.benchmark.environment import version_of
from robustboard.benchmark.errors import InputError, ModelFaultError, suggest
from robustboard.benchmark.judge import first_line
from robustboard.models import registry
from robustboard.models.recipe import Head
from robustboard.models.registry import ModelCard, RegistryError


@dataclass(frozen=True)
class Subject:
    """A model to attack: its name within its data set, where it comes from, and how to build it.

    `weights_sha256` is "" and `parameters` 0 where they are known only once the model is built. `code`, asked after
    building, is a hash of the user's own modules that the file imported: other code, another model.
    """

    name: str
    dataset: str
    source: str
    head: Head
    build: Callable[[], nn.Module]
    weights_sha256: str = ""
    parameters: int = 0
    code: Callable[[], str] = lambda: ""
    expected_clean_accuracy: float | None = None


def registry_subjects(patterns: Sequence[str], datasets: Sequence[str], home: Path = registry.HOME) -> list[Subject]:
    """The registry entries of `datasets` that match a glob (over "mnist/relu" or "relu") or a "tag:T".

    Raises `InputError`, with the nearest name, for a pattern that matches nothing in the whole registry.
    """
    try:
        cards = registry.read_cards(home)
    except RegistryError as trouble:
        raise InputError(str(trouble)) from trouble
    chosen: dict[str, ModelCard] = {}
    for pattern in patterns:
        if pattern.startswith("tag:"):
            found = [card for card in cards.values() if pattern.removeprefix("tag:") in card.tags]
        else:
            found = registry.select_cards([pattern], home)
        if not found:
            names = [*cards, *(card.name.split("/", 1)[1] for card in cards.values())]
            raise InputError(f"there is no model {pattern!r}{suggest(pattern, names)}; see: robustboard models")
        chosen.update((card.name, card) for card in found)
    return [_from_card(card, home) for card in chosen.values() if card.dataset in datasets]


def user_subject(reference: str, dataset: str, head: Head) -> Subject:
    """The model that `FILE.py:FUNCTION` or `robustbench:DATASET/THREAT/NAME` names, for a data set.

    Raises `InputError` when the file, the function or the package is not there.
    """
    if reference.startswith("robustbench:"):
        return _from_robustbench(reference, dataset, head)
    file, colon, function = reference.rpartition(":")
    path = Path(file)
    if not colon or not function:
        raise InputError(f"--model {reference!r} does not read: write FILE.py:FUNCTION or robustbench:DATASET/THREAT/NAME")
    if not path.is_file():
        raise InputError(f"--model {reference!r}: there is no file {file!r}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Subject(
        name=f"{path.stem}.{function}",
        dataset=dataset,
        source=f"{path.name}:{function} (sha256 {digest})",
        head=head,
        build=lambda: _call(path, function),
        code=lambda: _code_of(path),
    )


def _from_card(card: ModelCard, home: Path) -> Subject:
    def build() -> nn.Module:
        try:
            return registry.load_model(card, home)
        except RegistryError as trouble:
            raise ModelFaultError(str(trouble)) from trouble

    return Subject(
        name=card.name.split("/", 1)[1],
        dataset=card.dataset,
        source="registry",
        head=card.head,
        build=build,
        weights_sha256=card.sha256,
        parameters=card.parameters,
        expected_clean_accuracy=card.clean_accuracy,
    )


_user_modules: dict[str, str] = {}
"""Modules that came from folders of users' files -> the folder."""


def _call(path: Path, function: str) -> nn.Module:
    """Run the user's file as a module of its own and call her function."""
    module = _import_file(path)
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


def _import_file(path: Path) -> ModuleType:
    """Her folder comes first on the import path and modules of another user's folder are forgotten, so that her own
    packages, whatever their names, are the ones found."""
    folder = str(path.resolve().parent)
    for name in [name for name, home in _user_modules.items() if home != folder]:
        del _user_modules[name]
        sys.modules.pop(name, None)
    sys.path[:] = [folder, *(place for place in sys.path if place != folder)]
    name = f"robustboard_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--model: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as trouble:
        raise ModelFaultError(f"--model: {path} raised {type(trouble).__name__} on import: {first_line(trouble)}") from trouble
    finally:
        loaded = {name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}
        hers = [name for name, file in loaded.items() if file.startswith(folder) and "site-packages" not in file]
        _user_modules.update(dict.fromkeys(hers, folder))
    return module


def _code_of(path: Path) -> str:
    folder = str(path.resolve().parent)
    files = sorted({sys.modules[name].__file__ or "" for name, home in _user_modules.items() if home == folder})
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes() if Path(file).is_file() else b"")
    return digest.hexdigest()


def _from_robustbench(reference: str, dataset: str, head: Head) -> Subject:
    parts = reference.removeprefix("robustbench:").split("/")
    if len(parts) != 3 or not all(parts):
        raise InputError(f"--model {reference!r} does not read: write robustbench:DATASET/THREAT/NAME")
    their_dataset, threat, name = parts
    if their_dataset != dataset:
        raise InputError(
            f"--model {reference!r} is a {their_dataset} model, the run is on {dataset}: give --dataset {their_dataset}"
        )
    # torchattacks carries a stump of that package along: only the installed distribution counts.
    if version_of("robustbench") == "absent":
        raise InputError(f"--model {reference!r} needs the robustbench package: pip install 'robustboard[robustbench]'")
    return Subject(
        name=f"robustbench.{threat}.{name}",
        dataset=dataset,
        source=reference,
        head=head,
        build=lambda: _robustbench_model(their_dataset, threat, name),
    )


def _robustbench_model(dataset: str, threat: str, name: str) -> nn.Module:
    folder = cache_directory().parent / "robustbench"
    try:
        network = _import_robustbench().load_model(model_name=name, model_dir=str(folder), dataset=dataset, threat_model=threat)
    except Exception as trouble:
        raise ModelFaultError(
            f"robustbench could not load {dataset}/{threat}/{name} ({type(trouble).__name__}: {first_line(trouble)}); "
            f"it downloads its checkpoints: try where there is a network, or put the file into {folder}/{dataset}/{threat}/"
        ) from trouble
    if not isinstance(network, nn.Module):
        raise ModelFaultError(f"robustbench returned {type(network).__name__} for {name}; an nn.Module is wanted")
    return network


def _import_robustbench() -> ModuleType:
    importlib.import_module("robustboard.torchvision_compatibility")
    # robustbench 1.1.1 imports `autoattack`; what its requirements install is the same code under the name `pyautoattack`.
    if importlib.util.find_spec("autoattack") is None:
        for part in ("", ".state"):
            sys.modules[f"autoattack{part}"] = importlib.import_module(f"pyautoattack{part}")
    return importlib.import_module("robustbench.utils")
