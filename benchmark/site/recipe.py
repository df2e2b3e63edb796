"""What is known of how a model was made: its registry entry, its recipe and its training, as names and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from robustboard.benchmark.report.board import Board, Row
from robustboard.models.architectures import build_network
from robustboard.models.recipe import parse_recipe
from robustboard.models.registry import ModelCard


@dataclass(frozen=True)
class Making:
    """A model's entry, recipe and training as names and values, its network's layers, and a note where something of it is not
    known. Empty for a model that is not the registry's."""

    entry: Mapping[str, str]
    recipe: Mapping[str, str]
    training: Mapping[str, str]
    layers: str
    references: tuple[str, ...]
    note: str


def making(board: Board, row: Row, cards: Mapping[str, ModelCard]) -> Making:
    """What is known of the row's model. The registry speaks of its own weights alone."""
    block = row.any_cell().model
    entry = {
        "parameters": f"{block.parameters:,}",
        "head": block.head,
        "outputs": block.output,
        "source": block.source,
        "weights sha256": block.weights_sha256,
        **({"code sha256": block.code} if block.code else {}),
    }
    card = cards.get(f"{board.dataset}/{row.model}")
    if card is None or block.source != "registry":
        return Making(entry, {}, {}, "", (), "It is not a model of the registry: how it was trained is not recorded here.")
    if card.sha256 != block.weights_sha256:
        return Making(entry, {}, {}, "", (), "The registry now holds other weights under this name: its entry is not shown.")
    recipe = parse_recipe(card.recipe)
    entry |= {
        "checkpoint": card.checkpoint,
        "multiply-adds": f"{card.multiply_adds:,}",
        "clean accuracy, full test set": f"{card.clean_accuracy:.2%}",
        "trained by": card.command,
        "seed": f"{card.training.seed if card.training else recipe.seed}",
    }
    note = "" if card.training else "It was trained elsewhere: the registry has no settings of that."
    training = _flat(asdict(card.training)) if card.training else {}
    layers = str(build_network(card.dataset, recipe))
    return Making(entry, _flat(asdict(recipe)), training, layers, tuple(card.references), note)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Names and values of nested records: "augmentation: rotation" -> "8"."""
    found: dict[str, str] = {}
    for name, value in values.items():
        label = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{label}: ")
        else:
            found[label] = _text(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return " · ".join(map(str, value)) or "the data set's"
    return str(value)
