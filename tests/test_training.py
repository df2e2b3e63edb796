"""Training: reproducible, resumable, loud when it goes wrong."""

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
from robustboard.models.architectures import build_network
from robustboard.models.recipe import Recipe, parse_recipe
from robustboard.models.training import TrainingError, TrainingSettings, default_settings
from robustboard.models.training.loop import EpochRecord, Workplace, train
from robustboard.models.training.objective import losses, negative_losses

RELU = parse_recipe("relu")
SETTINGS = replace(default_settings("digits", RELU), epochs=3)
CPU = Workplace(torch.device("cpu"), bfloat16=False)


def digits() -> tuple[Tensor, Tensor]:
    data = load_dataset("digits", "train")
    return data.images[:320], data.labels[:320]


def fresh(seed: int = 0, recipe: str = "relu") -> nn.Module:
    torch.manual_seed(seed)
    return build_network("digits", parse_recipe(recipe))


def run(network: nn.Module, settings: TrainingSettings = SETTINGS, recipe: Recipe = RELU) -> list[EpochRecord]:
    return train(network, *digits(), recipe, settings, CPU)


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


class Cut(Exception):  # noqa: N818  (it stands for a kill)
    """A kill after an epoch."""


@pytest.mark.parametrize("cut_after", [1, 2])
def test_a_cut_and_resumed_run_gives_the_weights_of_an_uncut_one(tmp_path: Path, cut_after: int) -> None:
    whole = fresh()
    whole_curve = run(whole)
    workplace = replace(CPU, resume_file=tmp_path / "training" / "run.pt")

    def cut(record: EpochRecord) -> None:
        if record.epoch == cut_after:
            raise Cut

    with pytest.raises(Cut):
        train(fresh(), *digits(), RELU, SETTINGS, workplace, on_epoch=cut)
    # The second process starts from other weights: whatever it ends with came from the file.
    resumed = fresh(seed=99)
    seen: list[int] = []
    curve = train(resumed, *digits(), RELU, SETTINGS, workplace, on_epoch=lambda record: seen.append(record.epoch))
    assert registry.weights_sha256(resumed) == registry.weights_sha256(whole)
    assert [(record.loss, record.accuracy) for record in curve] == [(r.loss, r.accuracy) for r in whole_curve]
    assert seen == [1, 2, 3]


def test_a_resume_file_of_other_settings_is_refused(tmp_path: Path) -> None:
    workplace = replace(CPU, resume_file=tmp_path / "run.pt")
    train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=1), workplace)
    with pytest.raises(TrainingError, match=r"run\.pt belongs to a run with other settings"):
        train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=1, seed=1), workplace)


def test_a_damaged_resume_file_is_named(tmp_path: Path) -> None:
    workplace = replace(CPU, resume_file=tmp_path / "run.pt")
    train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=1), workplace)
    content = (tmp_path / "run.pt").read_bytes()
    (tmp_path / "run.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match=r"run\.pt"):
        train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=1), workplace)


def test_an_infinite_loss_stops_the_run() -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at epoch 1, step \d+: lower the learning rate"):
        run(fresh(), replace(SETTINGS, learning_rate=1e9))


def test_accuracy_at_chance_stops_the_run_half_way() -> None:
    images, _ = digits()
    labels = torch.randint(10, (len(images),), generator=torch.Generator().manual_seed(0))
    # A learning rate of 0 learns nothing, and random labels are right one time in ten.
    settings = replace(SETTINGS, epochs=4, learning_rate=0.0)
    with pytest.raises(TrainingError, match="after 2 of 4 epochs, little better than chance"):
        train(fresh(), images, labels, RELU, settings, CPU)


def test_a_network_that_had_learnt_and_lost_it_is_refused() -> None:
    images, labels = digits()

    def blank_later(model: nn.Module, x: Tensor, y: Tensor, keys: Tensor) -> Tensor:
        steps.append(1)
        return x if len(steps) <= 20 else torch.zeros_like(x)

    steps: list[int] = []
    seen: list[EpochRecord] = []
    plan = replace(SETTINGS, epochs=8)
    with pytest.raises(TrainingError, match="after 4 of 8 epochs, little better than chance"):
        train(fresh(), images, labels, RELU, plan, CPU, perturb=blank_later, on_epoch=seen.append)
    assert max(record.accuracy for record in seen) > 0.3, "it had learnt"


def test_what_is_at_chance_on_the_test_set_goes_into_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", lambda *rest, **more: [])
    with pytest.raises(InputError, match=r"digits/relu: clean accuracy is \d+\.\d% on the test set, little better than chance"):
        train_model("digits/relu", data=None, device="cpu", home=tmp_path)
    assert not list(tmp_path.glob("*/*.*"))


def test_a_resume_file_of_another_network_is_refused(tmp_path: Path) -> None:
    workplace = replace(CPU, resume_file=tmp_path / "run.pt")
    train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=1), workplace)
    with pytest.raises(TrainingError, match=r"run\.pt belongs to another network: remove it"):
        train(fresh(recipe="relu-maxout_2"), *digits(), RELU, replace(SETTINGS, epochs=1), workplace)


