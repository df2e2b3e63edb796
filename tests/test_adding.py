"""`robustboard add`: what is fit becomes an entry that a run can attack; what would make numbers doubtful is refused."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conftest import Command, guide_example
from robustboard.benchmark import adding
from robustboard.benchmark.adding import add_model, check
from robustboard.benchmark.api import evaluate
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.elsewhere import filled
from robustboard.benchmark.errors import InputError, ModelFaultError
from robustboard.benchmark.subjects import registry_subjects
from robustboard.benchmark.training import accuracy
from robustboard.models import registry
from robustboard.models.registry import HOME, file_sha256, load_model, read_cards

TRAINED = HOME / "checkpoints" / "digits-relu.safetensors"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint of digits/relu in single precision, as someone else would hold it."""
    path = tmp_path / "mine.safetensors"
    save_file({key: tensor.float() for key, tensor in load_file(TRAINED).items()}, path)
    return path


def test_a_checkpoint_becomes_an_entry_that_loads_back(
    command: Command, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.chdir(weights.parent)
    answer = command(*shlex.split(guide_example("add"))[1:], "--out", home, "--tag", "quick")
    assert answer.code == 0, answer.err
    card = read_cards(home)["digits/relu-seed_7"]
    mine = read_cards()["digits/relu"]
    assert (card.parameters, card.multiply_adds, card.clean_accuracy) == (
        mine.parameters,
        mine.multiply_adds,
        mine.clean_accuracy,
    )
    assert card.training is None
    assert card.tags == ["quick"]
    images = load_dataset("digits", "test").images[:50]
    with torch.no_grad():
        assert torch.equal(load_model(card, home)(images), load_model("digits/relu")(images))
    refused = command("add", "digits/relu-seed_7", "--from", weights, "--out", home)
    assert refused.code == 2
    assert "has a 'digits/relu-seed_7' already" in refused.err


def test_an_entry_written_by_hand_is_attacked_like_any_other(tmp_path: Path) -> None:
    for folder in ("registry", "checkpoints"):
        (tmp_path / folder).mkdir()
    (tmp_path / "registry" / "digits-relu-seed_7.toml").write_text(guide_example("entry"), encoding="utf-8")
    shutil.copy(TRAINED, tmp_path / "checkpoints" / "digits-relu-seed_7.safetensors")
    (subject,) = registry_subjects(["relu-seed_*"], ["digits"], tmp_path)
    network = subject.build()
    test = load_dataset("digits", "test")
    assert subject.expected_clean_accuracy == pytest.approx(accuracy(network.eval(), test.images, test.labels))
    found = evaluate(network, test.images[:20], test.labels[:20], ["bim"], device="cpu")["bim"]
    theirs = evaluate(load_model("digits/relu"), test.images[:20], test.labels[:20], ["bim"], device="cpu")["bim"]
    assert found.per_example.fooled == theirs.per_example.fooled


def test_weights_of_another_recipe_that_fit_are_doubted(command: Command, tmp_path: Path) -> None:
    """Maxout's pieces have the same weights whether ReLU or the logarithm follows."""
    donor = read_cards()["digits/relog-maxout_4-sigmoid_out"]
    assert adding.doubt(donor) == ""
    answer = command("add", "digits/relu-maxout_4", "--from", HOME / "checkpoints" / donor.checkpoint, "--out", tmp_path)
    assert answer.code == 0, answer.err
    card = read_cards(tmp_path)["digits/relu-maxout_4"]
    assert card.clean_accuracy < donor.clean_accuracy
    assert re.search(r"warning: \d+\.\d\d% is less than any of the \d+ others of digits has", answer.err)
    assert "are the weights those of a relu-maxout_4?" in answer.err


def test_a_file_of_another_hash_is_refused(command: Command, weights: Path, tmp_path: Path) -> None:
    hashed = file_sha256(weights)
    refused = command("add", "digits/relu-seed_7", "--from", weights, "--sha256", hashed[::-1], "--out", tmp_path / "home")
    assert refused.code == 2
    assert f"mine.safetensors has sha256 {hashed}, not {hashed[::-1]}" in refused.err
    assert not (tmp_path / "home").exists()
    answer = command("add", "digits/relu-seed_7", "--from", weights, "--sha256", hashed, "--out", tmp_path / "home")
    assert answer.code == 0, answer.err


def test_a_network_that_answers_with_probabilities_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "filled", lambda network, file: nn.Sequential(filled(network, file), nn.Softmax(1)))
    with pytest.raises(ModelFaultError, match="digits/relu-seed_7 answers with probabilities: logits are wanted"):
        add_model("digits/relu-seed_7", weights, data=None, home=tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("digits/tanh", "no activation"), ("digit/relu", "did you mean 'digits'"), ("digits/relu-mlp_8", "does not fit")],
)
def test_a_name_that_is_no_recipe_or_another_is_refused(weights: Path, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises((InputError, ModelFaultError), match=said):
        add_model(name, weights, data=None, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_an_untrained_network_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        key: torch.randn_like(tensor.float()).abs() for key, tensor in load_file(TRAINED).items() if tensor.is_floating_point()
    }
    whole = {**load_file(TRAINED), **tensors}
    save_file(whole, tmp_path / "noise.safetensors")
    with pytest.raises(ModelFaultError, match="no better than chance"):
        add_model("digits/relu-seed_7", tmp_path / "noise.safetensors", data=None, home=tmp_path / "home")


class Around(nn.Module):
    """digits/relu with something done to its images before and to its logits after."""

    def __init__(self, before: object = None, after: object = None) -> None:
        super().__init__()
        self.network = registry.load_model("digits/relu")
        self.before, self.after = before or (lambda images: images), after or (lambda logits: logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: Around(after=lambda logits: logits + 1e-4 * torch.randn_like(logits)), "differently a second time"),
        (lambda: Around(after=lambda logits: logits + logits.std(0)), "beside other images"),
        (lambda: Around(before=lambda images: images.detach().round() + 0 * images), "gradient"),
        (lambda: Around(before=lambda images: 0.5 * images + 0.5), "x - 0.5"),
        (lambda: Around(before=lambda images: images / 255), "times 255"),
    ],
    ids=["random", "batch", "flat", "normalised", "bytes"],
)
def test_what_would_make_every_number_doubtful_is_refused(network: object, said: str) -> None:
    with pytest.raises(ModelFaultError, match=said):
        check("mine", network().eval(), load_dataset("digits", "test"))  # type: ignore[operator]


def test_every_model_of_the_registry_would_be_let_in() -> None:
    for name in read_cards():
        if name.startswith("digits/"):
            check(name, load_model(name), load_dataset("digits", "test"))
