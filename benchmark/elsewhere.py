"""Networks from elsewhere: RobustBench, torchvision, the Hugging Face Hub. Built from what those packages and a checkpoint say.

Each takes a reference's own part ("cifar10/Linf/Standard", "resnet18@weights.safetensors", "owner/name@revision") and returns
a network for [0, 1] images (N, C, H, W), or raises `ModelFaultError` with the package's reason and the way out.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from robustboard.attacks.losses import Head
from robustboard.benchmark.datasets import cache_directory
from robustboard.benchmark.environment import version_of
from robustboard.benchmark.errors import InputError, ModelFaultError, first_line, suggest
from robustboard.models.architectures import build_network
from robustboard.models.recipe import RecipeError, parse_recipe

CLASSES = 10
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under which names training scripts keep the weights beside an optimiser's."""


def require(distribution: str, reference: str, extra: str) -> None:
    """Raise `InputError` unless a package that is an extra of this one is installed."""
    # torchattacks carries a stump of robustbench along: only the installed distribution counts.
    if version_of(distribution) == "absent":
        raise InputError(f"--model {reference!r} needs the package {distribution}: pip install -e '.[{extra}]' in the checkout")


class Normalised(nn.Module):
    """A network behind the normalisation it was trained with: (x − mean) / std, channel by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


class ThreeChannels(nn.Module):
    """A network for coloured images, shown grey ones as the same in red, green and blue."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return logits


def robustbench_network(dataset: str, threat: str, name: str) -> nn.Module:
    """RobustBench's `load_model`, its checkpoints kept in the cache of this program."""
    folder = cache_directory().parent / "robustbench"
    utils = import_robustbench()
    known = _named_by_robustbench(utils, dataset, threat)
    if known and name not in known:
        raise InputError(f"robustbench has no {threat} model {name!r} of {dataset}{suggest(name, known)}")
    try:
        network = utils.load_model(model_name=name, model_dir=str(folder), dataset=dataset, threat_model=threat)
    except Exception as trouble:
        raise ModelFaultError(
            f"robustbench could not load {dataset}/{threat}/{name} ({type(trouble).__name__}: {first_line(trouble)}); "
            f"it downloads its checkpoints: try where there is a network, or put the file into {folder}/{dataset}/{threat}/"
        ) from trouble
    if not isinstance(network, nn.Module):
        raise ModelFaultError(f"robustbench returned {type(network).__name__} for {name}; an nn.Module is wanted")
    return network


def _named_by_robustbench(utils: ModuleType, dataset: str, threat: str) -> list[str]:
    """The models of its zoo; none where it does not say."""
    threats = {key.value: models for key, models in utils.all_models.items()}.get(dataset, {})
    return list({key.value: models for key, models in threats.items()}.get(threat, {}))


def import_robustbench() -> ModuleType:
    """robustbench.utils, imported with the help that it needs."""
    importlib.import_module("robustboard.torchvision_compatibility")
    # robustbench 1.1.1 imports `autoattack`; what its requirements install is the same code under the name `pyautoattack`.
    if importlib.util.find_spec("autoattack") is None:
        for part in ("", ".state"):
            sys.modules[f"autoattack{part}"] = importlib.import_module(f"pyautoattack{part}")
    return importlib.import_module("robustbench.utils")


def torchvision_network(reference: str) -> nn.Module:
    """`NAME@FILE`: torchvision's network NAME with ten classes and the weights of a .safetensors or .pth file. It takes the
    images as they are, grey ones in three channels alike."""
    name, _, file = reference.partition("@")
    if not name or not file:
        raise InputError(f"--model 'torchvision:{reference}' does not read: write torchvision:NAME@CHECKPOINT")
    return ThreeChannels(filled(_torchvision_skeleton(name), Path(file)))


def torchvision_models(name: str) -> ModuleType:
    """torchvision.models. Raises `InputError`, with the nearest name, where it has no classifier `name`."""
    importlib.import_module("robustboard.torchvision_compatibility")
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"torchvision has no classifier {name!r}{suggest(name, known)}")
    return models


def _torchvision_skeleton(name: str) -> nn.Module:
    network: nn.Module = torchvision_models(name).get_model(name, weights=None, num_classes=CLASSES)
    return network


