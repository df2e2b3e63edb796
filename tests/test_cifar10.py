"""CIFAR-10's batch files: right ones are read, wrong ones refused with a reason, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import pickletools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from robustboard.benchmark import cifar10
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import DataNotFoundError

COUNT = 10_000


@cache
def pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3072), dtype=np.uint8)


def labels() -> list[int]:
    return [int(label) for label in np.random.default_rng(1).permutation(np.arange(COUNT) % 10)]


def put(folder: Path, batch: Any, name: str = "test_batch", protocol: int = 4) -> Path:
    path = folder / cifar10.FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(batch, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_batch_is_read_pixel_for_pixel_and_its_md5_noted(tmp_path: Path, protocol: int) -> None:
    written, classes = pixels(), labels()
    put(tmp_path, {"data": written, "labels": classes}, protocol=protocol)
    images, found, note = cifar10.read(tmp_path, "test")
    assert images.shape == (COUNT, 3, 32, 32)
    assert images.dtype == np.uint8
    # Row-major planes: red, then green, then blue.
    assert images[17, 2, 5, 9] == written[17, 2 * 1024 + 5 * 32 + 9]
    assert np.array_equal(images.reshape(COUNT, 3072), written)
    assert found.tolist() == classes
    assert "md5 differs" in note
    assert "test_batch" in note


def python2_pickle(data: npt.NDArray[np.uint8], classes: list[int]) -> bytes:
    """A protocol-2 pickle as Python 2's NumPy wrote the official files: byte strings for keys and array content."""

    def string(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + len(text).to_bytes(4, "little") + text

    def number(value: int) -> bytes:
        return b"M" + value.to_bytes(2, "little")

    dtype = b"cnumpy\ndtype\n" + string(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + string(b"b") + b"\x87R"
    array += b"(" + number(1) + number(data.shape[0]) + number(data.shape[1]) + b"\x86" + dtype + b"\x89"
    array += string(data.tobytes()) + b"tb"
    listed = b"](" + b"".join(number(label) for label in classes) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + listed + b"u."


def test_an_official_style_python_2_pickle_is_read(tmp_path: Path) -> None:
    written, classes = pixels(), labels()
    content = python2_pickle(written, classes)
    # Our own writer is checked first: byte-string keys, protocol 2, no later opcode.
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(content)) == 2
    assert b"data" in pickle.loads(content, encoding="bytes")
    path = tmp_path / cifar10.FOLDER / "test_batch"
    path.parent.mkdir()
    path.write_bytes(content)
    images, found, _ = cifar10.read(tmp_path, "test")
    assert np.array_equal(images.reshape(COUNT, 3072), written)
    assert found.tolist() == classes


def test_five_training_batches_are_joined_in_order(tmp_path: Path) -> None:
    for number, name in enumerate(cifar10.FILES["train"]):
        put(tmp_path, {b"data": np.full((COUNT, 3072), number, np.uint8), b"labels": labels()}, name)
    images, found, note = cifar10.read(tmp_path, "train")
    assert images[:: COUNT // 2, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert found.tolist() == labels() * 5
    assert all(name in note for name in cifar10.FILES["train"])


def swapped(classes: list[int]) -> list[int]:
    """One 3 becomes a 5."""
    position = classes.index(3)
    return [*classes[:position], 5, *classes[position + 1 :]]


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        pytest.param({"data": pixels(), "labels": swapped(labels())}, "class counts are .*999.*1001", id="class counts"),
        pytest.param({"data": pixels()[:-1], "labels": labels()[:-1]}, "10,000 images of 3,072 bytes", id="too few"),
        pytest.param({"data": pixels().reshape(COUNT, 3, 32, 32), "labels": labels()}, "10,000 images", id="another shape"),
        pytest.param({"data": pixels().astype(np.float32), "labels": labels()}, "10,000 images", id="another dtype"),
        pytest.param({"data": pixels().tolist()[:2], "labels": labels()}, "10,000 images", id="a list"),
        pytest.param({"labels": labels()}, "10,000 images", id="no pixels"),
        pytest.param({"data": pixels()}, "labels from 0 to 9", id="no labels"),
        pytest.param({"data": pixels(), "labels": [label + 1 for label in labels()]}, "labels from 0 to 9", id="up to 10"),
        pytest.param({"data": pixels(), "labels": [label - 1 for label in labels()]}, "labels from 0 to 9", id="down to -1"),
        pytest.param({"data": pixels(), "labels": labels()[:-1]}, "labels from 0 to 9", id="one label short"),
        pytest.param({"data": pixels(), "labels": [float(label) for label in labels()]}, "labels from", id="fractions"),
        pytest.param({"data": pixels(), "labels": ["a"] * COUNT}, "labels from", id="words"),
        pytest.param([1, 2, 3], "holds a list, not a batch", id="no batch"),
    ],
)
def test_a_wrong_batch_is_refused_with_its_reason(tmp_path: Path, batch: Any, reason: str) -> None:
    put(tmp_path, batch)
    with pytest.raises(ValueError, match=reason):
        cifar10.read(tmp_path, "test")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99999])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, share: float) -> None:
    path = put(tmp_path, {"data": pixels(), "labels": labels()})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="test_batch is damaged"):
        cifar10.read(tmp_path, "test")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<!DOCTYPE html><html>not found</html>", id="a web page"),
        pytest.param(bytes(1000), id="zeros"),
        pytest.param(b"\x80\x04.", id="an empty stack"),
        pytest.param(b"\x80\x04Nr\xff\xff\xff\xff.", id="a memo of 2^32 entries"),
        pytest.param(b"\x80\x04\x8e" + b"\xff" * 8 + b".", id="a string of 2^64 bytes"),
        pytest.param(b"\x80\x04\x95" + b"\xff" * 8 + b".", id="a frame of 2^64 bytes"),
        pytest.param(b"\x80\x04X\x02\0\0\0\xff\xfe.", id="no UTF-8"),
        pytest.param(b"\x80\xff.", id="a later pickle"),
        pytest.param(b"I12x\n.", id="no number"),
        pytest.param(b"\x80\x04](](Ke\x85R.", id="a call of no function"),
        pytest.param(b"\x80\x04h\x07.", id="an unknown memo"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n(lb.", id="a state on a class"),
        pytest.param(b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\xff\x85R.", id="an array of -1 numbers"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n\x8a\x08" + b"\xff" * 7 + b"\x00\x85R.", id="an array of 2^56 numbers"),
    ],
)
def test_a_file_of_nonsense_raises_nothing_but_value_error(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, {}).write_bytes(content)
    with pytest.raises(ValueError, match="test_batch"):
        cifar10.read(tmp_path, "test")


class Trap:
    """What runs a command when a careless reader unpickles it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_a_command_is_refused_unrun(tmp_path: Path, protocol: int) -> None:
    sentinel = tmp_path / "executed"
    batch = {"data": pixels(), "labels": labels(), "extra": Trap(f"touch '{sentinel}'")}
    # The trap is live: an ordinary unpickler springs it.
    pickle.loads(pickle.dumps(Trap(f"touch '{sentinel}'"), protocol))
    assert sentinel.exists()
    sentinel.unlink()
    put(tmp_path, batch, protocol=protocol)
    with pytest.raises(ValueError, match=r"refused: the file asks for .*system"):
        cifar10.read(tmp_path, "test")
    assert not sentinel.exists()


def test_a_wrong_batch_is_missing_data_to_whoever_asks_for_cifar10(tmp_path: Path) -> None:
    put(tmp_path, {"data": pixels(), "labels": swapped(labels())})
    with pytest.raises(DataNotFoundError, match=f"{tmp_path} does not read: class counts"):
        load_dataset("cifar10", "test", tmp_path)
