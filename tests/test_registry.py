"""The registry: every committed entry is what it says, and a damaged one is refused in one sentence."""

from __future__ import annotations

import pickle
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from robustboard.benchmark.datasets import DATASETS, load_dataset
from robustboard.benchmark.training import accuracy
from robustboard.models import registry
from robustboard.models.architectures import IMAGE_SHAPES, build_network
from robustboard.models.recipe import parse_recipe
from robustboard.models.registry import ModelCard, RegistryError, count_multiply_adds, load_model, read_cards, select_cards

CARDS = list(read_cards().values())
ENTRY = "digits-relu"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A registry of one model, free to be damaged."""
    for folder, ending in (("registry", "toml"), ("checkpoints", "safetensors")):
        (tmp_path / folder).mkdir()
        shutil.copy(registry.HOME / folder / f"{ENTRY}.{ending}", tmp_path / folder)
    return tmp_path


def change_entry(home: Path, **changes: Any) -> None:
    path = home / "registry" / f"{ENTRY}.toml"
    path.write_text(tomli_w.dumps(tomllib.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def checkpoint(home: Path) -> Path:
    return home / "checkpoints" / f"{ENTRY}.safetensors"


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_entry_describes_its_network(card: ModelCard) -> None:
    assert card.name == f"{card.dataset}/{card.recipe}"
    assert card.dataset in DATASETS
    if card.training is not None:
        assert (parse_recipe(card.recipe).adversary != "none") == (card.training.epsilon > 0)
    network = build_network(card.dataset, parse_recipe(card.recipe))
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert card.multiply_adds == count_multiply_adds(network, IMAGE_SHAPES[card.dataset])
    assert 0.1 < card.clean_accuracy <= 1


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_command_makes_the_entry_it_stands_in(card: ModelCard) -> None:
    assert shlex.split(card.command)[:2] == ["robustboard", "train" if card.training else "add"]
    assert card.name in shlex.split(card.command)[2:]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_checkpoint_is_small_and_the_one_its_entry_hashes(card: ModelCard) -> None:
    path = registry.HOME / "checkpoints" / card.checkpoint
    assert path.stat().st_size <= 4_000_000
    assert registry.file_sha256(path) == card.sha256


WITHOUT_CURVE = {"cifar10-relu-pgd_at"}
"""Its machine was gone before the curve was written; models/README.md says so. The next training brings it."""


def test_every_checkpoint_and_every_curve_belongs_to_an_entry_and_the_other_way_round() -> None:
    stems = {
        folder: {path.stem for path in (registry.HOME / folder).iterdir()} for folder in ("registry", "checkpoints", "curves")
    }
    assert stems["checkpoints"] == stems["registry"] == {card.stem for card in CARDS}
    assert stems["curves"] == {card.stem for card in CARDS if card.training} - WITHOUT_CURVE


def test_all_checkpoints_together_are_small() -> None:
    assert sum(path.stat().st_size for path in (registry.HOME / "checkpoints").iterdir()) <= 40_000_000


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_entry_loads_as_a_float32_network_in_evaluation_mode(card: ModelCard) -> None:
    network = load_model(card.name)
    assert not any(module.training for module in network.modules())
    floating = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float32}
    with torch.no_grad():
        logits = network(torch.rand(2, *IMAGE_SHAPES[card.dataset]))
    assert logits.shape == (2, 10)
    assert logits.dtype == torch.float32
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("card", [card for card in CARDS if card.dataset == "digits"], ids=lambda card: card.name)
def test_clean_accuracy_of_a_digits_model_is_its_entrys(card: ModelCard) -> None:
    data = load_dataset("digits", "test")
    assert accuracy(load_model(card), data.images, data.labels) == pytest.approx(card.clean_accuracy, abs=1e-3)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["relu", "relu-cnn_2_4_8", "relu-mlp_32-fast_at", "relog-quadratic-minmaxout_4_2-overlay"])
def test_clean_accuracy_of_a_mnist_model_is_its_entrys(real_data: Path, name: str) -> None:
    data = load_dataset("mnist", "test", real_data)
    expected = read_cards()[f"mnist/{name}"].clean_accuracy
    assert accuracy(load_model(f"mnist/{name}"), data.images, data.labels) == pytest.approx(expected, abs=1e-3)


def test_a_copied_registry_reads_like_the_original(home: Path) -> None:
    assert read_cards(home)["digits/relu"] == read_cards()["digits/relu"]
    assert registry.weights_sha256(load_model("digits/relu", home)) == registry.weights_sha256(load_model("digits/relu"))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


class Trap:
    """Unpickling it raises: a checkpoint that is a pickle must never get that far."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(flip_a_byte, "has sha256", id="a changed bit"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), "has sha256", id="truncated"),
        pytest.param(lambda path: path.write_bytes(b""), "has sha256", id="empty"),
        pytest.param(lambda path: path.write_bytes(pickle.dumps(Trap())), "has sha256", id="a pickle"),
        pytest.param(lambda path: path.unlink(), "is missing; make it with: robustboard train digits/relu", id="missing"),
    ],
)
def test_a_damaged_checkpoint_is_refused(home: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(checkpoint(home))
    with pytest.raises(RegistryError, match=reason) as trouble:
        load_model("digits/relu", home)
    assert str(trouble.value).startswith("digits/relu: checkpoint")
    assert "\n" not in str(trouble.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pickle.dumps(Trap()), id="a pickle"),
        pytest.param(b"", id="empty"),
        pytest.param((2**63 - 1).to_bytes(8, "little") + b"{}", id="a header of 2^63 bytes"),
    ],
)
def test_a_checkpoint_that_is_no_safetensors_file_is_refused_even_if_its_hash_fits(home: Path, content: bytes) -> None:
    checkpoint(home).write_bytes(content)
    change_entry(home, sha256=registry.file_sha256(checkpoint(home)))
    with pytest.raises(RegistryError, match="is no safetensors file") as trouble:
        load_model("digits/relu", home)
    assert "\n" not in str(trouble.value)


