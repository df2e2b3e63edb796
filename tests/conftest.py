"""What the tests share: where real data is, and models whose answers are known."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robustboard.benchmark import cli
from robustboard.benchmark.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]

keep_freed_memory()
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def data_folder() -> Path | None:
    """The folder with MNIST and CIFAR-10, from $ROBUSTBOARD_DATA or beside the checkout; None where there is none."""
    for place in (os.environ.get("ROBUSTBOARD_DATA"), str(ROOT.parent / "shared" / "data")):
        if place and (Path(place) / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
            return Path(place).resolve()
    return None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real data, or a skip that says what is missing."""
    folder = data_folder()
    if folder is None:
        pytest.skip("MNIST and CIFAR-10 are not on this machine: set ROBUSTBOARD_DATA to run this test")
    return folder


class Linear(nn.Module):
    """Z = W x + b over flattened images: the model whose every distance is known."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(torch.zeros(len(weight)) if bias is None else bias.clone())

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def linear_problem(
    classes: int = 2, count: int = 24, shape: tuple[int, int, int] = (1, 5, 5), low: float = 0.2, high: float = 0.8, seed: int = 0
) -> tuple[Linear, Tensor, Tensor]:
    """A random linear model, images uniform in [low, high], and as labels the model's own answers."""
    generator = torch.Generator().manual_seed(seed)
    features = shape[0] * shape[1] * shape[2]
    model = Linear(torch.randn(classes, features, generator=generator), 0.1 * torch.randn(classes, generator=generator))
    images = low + (high - low) * torch.rand(count, *shape, generator=generator)
    with torch.no_grad():
        labels = model(images).argmax(1)
    return model, images, labels


def keys(count: int, seed: int = 0) -> Tensor:
    """Keys for `count` examples."""
    return torch.arange(count, dtype=torch.int64) * 7919 + seed


class Answer(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The import path and the modules that a user's file changed are put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("robustboard_user_") or name.split(".")[0] == "models":
            del sys.modules[name]


@pytest.fixture
def command(tidy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command line in this process."""

    def call(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["robustboard", *map(str, words)])
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return Answer(code, captured.out, captured.err)

    return call


@contextmanager
def cut_copy(half: Path, journal: str, share: float) -> Iterator[Path]:
    """A copy of a folder in which the one journal of that name keeps only a share of its bytes, as after a kill."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        shutil.copytree(half, out)
        (path,) = out.rglob(journal)
        text = path.read_bytes()
        path.write_bytes(text[: int(share * len(text))])
        yield out


def put(path: Path, text: str) -> Path:
    """The file, written, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def guide_example(name: str) -> str:
    """The code block of CONTRIBUTING.md under the mark `<!-- example: name -->`."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w*\n(.*?)```", guide, re.DOTALL)
    assert found, f"CONTRIBUTING.md has no example {name!r}"
    return found[1]
