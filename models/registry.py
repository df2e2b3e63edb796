"""The registry: one TOML entry a model, its weights beside it as safetensors, its hash checked at every load."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

import tomli_w
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robustboard.models.architectures import IMAGE_SHAPES, NETWORKS, build_network, fold_batch_norm, pool_before_logarithms
from robustboard.models.recipe import Head, parse_recipe
from robustboard.models.training.settings import TrainingSettings

HOME = Path(__file__).resolve().parent
"""The folder that holds registry/, checkpoints/ and curves/. Resolved, because an installed file may be a link."""
MAXIMUM_CHECKPOINT_BYTES = 4_000_000
HALF_MAY_COST = 0.001
"""The clean accuracy that a checkpoint in half precision may lose: a tenth of a point."""


class RegistryError(ValueError):
    """A registry entry or its checkpoint cannot be used: the message says which and why."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ModelCard:
    """One trained model. `clean_accuracy` is on the full test set, in float32, of the checkpoint as stored; `multiply_adds` are
    those of one image's way through its convolutions and linear maps, `training` what it was trained with, None for one that
    was trained elsewhere."""

    name: str
    dataset: str
    recipe: str
    checkpoint: str
    sha256: str
    parameters: int
    multiply_adds: int
    clean_accuracy: float
    command: str
    training: TrainingSettings | None = None
    tags: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    @property
    def head(self) -> Head:
        return parse_recipe(self.recipe).head

    @property
    def stem(self) -> str:
        """The name as a file name."""
        return self.name.replace("/", "-")


_CARD = TypeAdapter(ModelCard)


def read_cards(home: Path = HOME) -> dict[str, ModelCard]:
    """Every entry by name, in the order of names. Raises `RegistryError` naming the file that does not read."""
    cards = [_read_card(path) for path in sorted((home / "registry").glob("*.toml"))]
    return {card.name: card for card in sorted(cards, key=lambda card: card.name)}


def holds(name: str, home: Path = HOME) -> bool:
    """Whether there is an entry of this name, "mnist/relu", whatever stands in it."""
    return (home / "registry" / f"{name.replace('/', '-')}.toml").is_file()


def select_cards(patterns: Sequence[str], home: Path = HOME) -> list[ModelCard]:
    """The entries whose name, or whose name within its data set, matches one of the globs; each once, in order."""
    cards = read_cards(home).values()
    return [card for card in cards if any(_matches(card, pattern) for pattern in patterns)]


def load_model(name: str | ModelCard, home: Path = HOME, *, folded: bool = True) -> nn.Module:
    """The trained network of a registry entry, in evaluation mode, float32, on the CPU: images (N, C, H, W) in [0, 1] to
    logits (N, 10). `folded` merges batch normalisation into the layers before it: the same function, faster; without it the
    network can be trained on. Its `confidence_head`, "softmax" or "sigmoid", says how its logits become confidences; `evaluate`
    heeds it. Raises `RegistryError` for an unknown name, for an entry that has no network, and for a checkpoint
    that is missing, damaged, or of another hash than its entry's."""
    card = name if isinstance(name, ModelCard) else _card_named(name, home)
    return _network_of(card, _read_checkpoint(home / "checkpoints" / card.checkpoint, card), folded=folded)


