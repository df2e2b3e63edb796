"""Data sets: what their numbers are, where they are looked for, and what is said when they are not there."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from robustboard.benchmark import cifar10, datasets
from robustboard.benchmark.datasets import DATASETS, Dataset, load_dataset
from robustboard.benchmark.errors import DataNotFoundError, InputError
from robustboard.torchvision_compatibility import torchvision

# The digits' split can never move: results of different years are compared on it.
DIGITS_TEST_FINGERPRINT = "e8ed5feb7c6072a5f3d51d314a8e7d3f35d2de85f855dd373abdd29e2b5dfd2c"
MNIST_TEST_BYTES = 10_000


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Each test looks anew; what a test planted is forgotten after it."""
    load_dataset.cache_clear()
    yield
    load_dataset.cache_clear()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without data and without a network; the (empty) cache folder comes back."""
    monkeypatch.delenv("ROBUSTBOARD_DATA", raising=False)
    monkeypatch.setattr(datasets, "cache_directory", lambda: tmp_path / "cache")

    def refuse(host: str) -> None:
        raise OSError(f"{host} cannot be reached (no network)")

    monkeypatch.setattr(datasets, "_require_reachable", refuse)
    return tmp_path / "cache"


def put_fake_mnist(folder: Path) -> None:
    """The file whose presence says that MNIST's test set is in `folder`."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"planted")


class FakeMnist:
    """torchvision's MNIST, made of zeros; it remembers the folders it was asked for."""

    asked: list[tuple[str, bool]]

    def __init__(self, root: str, train: bool, download: bool = False) -> None:
        type(self).asked.append((root, download))
        if download:
            put_fake_mnist(Path(root))
        self.data = torch.zeros(60_000 if train else 10_000, 28, 28, dtype=torch.uint8)
        self.targets = torch.zeros(len(self.data), dtype=torch.int64)


@pytest.fixture
def fake_mnist(monkeypatch: pytest.MonkeyPatch) -> type[FakeMnist]:
    FakeMnist.asked = []
    monkeypatch.setattr(torchvision.datasets, "MNIST", FakeMnist)
    return FakeMnist


def test_digits_are_images_of_eight_by_eight_in_the_unit_interval() -> None:
    for split, count in (("test", 1000), ("train", 797)):
        data = load_dataset("digits", split)
        assert data.images.shape == (count, 1, 8, 8)
        assert data.images.dtype == torch.float32
        assert data.labels.shape == (count,)
        assert data.labels.dtype == torch.int64
        assert data.images.min() == 0
        assert data.images.max() == 1
        # scikit-learn's pixels are whole numbers from 0 to 16.
        assert torch.equal(data.images * 16, (data.images * 16).round())
        assert set(data.labels.tolist()) == set(range(10))


def test_digits_split_covers_the_source_once_and_shares_nothing() -> None:
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    bunch = sklearn_datasets.load_digits()
    everything = sorted((*image.ravel().tolist(), label) for image, label in zip(bunch.images, bunch.target, strict=True))
    parts = [load_dataset("digits", "test"), load_dataset("digits", "train")]
    found = sorted(
        (*(16 * image).flatten().tolist(), label)
        for part in parts
        for image, label in zip(part.images, part.labels.tolist(), strict=True)
    )
    # Equal multisets of 797 + 1000 = 1797 rows: each source row is in exactly one split.
    assert found == [tuple(row) for row in everything]


def test_digits_split_is_the_one_it_always_was() -> None:
    assert load_dataset("digits", "test").fingerprint() == DIGITS_TEST_FINGERPRINT


