"""Training: reproducible, resumable, loud when it goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from robustboard.benchmark import training
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.training import accuracy
from robustboard.models import registry
from robustboard.models.architectures import build_network
from robustboard.models.recipe import Recipe, parse_recipe
from robustboard.models.training import TrainingError, TrainingSettings, default_settings
from robustboard.models.training.loop import EpochRecord, Workplace, _refuse_overfitting, train
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


class Cut(Exception):  # noqa: N818  (it stands for a kill)
    """A kill after an epoch."""


@pytest.mark.parametrize("cut_after", [1, 2])
def test_a_cut_and_resumed_run_gives_the_weights_of_an_uncut_one(tmp_path: Path, cut_after: int) -> None:
    whole = fresh()
    whole_curve = run(whole)
    workplace = replace(CPU, resume_file=tmp_path / "training" / "run.pt", commit="one")

    def cut(record: EpochRecord) -> None:
        if record.epoch == cut_after:
            raise Cut

    with pytest.raises(Cut):
        train(fresh(), *digits(), RELU, SETTINGS, workplace, on_epoch=cut)
    # The second process starts from other weights: whatever it ends with came from the file.
    resumed = fresh(seed=99)
    seen: list[int] = []
    workplace = replace(workplace, commit="two")
    curve = train(resumed, *digits(), RELU, SETTINGS, workplace, on_epoch=lambda record: seen.append(record.epoch))
    assert registry.weights_sha256(resumed) == registry.weights_sha256(whole)
    assert [(record.loss, record.accuracy) for record in curve] == [(r.loss, r.accuracy) for r in whole_curve]
    assert seen == [1, 2, 3]
    assert [record.commit for record in curve] == ["one"] * cut_after + ["two"] * (3 - cut_after)


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


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"epsilon": 2.0}, {"attack_steps": 0}], ids=str
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainingSettings(**{**vars(SETTINGS), **wrong})


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


def test_overfitting_is_seen_however_low_the_accuracies_are() -> None:
    with pytest.raises(
        TrainingError, match=r"catastrophic overfitting at epoch 3: 45\.0% right against one step, 10\.0% against"
    ):
        _refuse_overfitting(3, 0.45, 0.10, 10)
    _refuse_overfitting(3, 0.45, 0.40, 10)
    _refuse_overfitting(1, 0.15, 0.02, 10)  # it has learnt nothing yet


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