def _network_of(card: ModelCard, tensors: dict[str, Tensor], *, folded: bool) -> nn.Module:
    try:
        network = build_network(card.dataset, parse_recipe(card.recipe))
    except ValueError as trouble:
        raise RegistryError(f"{card.name}: no network can be made of its entry: {_one_line(trouble)}") from trouble
    try:
        network.load_state_dict(
            {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
        )
    except RuntimeError as trouble:
        raise RegistryError(
            f"{card.name}: checkpoint {card.checkpoint} does not fit recipe {card.recipe!r}: {_one_line(trouble)}"
        ) from trouble
    network.eval()
    network = pool_before_logarithms(fold_batch_norm(network)).eval() if folded else network
    network.confidence_head = card.head  # type: ignore[assignment]
    return network


def save_checkpoint(tensors: dict[str, Tensor], path: Path) -> str:
    """Write the weights and return the file's sha256; a file that is there stays whole until the new one is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    save_file(tensors, unfinished)
    unfinished.replace(path)
    return file_sha256(path)


def compact(network: nn.Module, name: str, *, whole: bool = False) -> dict[str, Tensor]:
    """A network's weights as a checkpoint holds them: matrices in half precision, unless they are to stay `whole`.

    Raises `RegistryError`, with the `name` of the network, when they would take over 4 MB.
    """
    tensors = {key: _compact(tensor, whole=whole) for key, tensor in network.state_dict().items()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > MAXIMUM_CHECKPOINT_BYTES:
        why = ", since in half precision it loses accuracy" if whole else ""
        raise RegistryError(
            f"{name} would take {size / 1e6:.1f} MB{why}; a registry checkpoint may take 4 MB: narrow the network"
        )
    return tensors


def write_card(card: ModelCard, home: Path = HOME) -> Path:
    """Write the entry as TOML and return where."""
    path = home / "registry" / f"{card.stem}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(
        tomli_w.dumps({key: value for key, value in asdict(card).items() if value is not None}), encoding="utf-8"
    )
    unfinished.replace(path)
    return path


def stored(
    network: nn.Module,
    name: str,
    command: str,
    measure: Callable[[nn.Module], float],
    home: Path = HOME,
    *,
    above: float = 0.0,
    **about: Any,
) -> ModelCard:
    """Write the checkpoint of a network in float32, in evaluation mode, named "mnist/relu"; the card it is to have, `about` its
    further fields, with the clean accuracy that `measure` finds of what is stored. Matrices are stored in half precision, or
    as they are where that costs more than 0.1 points. Raises `RegistryError` when the file would be over 4 MB, and when the
    accuracy is not `above`; what was there of that name is then untouched."""
    dataset, recipe = name.split("/", 1)
    card = ModelCard(
        name=name,
        dataset=dataset,
        recipe=recipe,
        checkpoint=f"{name.replace('/', '-')}.safetensors",
        sha256="",
        parameters=count_parameters(network),
        multiply_adds=count_multiply_adds(network, IMAGE_SHAPES[dataset]),
        clean_accuracy=0.0,
        command=command,
        **about,
    )
    tensors = compact(network, name)
    accuracy = measure(_network_of(card, tensors, folded=True))
    if accuracy < measure(network) - HALF_MAY_COST:
        tensors = compact(network, name, whole=True)
        accuracy = measure(_network_of(card, tensors, folded=True))
    if accuracy <= above:
        raise RegistryError(
            f"{name}: clean accuracy is {accuracy:.1%} on the test set, little better than chance: it goes into no registry"
        )
    sha256 = save_checkpoint(tensors, home / "checkpoints" / card.checkpoint)
    return replace(card, sha256=sha256, clean_accuracy=round(accuracy, 5))


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(network: nn.Module) -> str:
    """A hash of a network in memory: the names, dtypes, shapes and bytes of its parameters and buffers."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Multiplications, each with its addition, of one image's way through convolutions and linear maps."""
    was_training = network.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, *image_shape))
    network.train(was_training)
    return int(counter.get_total_flops()) // 2


def _compact(tensor: Tensor, *, whole: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if not whole and tensor.is_floating_point() and tensor.dim() > 1 else tensor


def _matches(card: ModelCard, pattern: str) -> bool:
    return fnmatch.fnmatchcase(card.name, pattern) or fnmatch.fnmatchcase(card.name.split("/", 1)[1], pattern)


def _card_named(name: str, home: Path) -> ModelCard:
    cards = read_cards(home)
    if name not in cards:
        near = difflib.get_close_matches(name, cards, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`robustboard models` lists the registry"
        raise RegistryError(f"there is no model {name!r}; {hint}")
    return cards[name]


def _read_card(path: Path) -> ModelCard:
    try:
        fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        card = _CARD.validate_python(fields)
        parse_recipe(card.recipe)
        if card.dataset not in NETWORKS:
            raise ValueError(f"dataset: {card.dataset!r} is none of {', '.join(NETWORKS)}")
    except (ValidationError, ValueError) as trouble:
        raise RegistryError(f"registry entry {path.name} does not read: {_one_line(trouble)}") from trouble
    if card.name != f"{card.dataset}/{card.recipe}":
        raise RegistryError(f"registry entry {path.name}: {card.name!r} is not its {card.dataset}/{card.recipe}")
    if path.stem != card.stem:
        raise RegistryError(f"registry entry {path.name} names the model {card.name!r}: call the file {card.stem}.toml")
    return card


def _one_line(trouble: Exception) -> str:
    if isinstance(trouble, ValidationError):
        first = trouble.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(trouble).split())[:200]


def _read_checkpoint(path: Path, card: ModelCard) -> dict[str, Tensor]:
    if not path.is_file():
        raise RegistryError(f"{card.name}: checkpoint {path} is missing; make it with: {card.command}")
    found = file_sha256(path)
    if found != card.sha256:
        raise RegistryError(f"{card.name}: checkpoint {path.name} has sha256 {found[:12]}…, its entry says {card.sha256[:12]}…")
    try:
        return load_file(path)
    except SafetensorError as trouble:
        raise RegistryError(f"{card.name}: checkpoint {path.name} is no safetensors file: {trouble}") from trouble
