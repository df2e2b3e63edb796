"""`robustboard add`: a checkpoint of a known recipe becomes a registry entry, once it has been looked at."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import logits_and_gradient
from robustboard.attacks.losses import margin
from robustboard.benchmark.datasets import CLASSES, Dataset, load_dataset
from robustboard.benchmark.diagnose.behaviour import FEW, SLACK, change_when_alone, change_when_repeated
from robustboard.benchmark.elsewhere import filled
from robustboard.benchmark.errors import InputError, ModelFaultError
from robustboard.benchmark.judge import ask, look_clean, prepared
from robustboard.benchmark.statistics import is_chance
from robustboard.benchmark.training import accuracy, parse_name, untrained
from robustboard.models import registry
from robustboard.models.registry import ModelCard

LOOKED_AT = 1000
"""How many test images the checks look at; the clean accuracy is on all."""
SCALES = {"times 255": (0.0, 1 / 255), "as (x - 0.5) / 0.5": (0.5, 0.5), "as (x - 0.1307) / 0.3081": (0.1307, 0.3081)}
"""What images are often made into before a network sees them: mean and deviation."""
BETTER = 0.05
"""By how much a network has to be better on such images to be one that was trained on them."""


def add_model(
    name: str, checkpoint: Path, *, data: Path | None, home: Path, tags: Sequence[str] = (), sha256: str | None = None
) -> ModelCard:
    """Write checkpoint and entry of `name` ("mnist/relog") under `home`, the weights taken from a .safetensors or .pth file,
    which is to have the hash `sha256` where that is known.

    Raises `InputError` for a name that is taken or that no network can have, and for a file of another hash, and
    `ModelFaultError` where the weights do not fit, answer no better than chance, answer differently a second time or beside
    other images, have no gradient anywhere, or want images in another range than [0, 1].
    """
    dataset, recipe = parse_name(name)
    if name in registry.read_cards(home):
        raise InputError(f"the registry has a {name!r} already: give a seed of its own (…-seed_1), or remove the entry")
    if sha256 is not None and checkpoint.is_file() and (found := registry.file_sha256(checkpoint)) != sha256.lower():
        raise InputError(f"{checkpoint.name} has sha256 {found}, not {sha256}: it is another file, or was damaged on its way")
    test = load_dataset(dataset, "test", data)
    network = filled(untrained(name), checkpoint)
    with prepared(network, torch.device("cpu")) as ready:
        clean = look_clean(ready, test.images, test.labels, recipe.head)
        if clean.output != "logits":
            raise ModelFaultError(f"{name} answers with {clean.output}: logits are wanted")
        check(name, ready, test.select(range(min(LOOKED_AT, len(test.labels)))))
    command = f"robustboard add {shlex.quote(name)} --from {shlex.quote(checkpoint.name)}"

    # As they are the weights do well; in half precision they may overflow, and are then stored whole.
    card = registry.stored(
        network, name, command, lambda found: accuracy(found.eval(), test.images, test.labels), home, tags=list(tags)
    )
    registry.write_card(card, home)
    return card


def doubt(card: ModelCard) -> str:
    """A sentence where the entry is right less often than every other of its data set: weights can fit a recipe that is not
    theirs. "" where it is not."""
    others = [other for other in registry.read_cards().values() if other.dataset == card.dataset and other.name != card.name]
    least = min(others, key=lambda other: other.clean_accuracy, default=None)
    if least is None or card.clean_accuracy >= least.clean_accuracy:
        return ""
    return (
        f"{card.clean_accuracy:.2%} is less than any of the {len(others)} others of {card.dataset} has ({least.name}: "
        f"{least.clean_accuracy:.2%}): are the weights those of a {card.recipe}?"
    )


def check(name: str, network: nn.Module, examples: Dataset) -> None:
    """Raise `ModelFaultError` for the first thing that would make every number about the network doubtful."""
    images, labels = examples.images, examples.labels
    answers = ask(network, images)
    right = _right(answers, labels)
    for words, (mean, deviation) in SCALES.items():
        changed = _right(ask(network, (images - mean) / deviation), labels)
        if changed > right + BETTER * len(labels):
            raise ModelFaultError(
                f"{name} is right on {right} of {len(labels)} images in [0, 1] and on {changed} {words}: "
                "it was trained on those; put the normalisation into its first layer, or attack it by FILE.py:FUNCTION"
            )
    if is_chance(right, len(labels), CLASSES):
        raise ModelFaultError(f"{name} is right on {right} of {len(labels)} images, no better than chance")
    if change_when_repeated(network, images, passes=2) > 0:
        raise ModelFaultError(f"{name} answers the same images differently a second time: it cannot be attacked repeatably")
    if change_when_alone(network, images[:FEW]) > SLACK * float(answers.abs().max()):
        raise ModelFaultError(f"{name} answers an image differently beside other images: is a layer in training mode?")
    _, _, gradient = logits_and_gradient(network, images[:100], lambda logits: margin(logits, labels[:100]))
    if not bool(gradient.flatten(1).any()):
        raise ModelFaultError(f"the gradient of {name} is 0 on every image: attacks that climb it would find nothing")


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((margin(logits, labels) < 0).sum())
