"""Adversarial examples from elsewhere: a file of images and the test examples they are meant for, judged like an attack's."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from robustboard.attacks.attack import Norm, Proposal
from robustboard.attacks.losses import Head
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.cells import PlannedAttack
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BoundAttack
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.protocols import Protocol

FILE_NORMS: tuple[Norm, ...] = ("linf", "l2")
"""A file's candidates are judged under both."""
FILE = "file"
"""Whose code a file's candidates are of, as far as a record can tell."""


@dataclass(frozen=True)
class Adversarials:
    """Candidates (n, C, H, W) float32 for the test examples at `indices` (n,), and the sha256 of the file they came in."""

    name: str
    sha256: str
    images: Tensor = field(repr=False)
    indices: Tensor = field(repr=False)


def read_adversarials(path: Path) -> Adversarials:
    """Read "images" and "indices" from a .npz or .safetensors file; nothing in either can run code.

    Raises `InputError` when the file is not there, is neither, or does not hold these two in agreement.
    """
    try:
        content = path.read_bytes()
        arrays = _safetensors(path) if path.suffix == ".safetensors" else _npz(path)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, SafetensorError) as trouble:
        raise InputError(
            f"--adversarials {path} does not read ({trouble}); a .npz or .safetensors file with images (n, C, H, W) and indices "
            "(n,) is wanted"
        ) from trouble
    images, indices = arrays["images"], arrays["indices"]
    if images.dim() != 4 or indices.shape != images.shape[:1] or not len(indices):
        raise InputError(f"--adversarials {path}: images {tuple(images.shape)} and indices {tuple(indices.shape)} do not agree")
    if indices.is_floating_point() or int(indices.min()) < 0 or len(indices.unique()) != len(indices):
        raise InputError(f"--adversarials {path}: indices must be whole, none negative, none twice")
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.stem)[:60]
    return Adversarials(name, hashlib.sha256(content).hexdigest(), images.float(), indices.long())


def plan_adversarials(given: Adversarials, norm: Norm, protocol: Protocol, data_set: Dataset) -> PlannedAttack:
    """The file as an attack under a norm, on those of the protocol's examples that it covers. A candidate beyond ε is not a
    broken rule but a distance. Raises `InputError` when shapes differ or no example of the protocol is covered."""
    if given.images.shape[1:] != data_set.images.shape[1:]:
        wanted, got = tuple(data_set.images.shape[1:]), tuple(given.images.shape[1:])
        raise InputError(f"--adversarials {given.name}: its images are {got}, those of {data_set.name} {wanted}")
    wanted_indices = protocol.examples(data_set.name, "adversarials", len(data_set.labels))
    covered = sorted(set(wanted_indices) & set(given.indices.tolist()), key=wanted_indices.index)
    if not covered:
        raise InputError(f"--adversarials {given.name} covers none of the examples of {protocol.name} on {data_set.name}")
    plan = protocol.plan(data_set.name)
    name = file_attack(given, norm)
    threat = Threat(norm, plan.linf if norm == "linf" else plan.l2, "minimum")
    parameters: dict[str, Any] = {"sha256": given.sha256}
    attack = _lookup(given, protocol.seed, name)

    def bind(head: Head) -> BoundAttack:
        return attack

    return PlannedAttack(name, 1, parameters, threat, covered, bind, implementation=FILE)


def file_attack(given: Adversarials, norm: Norm) -> str:
    """What the cell of a file under a norm is called."""
    return f"adversarials_{given.name}" + ("" if norm == "linf" else f"_{norm}")


def _lookup(given: Adversarials, seed: int, name: str) -> BoundAttack:
    """The attack that hands out the file's image for each example, which it knows by its key."""
    keys_of_file = make_keys(seed, given.indices, name).tolist()
    places = {key: place for place, key in enumerate(keys_of_file)}

    def attack(
        model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0
    ) -> Proposal:
        rows = torch.tensor([places[key] for key in keys.tolist()])
        return Proposal(given.images[rows].to(images), torch.zeros_like(labels))

    return attack


def _npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in ("images", "indices")}


def _safetensors(path: Path) -> dict[str, Tensor]:
    tensors = load_file(path)
    return {name: tensors[name] for name in ("images", "indices")}
