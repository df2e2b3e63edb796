"""Models from other packages, each through the installed package with a checkpoint of our own making."""

from __future__ import annotations

import http.server
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import robustboard.torchvision_compatibility
from conftest import ROOT, Command, guide_example, put
from robustboard.benchmark import elsewhere
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.environment import version_of
from robustboard.benchmark.errors import InputError, ModelFaultError, first_line
from robustboard.benchmark.results import read_cell
from robustboard.benchmark.subjects import user_subject
from robustboard.models.architectures import build_network
from robustboard.models.recipe import parse_recipe

assert robustboard.torchvision_compatibility
NETWORK = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a small torchvision network with ten classes."""
    from torchvision.models import get_model  # noqa: PLC0415  (torch beside it may need help first)

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(get_model(NETWORK, weights=None, num_classes=10).state_dict(), path)
    return path


def words_of(name: str) -> list[str]:
    """The words of a guide's command after the program's name."""
    return shlex.split(guide_example(name))[1:]


def test_a_torchvision_network_is_attacked(
    command: Command, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    answer = command(*words_of("torchvision"), "--device", "cpu", "--out", tmp_path)
    assert answer.code == 0, answer.err
    (path,) = tmp_path.rglob("fgsm.json")
    cell = read_cell(path)
    assert cell.model.name == f"torchvision.{NETWORK}.small"
    assert cell.model.source.startswith(f"torchvision:{NETWORK}@small.safetensors (sha256 ")


def test_a_pickled_checkpoint_may_hold_tensors_only(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file  # noqa: PLC0415

    torch.save(load_file(checkpoint), tmp_path / "plain.pth")
    network = user_subject(f"torchvision:{NETWORK}@{tmp_path / 'plain.pth'}", "digits", "softmax").build()
    assert network.eval()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    (tmp_path / "evil.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelFaultError, match=r"holds more than tensors, or is damaged: save network\.state_dict\(\)"):
        user_subject(f"torchvision:{NETWORK}@{tmp_path / 'evil.pth'}", "digits", "softmax").build()
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ModelFaultError, match=r"cut\.safetensors does not read"):
        user_subject(f"torchvision:{NETWORK}@{tmp_path / 'cut.safetensors'}", "digits", "softmax").build()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda weights: {"epoch": 3, "state_dict": weights},
        lambda weights: {"model": {f"module.{key}": tensor for key, tensor in weights.items()}, "optimizer": {}},
        lambda weights: {f"module.{key}": tensor for key, tensor in weights.items()},
    ],
    ids=["beside an epoch", "beside an optimiser, by DataParallel", "by DataParallel"],
)
def test_what_training_scripts_put_around_weights_is_taken_off(
    wrapped: Callable[[dict[str, Tensor]], dict[str, object]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    trained, empty = nn.Linear(4, 3), nn.Linear(4, 3)
    torch.save(wrapped(trained.state_dict()), tmp_path / "wrapped.pth")
    assert torch.equal(elsewhere.filled(empty, tmp_path / "wrapped.pth").weight, trained.weight)


def test_a_line_of_an_error_says_what_it_announces_and_has_no_colours() -> None:
    assert first_line(RuntimeError("\x1b[1mnot read:\x1b[0m\n\n\tthe reason\nmore")) == "not read: the reason"
    assert first_line(RuntimeError("not read\nmore")) == "not read"
    assert first_line(RuntimeError()) == ""


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 5).state_dict(), tmp_path / "five.pth")
    with pytest.raises(ModelFaultError, match=r"does not fit Linear: Error.*: size mismatch for weight: .*\[5, 4\]"):
        elsewhere.filled(nn.Linear(4, 3), tmp_path / "five.pth")


def test_what_torchvision_does_not_have_or_does_not_fit_is_said(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no classifier 'shuflenet_v2_x0_5'"):
        user_subject(f"torchvision:shuflenet_v2_x0_5@{checkpoint}", "digits", "softmax").build()
    with pytest.raises(InputError, match="no classifier 'resnet81', did you mean 'resnet18'"):
        user_subject(f"torchvision:resnet81@{tmp_path / 'absent.safetensors'}", "digits", "softmax")
    with pytest.raises(ModelFaultError, match="does not fit"):
        user_subject(f"torchvision:resnet18@{checkpoint}", "digits", "softmax").build()
    with pytest.raises(InputError, match="there is no checkpoint"):
        user_subject(f"torchvision:resnet18@{tmp_path / 'absent.safetensors'}", "digits", "softmax")


@pytest.mark.parametrize(
    ("reference", "extra"), [("robustbench:cifar10/Linf/Standard", "robustbench"), ("hub:somebody/network", "hub")]
)
def test_a_package_that_is_not_here_is_named_with_the_command_that_works(
    reference: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "version_of", lambda package: "absent")
    command = f"pip install -e '.[{extra}]'"
    with pytest.raises(InputError, match=re.escape(command)):
        user_subject(reference, "cifar10", "softmax")
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


needs_robustbench = pytest.mark.skipif(
    version_of("robustbench") == "absent", reason="robustbench is not installed: make libraries"
)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network of RobustBench's, its checkpoint where RobustBench looks for it."""
    monkeypatch.setattr(elsewhere, "cache_directory", lambda: tmp_path / "data")
    folder = tmp_path / "robustbench" / "cifar10" / "Linf"
    elsewhere.import_robustbench()
    zoo = importlib.import_module("robustbench.model_zoo.cifar10")
    torch.manual_seed(0)
    network: nn.Module = zoo.linf["Addepalli2021Towards_RN18"]["model"]().eval()
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "Addepalli2021Towards_RN18.pt")
    return network