def filled(network: nn.Module, path: Path) -> nn.Module:
    """The network with the weights of a .safetensors or .pth file, which may hold nothing but tensors. Raises
    `ModelFaultError` where there is none, or it does not read or fit."""
    if not path.is_file():
        raise ModelFaultError(f"there is no checkpoint {path}")
    try:
        held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as trouble:
        raise ModelFaultError(
            f"checkpoint {path} holds more than tensors, or is damaged: save network.state_dict() instead of the network"
        ) from trouble
    except Exception as trouble:  # damaged bytes can make the reader raise anything
        raise ModelFaultError(f"checkpoint {path} does not read ({type(trouble).__name__}): {first_line(trouble)}") from trouble
    try:
        network.load_state_dict(_weights(held))
    except (RuntimeError, TypeError, ValueError, AttributeError) as trouble:
        raise ModelFaultError(f"checkpoint {path} does not fit {type(network).__name__}: {first_line(trouble)}") from trouble
    return network


def _weights(held: Any) -> Any:
    """The weights by name, out of the dictionary that training scripts put around them, without the `module.` of DataParallel."""
    for key in WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if isinstance(held, dict) and held and all(str(key).startswith("module.") for key in held):
        return {str(key).removeprefix("module."): tensor for key, tensor in held.items()}
    return held


class HubConfig(BaseModel):
    """`config.json` of a Hub repository: a `recipe` of this project for a `dataset`, or a network of `torchvision`; and what
    its images are normalised by, if they are."""

    model_config = ConfigDict(extra="ignore")
    dataset: str
    recipe: str = ""
    torchvision: str = ""
    mean: list[float] = []
    std: list[float] = []


_HUB_CONFIG, _HUB_WEIGHTS = "config.json", "model.safetensors"
_HUB_PATIENCE_S = 10.0


def hub_network(reference: str, dataset: str, head: Head) -> nn.Module:
    """`OWNER/NAME[@REVISION]`: a repository with `config.json` (see `HubConfig`) and `model.safetensors`. Raises `InputError` for
    another data set and another head than the run's."""
    repository, _, revision = reference.partition("@")
    files = _hub_files(repository, revision or None)
    config = _hub_config(files[_HUB_CONFIG], repository)
    if config.dataset != dataset:
        raise InputError(f"{repository} is a {config.dataset} model, the run is on {dataset}: give --dataset {config.dataset}")
    network = filled(_hub_skeleton(config, repository), files[_HUB_WEIGHTS])
    if config.recipe and (wanted := parse_recipe(config.recipe).head) != head:
        raise InputError(
            f"{repository} has the recipe {config.recipe} with a {wanted} head, the run takes it for {head}: give --head {wanted}"
        )
    seen = Normalised(network, config.mean, config.std) if config.mean else network
    return ThreeChannels(seen) if config.torchvision else seen


def _hub_files(repository: str, revision: str | None) -> dict[str, Path]:
    """Both files of a repository, of one commit; those downloaded before where the Hub does not answer. It is asked once, since
    a download of every file would repeat itself for half a minute."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it would print the whole reason of every attempt that it repeats
    hub = importlib.import_module("huggingface_hub")
    silent: Exception | None = None
    try:
        hub.HfApi().model_info(repository, revision=revision, timeout=_HUB_PATIENCE_S)
    except Exception as trouble:
        silent = trouble
    files = {}
    for file in (_HUB_CONFIG, _HUB_WEIGHTS):
        try:
            files[file] = Path(hub.hf_hub_download(repository, file, revision=revision, local_files_only=silent is not None))
        except Exception as trouble:
            reason = silent or trouble
            raise ModelFaultError(
                f"the Hub did not give {file} of {repository} ({type(reason).__name__}: {first_line(reason)}): "
                "try where there is a network; what was downloaded once is found without"
            ) from trouble
    if len({path.parent for path in files.values()}) > 1:
        raise ModelFaultError(f"{repository} changed on the Hub between its two files: run again")
    return files


def _hub_config(path: Path, repository: str) -> HubConfig:
    try:
        config = HubConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as trouble:
        raise ModelFaultError(f"config.json of {repository} does not read: {first_line(trouble)}") from trouble
    if bool(config.recipe) == bool(config.torchvision):
        raise ModelFaultError(f"config.json of {repository} must name either a recipe or a torchvision network")
    if len(config.mean) != len(config.std) or (config.mean and len(config.mean) not in (1, 3)):
        raise ModelFaultError(f"config.json of {repository}: mean and std need one number, or one a channel")
    return config


def _hub_skeleton(config: HubConfig, repository: str) -> nn.Module:
    if config.torchvision:
        return _torchvision_skeleton(config.torchvision)
    try:
        return build_network(config.dataset, parse_recipe(config.recipe))
    except (RecipeError, KeyError) as trouble:
        raise ModelFaultError(f"config.json of {repository}: {trouble}") from trouble
