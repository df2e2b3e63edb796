"""What the registry is to hold: names that parse, networks that can be built, sizes that are fair."""

from __future__ import annotations

import re

import pytest

from conftest import ROOT
from robustboard.models.architectures import IMAGE_SHAPES, build_network
from robustboard.models.plan import ABLATIONS, SEEDS, SIZES, matching, planned
from robustboard.models.recipe import parse_recipe
from robustboard.models.registry import (
    MAXIMUM_CHECKPOINT_BYTES,
    ModelCard,
    count_multiply_adds,
    count_parameters,
    read_cards,
)
from robustboard.models.training import default_settings


@pytest.mark.parametrize("name", planned())
def test_every_planned_model_can_be_built_and_stored(name: str) -> None:
    dataset, recipe = name.split("/")
    assert str(parse_recipe(recipe)) == recipe
    parameters = count_parameters(build_network(dataset, parse_recipe(recipe)))
    assert 2 * parameters <= MAXIMUM_CHECKPOINT_BYTES, "half precision"
    if recipe in ABLATIONS[dataset]:
        network, plain = (build_network(dataset, parse_recipe(each)) for each in (recipe, "relu"))
        assert parameters <= 1.25 * count_parameters(plain)
        shape = IMAGE_SHAPES[dataset]
        assert count_multiply_adds(network, shape) <= 1.25 * count_multiply_adds(plain, shape)


def test_an_ablation_is_trained_on_one_schedule() -> None:
    for dataset, names in ABLATIONS.items():
        plain = default_settings(dataset, parse_recipe("relu"))
        for name in names:
            told = default_settings(dataset, parse_recipe(name))
            for same in ("epochs", "batch_size", "learning_rate", "momentum", "weight_decay", "augmentation"):
                assert getattr(told, same) == getattr(plain, same), name


def test_the_plan_has_the_sizes_and_seeds_it_names() -> None:
    assert len(ABLATIONS["mnist"]) == 4 + 3 * 8
    assert len(ABLATIONS["cifar10"]) == 10
    counts = [count_parameters(build_network("mnist", parse_recipe(name))) for name in SIZES]
    assert counts == sorted(counts)
    assert counts[0] < 2000
    assert len(SEEDS) == 10
    assert {default_settings("mnist", parse_recipe(name)).seed for name in SEEDS[:5]} == set(range(5))


def test_globs_mean_the_registry_and_the_plan_and_names_themselves() -> None:
    assert matching(["mnist/relu-seed_*"], []) == [f"mnist/relu-seed_{n}" for n in range(1, 5)]
    assert matching(["digits/*", "mnist/relu"], ["digits/relu"]) == ["digits/relu", "mnist/relu"]
    assert matching(["mnist/relu-mlp_7"], []) == ["mnist/relu-mlp_7"]
    with pytest.raises(ValueError, match="matches 'imagenet"):
        matching(["imagenet/*"], [])


def test_what_is_planned_and_not_trained_is_told() -> None:
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    line = next((line for line in text.splitlines() if line.startswith("- Planned and not trained yet: ")), "")
    assert sorted(re.findall(r"`([a-z0-9]+/[^`]+)`", line)) == sorted(set(planned()) - set(read_cards()))


@pytest.mark.parametrize("card", read_cards().values(), ids=lambda card: card.name)
def test_an_entry_was_trained_by_the_settings_that_its_command_takes(card: ModelCard) -> None:
    # `train` takes the entry's settings where there is one: without it the command would have to make the same network.
    assert card.training == default_settings(card.dataset, parse_recipe(card.recipe))
