"""CIFAR-10's batch files, read without running anything in them, and accepted when their content checks out."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FOLDER = "cifar-10-batches-py"
FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
OFFICIAL_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows NumPy arrays and the plain containers only; any other name raises `ValueError`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise ValueError(f"refused: the file asks for {module}.{name}, which a batch of images does not need")
        return super().find_class(module, name)


def read(folder: Path, split: Literal["train", "test"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], str]:
    """Pixels (N, 3, 32, 32), labels (N,) and a note, empty if every file is byte for byte the official one.

    Raises `ValueError` when a shape, a label or a class count is not CIFAR-10's, or a file holds anything but arrays.
    """
    pixels, labels, strangers = [], [], []
    for name in FILES[split]:
        path = folder / FOLDER / name
        batch_pixels, batch_labels = _read_batch(path)
        pixels.append(batch_pixels)
        labels.append(batch_labels)
        if _md5(path) != OFFICIAL_MD5[name]:
            strangers.append(name)
    all_labels = np.concatenate(labels)
    counts = np.bincount(all_labels, minlength=10)
    if (counts != len(all_labels) // 10).any():
        raise ValueError(f"class counts are {counts.tolist()}, CIFAR-10 has {len(all_labels) // 10} of each class")
    note = f"md5 differs from the official {', '.join(strangers)}; shapes, labels and class counts check out"
    return np.concatenate(pixels).reshape(-1, 3, 32, 32), all_labels, note if strangers else ""


def _read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    with path.open("rb") as file:
        try:
            batch = RestrictedUnpickler(file, encoding="bytes").load()
        except Exception as trouble:  # damaged bytes can make the unpickler raise anything, MemoryError included
            raise ValueError(f"{path.name} is damaged ({trouble})") from trouble
    if not isinstance(batch, dict):
        raise ValueError(f"{path.name} holds a {type(batch).__name__}, not a batch")
    fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    pixels, labels = fields.get("data"), np.asarray(fields.get("labels", []))
    if not isinstance(pixels, np.ndarray) or pixels.shape != (10_000, 3072) or pixels.dtype != np.uint8:
        raise ValueError(f"{path.name} does not hold 10,000 images of 3,072 bytes")
    if labels.shape != (10_000,) or labels.dtype.kind != "i" or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path.name} does not hold 10,000 labels from 0 to 9")
    return pixels, labels.astype(np.int64)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
