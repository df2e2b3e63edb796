"""`robustboard train`: what it writes, what it refuses, and what a kill costs."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm

from conftest import Command
from robustboard.benchmark import training
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.training import accuracy, train_model
from robustboard.models import registry
from robustboard.models.recipe import parse_recipe
from robustboard.models.training import default_settings
from robustboard.models.training.loop import EpochRecord, Workplace

RELU = parse_recipe("relu")
SETTINGS = replace(default_settings("digits", RELU), epochs=3)
CPU = Workplace(torch.device("cpu"), bfloat16=False)


def test_train_model_writes_what_loads_back(tmp_path: Path) -> None:
    card = train_model("digits/relu", data=None, device="cpu", home=tmp_path, epochs=2, tags=("quick",))
    assert registry.read_cards(tmp_path) == {"digits/relu": card}
    assert card.training.epochs == 2
    assert card.tags == ["quick"]
    data = load_dataset("digits", "test")
    network = registry.load_model("digits/relu", tmp_path)
    assert accuracy(network, data.images, data.labels) == pytest.approx(card.clean_accuracy, abs=1e-5)
    assert card.clean_accuracy > 0.2  # twice chance after two epochs
    curve = json.loads((tmp_path / "curves" / "digits-relu.json").read_text(encoding="utf-8"))
    assert [record["epoch"] for record in curve["epochs"]] == [1, 2]
    assert curve["settings"]["seed"] == card.training.seed
    assert curve["clean_accuracy"] == card.clean_accuracy
    assert 50e6 < curve["peak_memory_bytes"] < 4e9
    # A finished run leaves nothing to resume: the next one starts anew.
    assert list((tmp_path / "training").glob("*")) == []


def test_what_was_restored_is_no_part_of_the_speed() -> None:
    with tqdm(total=1000, file=io.StringIO(), mininterval=0) as bar:
        for epoch in range(1, 6):  # half of it is restored in no time
            training._log(bar, EpochRecord(epoch, 1.0, 0.5, 1.0), replace(SETTINGS, epochs=10), 1000)
        assert bar.format_dict["n"] == bar.format_dict["initial"] == 500
        time.sleep(0.2)
        for _ in range(100):
            time.sleep(0.001)
            training._tick(bar, 1.0)
        training._log(bar, EpochRecord(6, 1.0, 0.5, 1.0), replace(SETTINGS, epochs=10), 1000)
        told = bar.format_dict
    assert told["n"] == 600
    assert (told["n"] - told["initial"]) / told["elapsed"] <= 500, "100 steps in at least a fifth of a second"
    assert told["rate"] is None or told["rate"] <= 1000, "a step took a thousandth of a second or more"


def test_kill_nine_costs_no_finished_epoch(tmp_path: Path) -> None:
    def start(home: Path) -> subprocess.Popen[bytes]:
        options = ["--epochs", "6", "--device", "cpu", "--out", str(home)]
        command = [sys.executable, "-m", "robustboard.benchmark", "train", "digits/relu", *options]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    process, kept = start(tmp_path / "cut"), tmp_path / "cut" / "training" / "digits-relu.pt"
    deadline = time.monotonic() + 120
    while not kept.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kept.exists()
    assert not (tmp_path / "cut" / "registry").exists(), "an entry is written last"
    finished = torch.load(kept, weights_only=True)["curve"]
    for home in ("cut", "whole"):
        process = start(tmp_path / home)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    cut, whole = (registry.read_cards(tmp_path / home)["digits/relu"] for home in ("cut", "whole"))
    assert cut == whole
    # The same seconds: these epochs were kept, and not gone through again.
    curve = json.loads((tmp_path / "cut" / "curves" / "digits-relu.json").read_text(encoding="utf-8"))
    assert curve["epochs"][: len(finished)] == finished


def test_the_same_seed_gives_the_same_checkpoint_and_another_seed_another(tmp_path: Path) -> None:
    cards = [
        train_model("digits/relog", data=None, device="cpu", home=tmp_path / name, epochs=1, seed=seed)
        for name, seed in (("first", 3), ("second", 3), ("third", 4))
    ]
    assert cards[0].sha256 == cards[1].sha256
    assert cards[0].sha256 != cards[2].sha256


def test_halves_share_no_training_image_and_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def look(network: nn.Module, images: Tensor, *rest: object, **more: object) -> list[EpochRecord]:
        seen.append(images)
        return []

    monkeypatch.setattr(training, "train", look)
    for name in ("digits/relu-half_1", "digits/relu-half_2", "digits/relu"):
        with pytest.raises(InputError, match="chance"):  # nothing is trained here
            train_model(name, data=None, device="cpu", home=tmp_path)
    first, second, whole = ({bytes(image.numpy().tobytes()) for image in images} for images in seen)
    assert len(seen[0]) == pytest.approx(len(seen[1]), abs=1)
    assert not first & second
    assert first | second == whole


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_halves_are_as_hard_and_as_mixed_as_each_other(dataset: str, real_data: Path) -> None:
    data = load_dataset(dataset, "train", real_data if dataset == "mnist" else None)
    halves = [data.select(training.half_of(data.labels, half)) for half in (1, 2)]
    counts = [half.labels.bincount(minlength=10) for half in halves]
    assert int((counts[0] - counts[1]).abs().max()) <= 1
    # MNIST's images of even and of odd index are 3 points apart to this network: ten standard errors and more.
    network = registry.load_model("mnist/relu-cnn_2_4_8" if dataset == "mnist" else "digits/relu")
    shares = [accuracy(network, half.images, half.labels) for half in halves]
    error = (2 * shares[0] * (1 - shares[0]) / len(halves[0].labels)) ** 0.5
    assert abs(shares[0] - shares[1]) <= 4 * error + 1e-3


def test_an_entrys_settings_are_kept_unless_overridden(tmp_path: Path) -> None:
    first = train_model("digits/relu", data=None, device="cpu", home=tmp_path, epochs=1, seed=5, tags=("kept",))
    again = train_model("digits/relu", data=None, device="cpu", home=tmp_path)
    assert again.training == first.training
    assert again.tags == ["kept"]
    assert again.sha256 == first.sha256


def test_the_registrys_entries_are_what_their_names_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "HOME", tmp_path)
    for told, reason in (({"seed": 3}, "train digits/relu-seed_3, or give another folder"), ({"epochs": 1}, "with --out")):
        with pytest.raises(InputError, match=reason):
            train_model("digits/relu", data=None, device="cpu", home=tmp_path, **told)
    assert not list(tmp_path.iterdir())


def test_a_glob_sees_the_registry_wherever_the_result_is_to_go(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def note(name: str, **told: object) -> registry.ModelCard:
        trained.append(name)
        return registry.read_cards()[name]

    monkeypatch.setattr("robustboard.benchmark.commands.training.train_model", note)
    assert command("train", "digits/rel*", "--out", tmp_path).code == 0
    assert trained == [name for name in registry.read_cards() if name.startswith("digits/rel")]
    assert trained


def test_a_run_that_cannot_be_saved_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*rest: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0\nmore")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"^digits/relu: cannot save the run in .*: \[enforce fail .* vs 0; the epochs before"):
        train_model("digits/relu", data=None, device="cpu", home=tmp_path, epochs=1)


def test_training_failures_are_input_errors_to_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hopeless = replace(SETTINGS, learning_rate=1e9)
    monkeypatch.setattr(training, "default_settings", lambda dataset, recipe: hopeless)
    with pytest.raises(InputError, match=r"^digits/relu-sigmoid_out: the loss is (nan|inf)"):
        train_model("digits/relu-sigmoid_out", data=None, device="cpu", home=tmp_path)
    assert not (tmp_path / "registry").exists()


def test_one_model_that_cannot_be_trained_does_not_stop_the_others(command: Command, tmp_path: Path) -> None:
    names = ("mnist/relu-mlp_8", "digits/relu-mlp_8")
    answer = command("train", *names, "--epochs", "30", "--data", tmp_path / "none", "--out", tmp_path)
    assert answer.code == 2
    assert "MNIST data not found" in answer.err
    assert "1 of 2 models were not trained: mnist/relu-mlp_8" in answer.err
    assert list(registry.read_cards(tmp_path)) == ["digits/relu-mlp_8"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mnits/relu", "did you mean 'mnist'"),
        ("digits/tanh", "'tanh' is no activation"),
        ("digits", "''"),
        ("digits/relog_last_9", "has 3 layers of units"),
        ("cifar10/relu-cnn_4_8_16", "cnn"),
        ("digits/relu-mlp_1500_1500", r"would take 4\.8 MB"),
    ],
)
def test_a_name_that_is_no_model_is_an_input_error(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        train_model(name, data=None, device="cpu", home=tmp_path)


def test_what_is_at_chance_on_the_test_set_goes_into_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", lambda *rest, **more: [])
    with pytest.raises(InputError, match=r"digits/relu: clean accuracy is \d+\.\d% on the test set, little better than chance"):
        train_model("digits/relu", data=None, device="cpu", home=tmp_path)
    assert not list(tmp_path.glob("*/*.*"))


@pytest.mark.parametrize(
    ("able", "wanted"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"bf16": True}, True), ({"avx512_vnni": True}, False)],
)
def test_bfloat16_is_for_processors_that_multiply_it(
    able: dict[str, bool], wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    device = torch.device("cpu")
    assert training._workplace("mnist/relu", "mnist", tmp_path, device).bfloat16 is wanted
    assert training._workplace("digits/relu", "digits", tmp_path, device).bfloat16 is False