def test_initialisation_from_the_first_batch_changes_the_run_and_survives_a_cut(tmp_path: Path) -> None:
    settings = replace(SETTINGS, initialise=True)
    whole, plain = fresh(), fresh()
    run(whole, settings)
    run(plain)
    assert registry.weights_sha256(whole) != registry.weights_sha256(plain)
    workplace = replace(CPU, resume_file=tmp_path / "run.pt")

    def cut(record: EpochRecord) -> None:
        raise Cut

    with pytest.raises(Cut):
        train(fresh(), *digits(), RELU, settings, workplace, on_epoch=cut)
    resumed = fresh(seed=99)
    train(resumed, *digits(), RELU, settings, workplace)
    assert registry.weights_sha256(resumed) == registry.weights_sha256(whole)


def test_training_learns_and_leaves_evaluation_mode() -> None:
    network = fresh()
    curve = run(network, replace(SETTINGS, epochs=8))
    assert curve[-1].loss < curve[0].loss
    assert not network.training
    data = load_dataset("digits", "test")
    assert accuracy(network, data.images, data.labels) > 0.8


def test_the_sigmoid_head_trains() -> None:
    network = fresh(recipe="relu-sigmoid_out")
    curve = run(network, replace(SETTINGS, epochs=8), parse_recipe("relu-sigmoid_out"))
    assert curve[-1].loss < curve[0].loss
    data = load_dataset("digits", "test")
    assert accuracy(network, data.images, data.labels) > 0.5  # five times chance, from 320 images


def test_the_losses_at_zero_logits_are_known() -> None:
    logits, target = torch.zeros(4, 10), torch.tensor([0, 3, 9, 9])
    # sigmoid(0) = 1/2: ten squared errors of 1/4; softmax(0) = 1/10 each, whatever the smoothing.
    assert losses(logits, target, "sigmoid", SETTINGS).tolist() == pytest.approx([2.5] * 4)
    assert losses(logits, target, "softmax", SETTINGS).tolist() == pytest.approx([2.302585] * 4, rel=1e-5)
    # Negatives ask for all zeros of one head, and for the same of all classes of the other.
    assert negative_losses(logits, "sigmoid").tolist() == pytest.approx([2.5] * 4)
    assert negative_losses(logits + 7, "softmax").tolist() == pytest.approx([2.302585] * 4, rel=1e-5)
    assert float(negative_losses(torch.tensor([[5.0, *[0.0] * 9]]), "softmax")) > 2.4


def test_adversarial_training_sees_what_its_attack_returns_once_a_batch() -> None:
    keys_seen: list[int] = []

    def blank(model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        assert not any(parameter.requires_grad for parameter in model.parameters()), "the adversary has no use for that"
        assert keys.dtype == torch.int64
        assert keys.shape == labels.shape
        keys_seen.extend(keys.tolist())
        return torch.zeros_like(images)

    settings = replace(SETTINGS, epochs=2)
    network = fresh()
    # All images look alike to the network, so that it can learn nothing but chance: it did see the attack's images.
    with pytest.raises(TrainingError, match="little better than chance"):
        train(network, *digits(), RELU, settings, CPU, perturb=blank)
    assert len(keys_seen) == 320
    assert len(set(keys_seen)) == 320
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", ["relu-fast_at", "relu-pgd_at", "relu-trades"])
def test_the_adversary_of_training_stays_in_ball_and_box_and_raises_the_loss(name: str) -> None:
    settings = default_settings("digits", parse_recipe(name))
    perturb = training._perturb(settings)
    assert perturb is not None
    network = registry.load_model("digits/relu")
    data = load_dataset("digits", "test").select(range(200))
    harder = perturb(network, data.images, data.labels, torch.arange(200))
    assert float((harder - data.images).abs().max()) <= settings.epsilon + 1e-6
    assert float(harder.min()) >= 0
    assert float(harder.max()) <= 1
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        assert loss(network(harder), data.labels) > 2 * loss(network(data.images), data.labels)


def test_several_steps_raise_the_loss_further_than_one() -> None:
    network = registry.load_model("digits/relu-fast_at")
    data = load_dataset("digits", "test").select(range(200))
    found = []
    for name in ("relu-fast_at", "relu-pgd_at"):
        perturb = training._perturb(default_settings("digits", parse_recipe(name)))
        assert perturb is not None
        with torch.no_grad():
            harder = perturb(network, data.images, data.labels, torch.arange(200))
            found.append(float(nn.functional.cross_entropy(network(harder), data.labels)))
    assert found[1] > found[0]


def test_what_holds_against_one_step_only_stops_the_run() -> None:
    def one_step(model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        return images

    def blank(model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        return torch.zeros_like(images)

    with pytest.raises(TrainingError, match=r"catastrophic overfitting at epoch \d+: .* right against one step"):
        train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=8), CPU, perturb=one_step, probe=blank)
    curve = train(fresh(), *digits(), RELU, replace(SETTINGS, epochs=2), CPU, perturb=one_step, probe=one_step)
    assert all(record.probed is not None for record in curve)


def test_training_without_an_epsilon_has_no_adversary() -> None:
    assert training._perturb(default_settings("digits", RELU)) is None
    assert training._probe(default_settings("digits", RELU)) is None
    assert training._probe(default_settings("digits", parse_recipe("relu-pgd_at"))) is None
