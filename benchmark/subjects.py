"""What a run attacks: registry entries, a function in a file of the user's own, a network from elsewhere. Built when needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from robustboard.benchmark import elsewhere
from robustboard.benchmark.errors import InputError, ModelFaultError, suggest
from robustboard.benchmark.user_files import call, code_of
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


FORMS = "FILE.py:FUNCTION, torchvision:NAME@CHECKPOINT, robustbench:DATASET/THREAT/NAME or hub:OWNER/NAME"


def user_subject(reference: str, dataset: str, head: Head) -> Subject:
    """The model that a reference names (see `FORMS`), for a data set. Raises `InputError` when the file, the function or the
    package is not there."""
    kind, _, rest = reference.partition(":")
    if kind in _ELSEWHERE:
        return _ELSEWHERE[kind](reference, rest, dataset, head)
    file, colon, function = reference.rpartition(":")
    path = Path(file)
    if not colon or not function:
        named = "; a model of the registry is named by --models" if registry.holds(reference) else ""
        raise InputError(f"--model {reference!r} does not read: write {FORMS}{named}")
    if not path.is_file():
        raise InputError(f"--model {reference!r}: there is no file {file!r}")
    return Subject(
        name=f"{_qualified_stem(path)}.{function}",
        dataset=dataset,
        source=f"{path.name}:{function} (sha256 {registry.file_sha256(path)})",
        head=head,
        build=lambda: call(path, function),
        code=lambda: code_of(path),
    )


def _qualified_stem(path: Path) -> str:
    """What tells a file from one of the same name elsewhere: "exp1.model" for exp1/model.py, "model" in the working folder."""
    folder = path.resolve().parent
    return path.stem if folder == Path.cwd() else f"{folder.name}.{path.stem}"


def _from_robustbench(reference: str, rest: str, dataset: str, head: Head) -> Subject:
    parts = rest.split("/")
    if len(parts) != 3 or not all(parts):
        raise InputError(f"--model {reference!r} does not read: write robustbench:DATASET/THREAT/NAME")
    their_dataset, threat, name = parts
    if their_dataset != dataset:
        raise InputError(
            f"--model {reference!r} is a {their_dataset} model, the run is on {dataset}: give --dataset {their_dataset}"
        )
    elsewhere.require("robustbench", reference, "robustbench")
    build = partial(elsewhere.robustbench_network, their_dataset, threat, name)
    return Subject(f"robustbench.{threat}.{name}", dataset, reference, head, build)


def _from_torchvision(reference: str, rest: str, dataset: str, head: Head) -> Subject:
    name, _, file = rest.partition("@")
    if not name or not file:
        raise InputError(f"--model {reference!r} does not read: write torchvision:NAME@CHECKPOINT")
    elsewhere.torchvision_models(name)
    if not Path(file).is_file():
        raise InputError(f"--model {reference!r}: there is no checkpoint {file!r}")
    source = f"torchvision:{name}@{Path(file).name} (sha256 {registry.file_sha256(Path(file))})"
    build = partial(elsewhere.torchvision_network, rest)
    return Subject(f"torchvision.{name}.{_qualified_stem(Path(file))}", dataset, source, head, build)


def _from_hub(reference: str, rest: str, dataset: str, head: Head) -> Subject:
    owner, slash, name = rest.partition("@")[0].partition("/")
    if not owner or not slash or not name or "/" in name:
        raise InputError(f"--model {reference!r} does not read: write hub:OWNER/NAME, or hub:OWNER/NAME@REVISION")
    elsewhere.require("huggingface_hub", reference, "hub")
    return Subject(f"hub.{owner}.{name}", dataset, reference, head, partial(elsewhere.hub_network, rest, dataset, head))


_ELSEWHERE = {"robustbench": _from_robustbench, "torchvision": _from_torchvision, "hub": _from_hub}


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
