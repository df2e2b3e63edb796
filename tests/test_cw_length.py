"""C&W's distances against those that DDN and FMN, its fellow minimum-norm attacks, find in as many passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import keys
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.projections import norms
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.judge import CountedModel
from robustboard.models.registry import load_model, read_cards

NETWORKS = ["digits/relu", "digits/relu-fast_at", "mnist/relu-cnn_32_64_256", "mnist/relu-fast_at"]
COUNTS = {"digits": 150, "mnist": 24}


@pytest.fixture(scope="module", params=NETWORKS)
def problem(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A registry network, the first test images it has right, their labels."""
    name: str = request.param
    dataset = name.split("/", maxsplit=1)[0]
    folder = None if dataset == "digits" else request.getfixturevalue("real_data")
    data = load_dataset(dataset, "test", folder).select(range(COUNTS[dataset]))
    model = load_model(read_cards()[name]).eval().requires_grad_(False)
    right = (model(data.images).argmax(1) == data.labels).nonzero().flatten()
    return model, data.images[right], data.labels[right]


def mean_distance(problem: tuple[torch.nn.Module, Tensor, Tensor], name: str, **parameters: Any) -> tuple[float, float]:
    """The mean L2 distance, every example being found, and the passes an example, forward and back."""
    network, images, labels = problem
    model = CountedModel(network)
    made = attack_cards()[name].bind(**parameters)(model, images, labels, keys(len(images)), epsilon=2.0).images
    assert bool((network(made).argmax(1) != labels).all())
    return float(norms(made - images, "l2").mean()), (model.forwards + model.backwards) / len(images)


@pytest.mark.parametrize("other", ["ddn", "fmn"])
def test_cw_is_no_longer_than_the_papers_walks_in_as_many_passes(
    problem: tuple[torch.nn.Module, Tensor, Tensor], other: str
) -> None:
    mine, passes = mean_distance(problem, "cw")
    theirs, spent = mean_distance(problem, other, steps=round(passes / 2))
    assert spent == pytest.approx(passes, rel=0.02)
    assert mine <= theirs


@pytest.mark.parametrize("other", ["ddn", "fmn"])
def test_cw_is_as_long_as_walks_from_many_points_in_as_many_passes(
    problem: tuple[torch.nn.Module, Tensor, Tensor], other: str
) -> None:
    # With their passes spent on five walks each, as C&W's start spends its own, the three find the same but for chance.
    mine, passes = mean_distance(problem, "cw")
    five: dict[str, Any] = {"steps": round(passes / 10), "restarts": 5, "gamma": 0.5, "initial_norm": 8.0}
    theirs, spent = mean_distance(problem, other, **five, **({"final_share": 0.02} if other == "ddn" else {}))
    assert spent == pytest.approx(passes, rel=0.05)
    assert mine <= 1.02 * theirs
