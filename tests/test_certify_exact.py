"""The exact method: against brute force on grids, against the bounds, against attacks, and the committed answer again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import ROOT, keys
from robustboard.attacks.pgd import pgd
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.certify.exact import search, stages
from robustboard.benchmark.certify.layers import Layer
from robustboard.benchmark.certify.methods import ExampleAnswer, Task, answers, margins
from robustboard.benchmark.certify.record import CertifiedResult, MethodName, read_certificate
from robustboard.benchmark.certify.trace import UncertifiableError, trace
from robustboard.benchmark.datasets import Dataset, load_dataset
from robustboard.benchmark.diagnose.record import read_diagnoses
from robustboard.benchmark.judge import Threat, judge, look_clean
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.results import read_folder
from robustboard.models.registry import load_model, read_cards
from small_networks import SHAPE, random_images, random_network

SEEDS = st.integers(0, 10**6)
RADII = st.floats(0.02, 0.3)
COMMITTED = ROOT / "leaderboards/exact/standard@eps-0.1/mnist/relu-mlp_32-fast_at/exact.json"
STEPS = 41


def tiny(seed: int, features: int = 3, scale: float = 2.0) -> nn.Module:
    torch.manual_seed(seed)
    widths = [features, 6, 5]
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), *layers, nn.Linear(5, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    return network.requires_grad_(False)


def grid(image: Tensor, epsilon: float) -> Tensor:
    """Points of the ball around an image (1, 1, F) in equal steps, corners included, (P, 1, 1, F) float64."""
    lines = [
        torch.linspace(max(0.0, float(x) - epsilon), min(1.0, float(x) + epsilon), STEPS, dtype=torch.float64)
        for x in image.flatten()
    ]
    return torch.cartesian_prod(*lines).reshape(-1, 1, 1, len(lines))


def logits(layers: list[Layer], points: Tensor) -> Tensor:
    for layer in layers:
        points = layer(points)
    return points


def task_of(network: nn.Module, images: Tensor, epsilon: float, labels: Tensor | None = None) -> Task:
    labels = network(images).argmax(1) if labels is None else labels
    clean = look_clean(network, images, labels, "softmax")
    return Task(network, "softmax", Dataset("memory", "test", images, labels), range(len(labels)), clean.correct, epsilon, 0)


def verdicts(task: Task, method: MethodName) -> list[ExampleAnswer]:
    found = answers(task, method, range(len(task.indices)), 20.0)
    return sorted(found, key=lambda answer: answer.index)


@settings(max_examples=25, deadline=None)
@given(SEEDS, RADII, st.sampled_from([2, 3]))
def test_the_largest_margin_found_is_that_of_a_grid(seed: int, epsilon: float, features: int) -> None:
    network, image = tiny(seed, features), random_images(1, seed, (1, 1, features))
    layers = trace(network, (1, 1, features))
    label = network(image).argmax(1)
    found = margins(layers, image, label, epsilon)
    points = grid(image[0], epsilon)
    there = logits(layers, points)
    # No gradient of this network is longer, in L1, than the product of its matrices' norms; a grid point is half a step away.
    steepest = 2.0
    for part in stages(layers):
        steepest *= abs(part.weight).sum(1).max()
    miss = steepest * epsilon / (STEPS - 1)
    for wrong in {0, 1, 2} - {int(label)}:
        best = float((there[:, wrong] - there[:, int(label)]).max())
        answer = search(stages(layers), found.boxes, int(label), wrong, slack=1e3, seconds=20)
        assert answer.point is not None
        value = logits(layers, answer.point.reshape(1, 1, 1, features))[0]
        reached = float(value[wrong] - value[int(label)])
        assert best - 1e-3 <= reached <= best + miss + 1e-6
        assert answer.margin is not None
        assert -reached - 1e-3 <= answer.margin <= -best + 1e-6


@settings(max_examples=25, deadline=None)
@given(SEEDS, RADII)
def test_verdicts_are_those_of_a_grid(seed: int, epsilon: float) -> None:
    network, images = tiny(seed), random_images(3, seed, (1, 1, 3))
    task = task_of(network, images, epsilon)
    for answer in verdicts(task, "exact"):
        points = grid(images[answer.index], epsilon)
        there = logits(task.layers(), points)
        fooled = bool((there.argmax(1) != task.examples.labels[answer.index]).any())
        if answer.verdict == "robust":
            assert not fooled
        if fooled:
            assert answer.verdict in ("fooled", "undecided")
        assert answer.verdict != "misclassified"


@settings(max_examples=15, deadline=None)
@given(SEEDS, RADII)
def test_bounds_and_attacks_agree_with_the_exact_answer(seed: int, epsilon: float) -> None:
    network, images = tiny(seed, features=8), random_images(4, seed, (1, 2, 4))
    task = task_of(network, images, epsilon)
    exact, crown, interval = (verdicts(task, method) for method in ("exact", "crown", "interval"))  # type: ignore[arg-type]
    attacked = pgd(network, images, task.examples.labels, keys(4, seed), epsilon=epsilon, restarts=5).images
    fooled = judge(network, images, task.examples.labels, attacked, Threat("linf", epsilon, "budget"), "softmax").adversarial
    for answer, by_crown, by_interval, hit in zip(exact, crown, interval, fooled.tolist(), strict=True):
        proved = "robust" in (by_crown.verdict, by_interval.verdict)
        assert not (proved and answer.verdict != "robust")
        assert not (hit and answer.verdict == "robust")
        assert not (by_interval.verdict == "robust" and by_crown.verdict != "robust")


def test_the_solver_decides_what_neither_bounds_nor_the_attack_do() -> None:
    tasks = [task_of(random_network("dense", seed), random_images(6, seed), 0.3) for seed in range(6)]
    kinds = {(answer.verdict, answer.means) for task in tasks for answer in verdicts(task, "exact")}
    assert {("robust", "crown"), ("fooled", "pgd"), ("robust", "milp")} <= kinds


@pytest.mark.parametrize("name", ["strided", "mean_pooled"])
def test_convolutions_and_means_are_matrices_too(name: str) -> None:
    network, images = random_network(name, 3), random_images(4, 3)
    exact, crown = (verdicts(task_of(network, images, 0.05), method) for method in ("exact", "crown"))  # type: ignore[arg-type]
    assert {answer.verdict for answer in exact} <= {"robust", "fooled"}
    assert all(e.verdict == "robust" for e, c in zip(exact, crown, strict=True) if c.verdict == "robust")


def test_a_tie_is_an_error() -> None:
    # The two logits are equal at the ball's lower end and nowhere else: x = 0.25 against a constant 0.25.
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).requires_grad_(False)
    network[1].weight.copy_(torch.tensor([[1.0], [0.0]]))
    network[1].bias.copy_(torch.tensor([0.0, 0.25]))
    image = torch.full((1, 1, 1, 1), 0.5)
    assert verdicts(task_of(network, image, 0.25), "exact")[0].verdict == "fooled"
    assert verdicts(task_of(network, image, 0.2499), "exact")[0].verdict == "robust"


def test_a_clean_error_is_no_robust_example() -> None:
    network, images = tiny(0), random_images(3, 0, (1, 1, 3))
    wrong = (network(images).argmax(1) + 1) % 3
    for method in ("interval", "crown", "exact"):
        found = verdicts(task_of(network, images, 0.0, wrong), method)  # type: ignore[arg-type]
        assert [answer.verdict for answer in found] == ["misclassified"] * 3


def test_running_out_of_time_is_undecided() -> None:
    network, images = tiny(1, features=8, scale=1.5), random_images(4, 1, (1, 2, 4))
    task = task_of(network, images, 0.3)
    layers = task.layers()
    found = margins(layers, images[:1], task.examples.labels[:1], 0.3)
    label = int(task.examples.labels[0])
    assert search(stages(layers), found.boxes, label, (label + 1) % 3, slack=0.0, seconds=0.0).status != "found"
    assert search(stages(layers), found.boxes, label, (label + 1) % 3, slack=1e3, seconds=0.0).status != "empty"


def test_other_layers_are_refused_with_the_way_out() -> None:
    with pytest.raises(UncertifiableError, match="not MaxPool: use --method crown"):
        stages(trace(random_network("max_pooled", 0), SHAPE))


@cache
def committed() -> CertifiedResult:
    return read_certificate(COMMITTED)


def committed_task(folder: Path, indices: list[int]) -> Task:
    network = load_model("mnist/relu-mlp_32-fast_at").requires_grad_(False)
    examples = load_dataset("mnist", "test", folder).select(indices)
    clean = look_clean(network, examples.images, examples.labels, "softmax")
    return Task(network, "softmax", examples, indices, clean.correct, committed().method.eps, committed().environment.seed)


def test_the_committed_answer_is_of_the_committed_weights_and_says_something() -> None:
    result = committed()
    assert result.model.weights_sha256 == read_cards()["mnist/relu-mlp_32-fast_at"].sha256
    assert result.outcome.n == 1000
    rows = list(zip(result.per_example.verdict, result.per_example.means, strict=True))
    # Bounds alone fall short of it, and the attack alone goes beyond it.
    assert 0.1 < rows.count(("robust", "crown")) / 1000 < result.outcome.certified_accuracy - 0.05
    assert rows.count(("fooled", "milp")) > 0
    assert result.outcome.undecided <= 2


def test_the_committed_attacks_do_not_contradict_the_committed_answer() -> None:
    folder = COMMITTED.parents[2]
    cells, troubles = read_folder(folder)
    assert troubles == []
    diagnoses, unread = read_diagnoses(folder)
    assert unread == []
    (row,) = make_boards(cells, [], [committed()], diagnoses)[0].rows
    assert row.certificate == committed()
    assert row.marks == ()
    worst = row.worst_case("linf")
    assert worst is not None
    proved, exact = len(committed().robust), len(committed().robust_but_for_rounding)
    assert proved <= worst.robust <= exact + 0.003 * committed().outcome.n


@pytest.mark.real_data
def test_five_images_of_the_committed_answer_come_out_the_same(real_data: Path) -> None:
    examples = committed().per_example
    rows = list(zip(examples.index, examples.verdict, examples.means, examples.seconds, strict=True))
    # The cheapest of each kind.
    cheapest = {(verdict, means): index for index, verdict, means, _ in sorted(rows, key=lambda row: -row[3])}
    kinds = [("misclassified", "clean"), ("robust", "crown"), ("fooled", "pgd"), ("robust", "milp"), ("fooled", "milp")]
    task = committed_task(real_data, [cheapest[kind] for kind in kinds])
    found = {answer.index: (answer.verdict, answer.means) for answer in answers(task, "exact", range(5), 60.0)}
    assert found == {cheapest[kind]: kind for kind in kinds}


@pytest.mark.real_data
def test_no_attack_fools_what_the_committed_answer_calls_robust(real_data: Path) -> None:
    task = committed_task(real_data, list(range(100)))
    images, labels = task.examples.images, task.examples.labels
    attack_keys = make_keys(1, torch.arange(100), "another draw")
    threat = Threat("linf", task.epsilon, "budget")
    attacked = pgd(task.network, images, labels, attack_keys, epsilon=task.epsilon, restarts=10).images
    fooled = judge(task.network, images, labels, attacked, threat, "softmax").adversarial
    by_attack = {index for index, hit in enumerate(fooled.tolist()) if hit}
    assert by_attack & committed().robust == set()
    verdict = committed().per_example.verdict
    lost = {index for index in range(100) if verdict[index] in ("fooled", "misclassified")}
    assert len(by_attack & lost) >= 0.8 * len(lost)  # and the attack is no straw man


def test_a_smaller_radius_is_never_harder() -> None:
    network, images = tiny(5, features=8), random_images(6, 5, (1, 2, 4))
    task = task_of(network, images, 0.2)
    wide, narrow = verdicts(task, "exact"), verdicts(replace(task, epsilon=0.1), "exact")
    assert all(n.verdict == "robust" for w, n in zip(wide, narrow, strict=True) if w.verdict == "robust")