@needs_robustbench
def test_a_robustbench_model_is_built_by_robustbench_from_its_checkpoint(theirs: nn.Module) -> None:
    reference = words_of("robustbench")[4]
    subject = user_subject(reference, "cifar10", "softmax")
    assert (subject.name, subject.source) == ("robustbench.Linf.Addepalli2021Towards_RN18", reference)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(subject.build().eval()(images), theirs(images))
    with pytest.raises(InputError, match=r"no Linf model 'Standrad' of cifar10, did you mean 'Standard'\?"):
        user_subject("robustbench:cifar10/Linf/Standrad", "cifar10", "softmax").build()


@needs_robustbench
def test_a_checkpoint_that_robustbench_cannot_download_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "cache_directory", lambda: tmp_path / "data")
    monkeypatch.setattr("socket.socket.connect", lambda *rest: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(ModelFaultError, match=r"could not load cifar10/Linf/Wong2020Fast .* put the file into"):
        user_subject("robustbench:cifar10/Linf/Wong2020Fast", "cifar10", "softmax").build()


@needs_robustbench
@pytest.mark.real_data
def test_a_robustbench_model_is_attacked_by_the_guides_command(
    theirs: nn.Module, command: Command, tmp_path: Path, real_data: Path
) -> None:
    test = load_dataset("cifar10", "test", real_data)
    answer = command(*words_of("robustbench"), "--no-diagnose", "--data", real_data, "--out", tmp_path / "results")
    assert answer.code == 0, answer.err
    (path,) = (tmp_path / "results").glob("*/cifar10/robustbench.Linf.Addepalli2021Towards_RN18/fgsm.json")
    with torch.no_grad():
        right = theirs(test.images[:4]).argmax(1) == test.labels[:4]
    assert read_cell(path).per_example.correct_clean == right.tolist()


COMMIT = "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """What of a repository a download asks for: which files it has, and they."""

    files: dict[str, bytes] = {}  # noqa: RUF012  (set by the fixture, read by the server's threads)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        content = self.files.get(self.path.split("?")[0])
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(self.path) & 0xFFFFFFFF:x}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content is not None:
            self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        """Say nothing."""


def files_of(config: dict[str, object], folder: Path) -> dict[str, bytes]:
    """The files of a repository."""
    torch.manual_seed(0)
    network = build_network("digits", parse_recipe("relu-mlp_8"))
    save_file(network.state_dict(), folder / "weights.safetensors")
    return {"config.json": json.dumps(config).encode(), "model.safetensors": (folder / "weights.safetensors").read_bytes()}


def answers(files: dict[str, bytes]) -> dict[str, bytes]:
    """The Hub's answers by address."""
    about = {"id": "someone/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
    told = {"/api/models/someone/tiny": json.dumps(about).encode()}
    return told | {f"/someone/tiny/resolve/main/{name}": content for name, content in files.items()}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """The address of a Hub that has one repository."""
    Hub.files = answers(files_of({**json.loads(guide_example("config.json")), "architectures": ["ignored"]}, tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed: make libraries"
)


def run_from_hub(endpoint: str, home: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = [*words_of("hub"), "--device", "cpu", "--out", str(out)]
    return subprocess.run(
        [sys.executable, "-c", "from robustboard.benchmark.cli import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@needs_hub
def test_a_repository_of_the_hub_is_attacked_and_found_again_without_a_network(hub: str, tmp_path: Path) -> None:
    answer = run_from_hub(hub, tmp_path / "home", tmp_path / "out")
    assert answer.returncode == 0, answer.stderr
    (path,) = (tmp_path / "out").rglob("fgsm.json")
    cell = read_cell(path)
    assert cell.model.name == "hub.someone.tiny"
    assert cell.model.parameters == 64 * 8 + 2 * 8 + 8 * 10 + 10
    nowhere = "http://127.0.0.1:9"
    again = run_from_hub(nowhere, tmp_path / "home", tmp_path / "again")
    assert again.returncode == 0, again.stderr


def test_a_recipe_of_the_hub_with_another_head_than_the_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "config.json", json.dumps({"dataset": "digits", "recipe": "relu-sigmoid_out"}))
    save_file(build_network("digits", parse_recipe("relu-sigmoid_out")).state_dict(), tmp_path / "model.safetensors")
    api = SimpleNamespace(model_info=lambda repository, revision, timeout: None)
    hub = SimpleNamespace(HfApi=lambda: api, hf_hub_download=lambda repository, file, **more: str(tmp_path / file))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(InputError, match="with a sigmoid head, the run takes it for softmax: give --head sigmoid"):
        elsewhere.hub_network("someone/tiny", "digits", "softmax")
    assert isinstance(elsewhere.hub_network("someone/tiny", "digits", "sigmoid"), torch.nn.Module)


@needs_hub
def test_of_a_download_that_was_cut_off_it_is_said_which_file_is_not_here(hub: str, tmp_path: Path) -> None:
    whole = Hub.files
    Hub.files = {address: content for address, content in whole.items() if not address.endswith(".safetensors")}
    answer = run_from_hub(hub, tmp_path / "home", tmp_path / "out")
    assert answer.returncode != 0
    assert "the Hub did not give model.safetensors of someone/tiny (EntryNotFoundError" in answer.stderr
    answer = run_from_hub("http://127.0.0.1:9", tmp_path / "home", tmp_path / "out")
    assert "the Hub did not give model.safetensors of someone/tiny (ConnectionError" in answer.stderr
    Hub.files = whole
    assert run_from_hub(hub, tmp_path / "home", tmp_path / "out").returncode == 0


@needs_hub
def test_without_a_network_and_without_a_copy_the_way_out_is_said(tmp_path: Path) -> None:
    answer = run_from_hub("http://127.0.0.1:9", tmp_path / "home", tmp_path / "out")
    assert answer.returncode != 0
    assert "the Hub did not give config.json of someone/tiny" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, "of every attempt that was repeated the whole reason"
    assert "try where there is a network" in answer.stderr
    assert "Traceback" not in answer.stderr