def test_fingerprint_sees_pixels_labels_and_order() -> None:
    data = load_dataset("digits", "test").select(range(20))
    brighter = data.images.clone()
    brighter[3, 0, 4, 4] += 1 / 255
    other_label = data.labels.clone()
    other_label[0] = (other_label[0] + 1) % 10
    prints = {
        data.fingerprint(),
        data.select(range(19)).fingerprint(),
        data.select([1, 0, *range(2, 20)]).fingerprint(),
        Dataset("digits", "test", brighter, data.labels).fingerprint(),
        Dataset("digits", "test", data.images, other_label).fingerprint(),
    }
    assert len(prints) == 5
    assert data.select(range(20)).fingerprint() == data.fingerprint()


def test_select_keeps_the_order_asked_for() -> None:
    data = load_dataset("digits", "test")
    chosen = data.select([7, 0, 999])
    assert torch.equal(chosen.images[1], data.images[0])
    assert chosen.labels.tolist() == [int(data.labels[i]) for i in (7, 0, 999)]


def test_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no data set 'mnits', did you mean 'mnist'\?"):
        load_dataset("mnits", "test")


def test_explicit_folder_is_the_only_place_looked_at(
    nowhere: Path, fake_mnist: type[FakeMnist], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    put_fake_mnist(elsewhere)
    put_fake_mnist(nowhere)
    monkeypatch.setenv("ROBUSTBOARD_DATA", str(elsewhere))
    asked_for = tmp_path / "asked_for"
    with pytest.raises(DataNotFoundError) as trouble:
        load_dataset("mnist", "test", asked_for)
    assert fake_mnist.asked == []
    assert f"not in {asked_for}" in str(trouble.value)
    assert str(elsewhere) not in str(trouble.value)
    put_fake_mnist(asked_for)
    load_dataset("mnist", "test", asked_for)
    assert fake_mnist.asked == [(str(asked_for), False)]


def test_environment_variable_comes_before_the_cache(
    nowhere: Path, fake_mnist: type[FakeMnist], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = tmp_path / "named"
    put_fake_mnist(nowhere)
    monkeypatch.setenv("ROBUSTBOARD_DATA", str(named))
    load_dataset("mnist", "test")
    assert fake_mnist.asked == [(str(nowhere), False)]
    put_fake_mnist(named)
    load_dataset.cache_clear()
    load_dataset("mnist", "test")
    assert fake_mnist.asked[1:] == [(str(named), False)]


def test_download_goes_into_the_cache_folder_and_is_used(
    nowhere: Path, fake_mnist: type[FakeMnist], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_require_reachable", lambda host: None)
    before = socket.getdefaulttimeout()
    data = load_dataset("mnist", "test")
    assert data.images.shape == (10_000, 1, 28, 28)
    assert fake_mnist.asked == [(str(nowhere), True), (str(nowhere), False)]
    assert socket.getdefaulttimeout() == before
    load_dataset.cache_clear()
    load_dataset("mnist", "test")
    # Found in the cache folder now: nothing is fetched a second time.
    assert fake_mnist.asked[2:] == [(str(nowhere), False)]


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_missing_data_names_the_three_ways_out(nowhere: Path, name: str) -> None:
    with pytest.raises(DataNotFoundError) as trouble:
        load_dataset(name, "test")
    message = str(trouble.value)
    assert "--data FOLDER" in message
    assert "ROBUSTBOARD_DATA=FOLDER" in message
    assert str(nowhere) in message
    assert "no network" in message
    assert {"mnist": "ossci-datasets", "cifar10": "cs.toronto.edu"}[name] in message
    assert "\n" not in message
    assert trouble.value.title == datasets.title(name)


def test_refused_connection_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    started = time.monotonic()
    with pytest.raises(OSError, match=r"somewhere\.example cannot be reached \(Name or service not known\)"):
        datasets._require_reachable("somewhere.example")
    assert time.monotonic() - started < 1


def test_silent_host_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(address: tuple[str, int], timeout: float) -> None:
        # A name look-up knows no time limit: only a watcher outside it can give up.
        time.sleep(5)
        raise OSError("at last")

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(datasets, "DOWNLOAD_TIMEOUT_S", 0.5)
    started = time.monotonic()
    with pytest.raises(OSError, match="did not answer within"):
        datasets._require_reachable("somewhere.example")
    assert time.monotonic() - started < 2.5


def test_answering_host_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: SimpleNamespace(close=lambda: None))
    datasets._require_reachable("somewhere.example")


def test_mnist_of_another_size_is_refused(nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = SimpleNamespace(data=torch.zeros(9_999, 28, 28, dtype=torch.uint8), targets=torch.zeros(9_999))
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda *arguments, **options: short)
    put_fake_mnist(tmp_path)
    with pytest.raises(DataNotFoundError, match="expected 10000 images"):
        load_dataset("mnist", "test", tmp_path)


def write_idx(path: Path, magic: bytes, sizes: tuple[int, ...], content: bytes) -> None:
    path.write_bytes(magic + b"".join(size.to_bytes(4, "big") for size in sizes) + content)


def full_but_damaged_mnist(folder: Path, images: bytes) -> None:
    """All four files, whole but for the test images."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_idx(raw / "train-images-idx3-ubyte", b"\0\0\x08\x03", (1, 28, 28), bytes(784))
    write_idx(raw / "train-labels-idx1-ubyte", b"\0\0\x08\x01", (1,), b"\0")
    write_idx(raw / "t10k-labels-idx1-ubyte", b"\0\0\x08\x01", (MNIST_TEST_BYTES,), bytes(MNIST_TEST_BYTES))
    (raw / "t10k-images-idx3-ubyte").write_bytes(images)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(b"\0\0\x08\x03" + b"\0\0\x27\x10\0\0\0\x1c\0\0\0\x1c" + bytes(5000), id="cut short"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\x0a\x03" + bytes(800), id="unknown element type"),
        pytest.param(b"<!DOCTYPE html><html>not found</html>", id="a web page"),
        pytest.param(b"\0\0\x08\x01\0\0\0\x04abcd", id="labels in place of images"),
    ],
)
def test_damaged_mnist_is_named_with_its_folder(nowhere: Path, tmp_path: Path, images: bytes) -> None:
    folder = tmp_path / "damaged"
    full_but_damaged_mnist(folder, images)
    with pytest.raises(DataNotFoundError) as trouble:
        load_dataset("mnist", "test", folder)
    assert f"{folder} does not read" in str(trouble.value)


def test_mnist_without_its_labels_is_named_with_its_folder(nowhere: Path, tmp_path: Path) -> None:
    full_but_damaged_mnist(tmp_path, bytes(16))
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFoundError, match=f"{tmp_path} does not read"):
        load_dataset("mnist", "test", tmp_path)


@pytest.mark.real_data
def test_mnist_is_mnist(real_data: Path) -> None:
    data = load_dataset("mnist", "test", real_data)
    assert data.images.shape == (10_000, 1, 28, 28)
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert torch.equal((data.images * 255).round() / 255, data.images)
    assert torch.bincount(data.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The published mean and deviation of all 60,000 training pixels are 0.1307 and 0.3081; the test set's are near.
    assert float(data.images.mean()) == pytest.approx(0.1307, abs=0.005)
    assert data.note == ""


@pytest.mark.real_data
def test_cifar10_with_another_md5_is_taken_and_said(real_data: Path) -> None:
    if not (real_data / "cifar-10-batches-py" / "test_batch").is_file():
        pytest.skip("CIFAR-10's test batch is not on this machine")
    data = load_dataset("cifar10", "test", real_data)
    assert data.images.shape == (10_000, 3, 32, 32)
    assert data.labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert torch.bincount(data.labels).tolist() == [1000] * 10
    assert torch.equal((data.images * 255).round() / 255, data.images)
    official = cifar10._md5(real_data / "cifar-10-batches-py" / "test_batch")
    differs = official != cifar10.OFFICIAL_MD5["test_batch"]
    assert ("md5 differs" in data.note) == differs
