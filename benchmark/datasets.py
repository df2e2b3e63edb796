"""Digits, MNIST and CIFAR-10 as float32 images in [0, 1] (N, C, H, W), and where each is looked for.

The order: an explicit folder (then nowhere else), `$ROBUSTBOARD_DATA`, the cache folder, a download into it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import platformdirs
import torch
from torch import Tensor

from robustboard.benchmark import cifar10
from robustboard.benchmark.errors import DataNotFoundError, InputError, suggest

Split = Literal["train", "test"]

DATASETS = ("digits", "mnist", "cifar10")
CLASSES = 10
DIGITS_TEST_SIZE = 1000
DOWNLOAD_TIMEOUT_S = 10
_TITLES = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}
_HOSTS = {"mnist": "ossci-datasets.s3.amazonaws.com", "cifar10": "www.cs.toronto.edu"}
_FOLDERS = {
    "mnist": "MNIST/raw/t10k-images-idx3-ubyte and its fellows",
    "cifar10": "cifar-10-batches-py/test_batch and its fellows",
}


@dataclass(frozen=True)
class Dataset:
    """One split in memory: images (N, C, H, W) float32 in [0, 1], labels (N,) int64, what is unusual about its source."""

    name: str
    split: Split
    images: Tensor
    labels: Tensor
    note: str = ""

    def select(self, indices: Sequence[int]) -> Dataset:
        """The examples at `indices`, in that order."""
        rows = torch.as_tensor(list(indices), dtype=torch.long)
        return Dataset(self.name, self.split, self.images[rows], self.labels[rows], self.note)

    def fingerprint(self) -> str:
        """A sha256 over the pixels (as bytes 0 to 255 where they are such) and labels, in order."""
        digest = hashlib.sha256()
        digest.update(str(tuple(self.images.shape)).encode())
        digest.update(np.ascontiguousarray(self.images.numpy()).tobytes())
        digest.update(np.ascontiguousarray(self.labels.numpy()).tobytes())
        return digest.hexdigest()


def title(name: str) -> str:
    """The name of a data set as people write it."""
    return _TITLES.get(name, name)


def check_dataset_name(name: str) -> str:
    """`name`, if there is such a data set. Raises `InputError` with the nearest one otherwise."""
    if name not in DATASETS:
        raise InputError(f"there is no data set {name!r}{suggest(name, DATASETS)}; the data sets are {', '.join(DATASETS)}")
    return name


@cache
def load_dataset(name: str, split: Split, folder: Path | None = None) -> Dataset:
    """One split of a data set, kept for the process. With `folder` it is the only place looked at.

    Raises `InputError` for an unknown name and `DataNotFoundError`, which names the ways out, where the data is not
    found or does not read.
    """
    check_dataset_name(name)
    if name == "digits":
        return _digits(split)
    troubles: list[str] = []
    for place in _places(folder):
        if not _present(name, split, place):
            troubles.append(f"not in {place}")
            continue
        try:
            return _read(name, split, place)
        except (OSError, ValueError, RuntimeError, EOFError, KeyError, AssertionError) as trouble:
            troubles.append(f"{place} does not read: {_described(trouble)}")
    if folder is None:
        cache_folder = cache_directory()
        try:
            _download(name, cache_folder)
            return _read(name, split, cache_folder)
        except (OSError, ValueError, RuntimeError, EOFError, KeyError, AssertionError) as trouble:
            troubles.append(f"the download failed: {_described(trouble)}")
    raise DataNotFoundError(_TITLES[name], _not_found(name, troubles))


def cache_directory() -> Path:
    """Where downloads are kept: the platform's cache folder for this program."""
    return Path(platformdirs.user_cache_dir("robustboard")) / "data"


def _places(folder: Path | None) -> list[Path]:
    if folder is not None:
        return [folder]
    named = os.environ.get("ROBUSTBOARD_DATA")
    return [*([Path(named)] if named else []), cache_directory()]


def _described(trouble: Exception) -> str:
    """The exception's text; torchvision's assertions have none, their type has to do."""
    return str(trouble) if isinstance(trouble, OSError | ValueError) else f"{type(trouble).__name__} {trouble}".strip()


def _not_found(name: str, troubles: Sequence[str]) -> str:
    return (
        f"{_TITLES[name]} data not found ({'; '.join(troubles)}). Three ways to provide it: --data FOLDER or "
        f"ROBUSTBOARD_DATA=FOLDER, where FOLDER holds {_FOLDERS[name]}; or run once where {_HOSTS[name]} can be "
        f"reached, and it is downloaded to {cache_directory()}"
    )


def _present(name: str, split: Split, folder: Path) -> bool:
    if name == "cifar10":
        return all((folder / cifar10.FOLDER / file).is_file() for file in cifar10.FILES[split])
    stem = "train" if split == "train" else "t10k"
    return (folder / "MNIST" / "raw" / f"{stem}-images-idx3-ubyte").is_file()


def _read(name: str, split: Split, folder: Path) -> Dataset:
    if name == "cifar10":
        pixels, labels, note = cifar10.read(folder, split)
        return Dataset(name, split, _to_float(pixels), torch.from_numpy(labels), note)
    return _mnist(split, folder)


def _to_float(pixels: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).float().div_(255)


def _mnist(split: Split, folder: Path) -> Dataset:
    from robustboard.torchvision_compatibility import torchvision  # noqa: PLC0415  (slow to import)

    data = torchvision.datasets.MNIST(str(folder), train=split == "train", download=False)
    expected = 60_000 if split == "train" else 10_000
    if tuple(data.data.shape) != (expected, 28, 28) or len(data.targets) != expected:
        raise ValueError(f"expected {expected} images of 28 × 28, found {tuple(data.data.shape)}")
    return Dataset("mnist", split, data.data[:, None].float().div_(255), data.targets.long())


def _digits(split: Split) -> Dataset:
    from sklearn.datasets import load_digits  # noqa: PLC0415  (slow to import)

    bunch = load_digits()
    # RandomState's permutation is frozen by NumPy's compatibility promise (NEP 19): the split can never move.
    order = np.random.RandomState(0).permutation(len(bunch.target))
    rows = order[:DIGITS_TEST_SIZE] if split == "test" else order[DIGITS_TEST_SIZE:]
    images = torch.from_numpy(bunch.images[rows]).float().div_(16)[:, None]
    return Dataset("digits", split, images, torch.from_numpy(bunch.target[rows]).long())


def _download(name: str, folder: Path) -> None:
    """Fetch a data set with torchvision, which checks the md5 sums. Gives up on a silent host after ten seconds."""
    _require_reachable(_HOSTS[name])
    from robustboard.torchvision_compatibility import torchvision  # noqa: PLC0415  (slow to import)

    fetch: Callable[..., object] = torchvision.datasets.MNIST if name == "mnist" else torchvision.datasets.CIFAR10
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        fetch(str(folder), train=False, download=True)
    finally:
        socket.setdefaulttimeout(before)


def _require_reachable(host: str) -> None:
    """Raise `OSError` unless `host` answers in time. A thread, because looking up a name knows no time limit."""
    answer: list[BaseException | None] = []

    def knock() -> None:
        try:
            socket.create_connection((host, 443), timeout=DOWNLOAD_TIMEOUT_S).close()
            answer.append(None)
        except OSError as trouble:
            answer.append(trouble)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(DOWNLOAD_TIMEOUT_S + 1)
    if not answer:
        raise OSError(f"{host} did not answer within {DOWNLOAD_TIMEOUT_S} seconds")
    if answer[0] is not None:
        raise OSError(f"{host} cannot be reached ({answer[0]})")