def test_a_checkpoint_of_another_recipe_is_refused_in_one_line(home: Path) -> None:
    other = build_network("digits", parse_recipe("relu-maxout_2"))
    change_entry(home, sha256=registry.save_checkpoint(registry.compact(other, "other"), checkpoint(home)))
    with pytest.raises(RegistryError, match="does not fit recipe 'relu'") as trouble:
        load_model("digits/relu", home)
    assert "\n" not in str(trouble.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("name = ", id="no TOML"),
        pytest.param("", id="empty"),
        pytest.param('name = "digits/relu"', id="fields missing"),
        pytest.param("\x00\x01", id="binary"),
    ],
)
def test_a_broken_entry_is_refused_in_one_line(home: Path, text: str) -> None:
    (home / "registry" / f"{ENTRY}.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RegistryError, match=f"{ENTRY}.toml does not read") as trouble:
        read_cards(home)
    assert "\n" not in str(trouble.value)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"parameters": "many"}, id="wrong type"),
        pytest.param({"recipe": "tanh"}, id="unknown recipe"),
        pytest.param({"name": "digits/relog"}, id="another model's name"),
        pytest.param({"clean_acuracy": 0.99}, id="unknown field"),
        pytest.param({"recipe": "relog"}, id="recipe is not the name's"),
        pytest.param({"dataset": "mnist"}, id="data set is not the name's"),
        pytest.param({"dataset": "imagenet"}, id="data set without networks"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_line(home: Path, changes: dict[str, Any]) -> None:
    change_entry(home, **changes)
    with pytest.raises(RegistryError, match=ENTRY) as trouble:
        read_cards(home)
    assert "\n" not in str(trouble.value)


def test_an_entry_without_a_data_set_in_its_name_is_refused(home: Path) -> None:
    (home / "registry" / f"{ENTRY}.toml").rename(home / "registry" / "relu.toml")
    path = home / "registry" / "relu.toml"
    fields = tomllib.loads(path.read_text(encoding="utf-8")) | {"name": "relu"}
    path.write_text(tomli_w.dumps(fields), encoding="utf-8")
    with pytest.raises(RegistryError):
        select_cards(["relu"], home)


def test_an_entry_that_is_no_utf8_is_refused(home: Path) -> None:
    (home / "registry" / f"{ENTRY}.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(RegistryError, match=ENTRY):
        read_cards(home)


def test_unknown_model_is_refused_with_the_known(home: Path) -> None:
    with pytest.raises(RegistryError, match=r"no model 'digits/relux'; did you mean 'digits/relu'\?"):
        load_model("digits/relux", home)
    with pytest.raises(RegistryError, match="no model 'vgg'; `robustboard models` lists the registry"):
        load_model("vgg", home)


def test_an_entry_whose_recipe_its_network_cannot_have_is_refused(home: Path) -> None:
    path = home / "registry" / f"{ENTRY}.toml"
    entry = tomllib.loads(path.read_text(encoding="utf-8")) | {"name": "digits/relog_last_9", "recipe": "relog_last_9"}
    path.with_name("digits-relog_last_9.toml").write_text(tomli_w.dumps(entry), encoding="utf-8")
    with pytest.raises(RegistryError, match=r"digits/relog_last_9: no network can be made of its entry: .*3 layers of units"):
        load_model("digits/relog_last_9", home)


def test_globs_choose_over_full_and_bare_names(home: Path) -> None:
    template = (home / "registry" / f"{ENTRY}.toml").read_text(encoding="utf-8")
    for dataset, recipe in (("digits", "relog"), ("mnist", "relu"), ("mnist", "relog-maxout_4")):
        fields = tomllib.loads(template) | {"name": f"{dataset}/{recipe}", "dataset": dataset, "recipe": recipe}
        (home / "registry" / f"{dataset}-{recipe}.toml").write_text(tomli_w.dumps(fields), encoding="utf-8")

    def names(*patterns: str) -> list[str]:
        return [card.name for card in select_cards(patterns, home)]

    everything = ["digits/relog", "digits/relu", "mnist/relog-maxout_4", "mnist/relu"]
    assert names("*") == everything
    assert names("relu") == ["digits/relu", "mnist/relu"]
    assert names("mnist/*") == ["mnist/relog-maxout_4", "mnist/relu"]
    assert names("relog*") == ["digits/relog", "mnist/relog-maxout_4"]
    assert names("mnist/relu", "mnist/*", "*") == everything  # each once
    assert names("RELU") == []
    assert names() == []


def test_weights_hash_sees_a_changed_weight_and_a_changed_buffer() -> None:
    before = registry.weights_sha256(load_model("digits/relu", folded=False))
    assert registry.weights_sha256(load_model("digits/relu", folded=False)) == before
    hashes = {before}
    for key in ("0.0.weight", "0.1.running_mean"):
        changed = load_model("digits/relu", folded=False)
        changed.state_dict()[key].view(-1)[0].add_(0.5)
        hashes.add(registry.weights_sha256(changed))
    assert len(hashes) == 3


def test_a_network_too_large_for_the_registry_is_not_saved(tmp_path: Path) -> None:
    network = build_network("digits", parse_recipe("relu-mlp_1500_1500"))
    with pytest.raises(RegistryError, match=r"digits/relu-mlp_1500_1500 would take 4\.8 MB; a registry checkpoint may take 4 MB"):
        registry.stored(network, "digits/relu-mlp_1500_1500", "", lambda found: 1.0, tmp_path)
    assert not list(tmp_path.rglob("*.*"))


def test_what_is_not_stored_leaves_what_was_there(home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    network = build_network("digits", parse_recipe("relu")).eval()
    with pytest.raises(RegistryError, match=r"clean accuracy is 20\.0% on the test set, little better than chance"):
        registry.stored(network, "digits/relu", "", lambda found: 0.2, home, above=0.2)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("factor", [1e-8, 1e7], ids=["too small", "too large"])
def test_what_half_precision_cannot_hold_is_stored_whole(tmp_path: Path, factor: float) -> None:
    torch.manual_seed(0)
    network = build_network("digits", parse_recipe("relu")).eval()
    images = torch.rand(200, 1, 8, 8)
    with torch.no_grad():
        last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight.mul_(factor)  # out of half precision's range: the logits would be the biases, or not finite
        last.bias.zero_()
        answers = network(images).argmax(1)

    def agreement(found: torch.nn.Module) -> float:
        with torch.no_grad():
            logits = found(images)
        return float((logits.isfinite().all(1) & (logits.argmax(1) == answers)).float().mean())

    card = registry.stored(network, "digits/relu", "", agreement, tmp_path, above=0.2)
    assert card.clean_accuracy > 0.99
    loaded = load_model(card, tmp_path, folded=False).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in network.state_dict().items())


def test_saving_rounds_weights_to_half_precision_and_nothing_else(tmp_path: Path) -> None:
    network = build_network("digits", parse_recipe("relog"))
    sha = registry.save_checkpoint(registry.compact(network, "relog"), tmp_path / "checkpoints" / f"{ENTRY}.safetensors")
    card = ModelCard("digits/relog", "digits", "relog", f"{ENTRY}.safetensors", sha, 0, 0, 0.5, "", CARDS[0].training)
    loaded = load_model(card, tmp_path, folded=False).state_dict()
    for key, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            # Half precision: 11 significant bits, so that rounding moves a normal number by at most 2^-11 of itself.
            assert bool(((loaded[key] - tensor).abs() <= tensor.abs() * 2**-11 + 2**-25).all())
        else:
            assert torch.equal(loaded[key], tensor)


@pytest.mark.parametrize("card", [card for card in CARDS if card.dataset == "digits"], ids=lambda card: card.name)
def test_folding_batch_normalisation_changes_nothing_but_rounding(card: ModelCard) -> None:
    images = load_dataset("digits", "test").images[:200]
    with torch.no_grad():
        folded, unfolded = load_model(card)(images), load_model(card, folded=False)(images)
    torch.testing.assert_close(folded, unfolded, rtol=1e-4, atol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in load_model(card).modules())
