"""The tables without peers: what a fixed batch would cost, what memory is taken, and that each table is made of real runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import robustboard
from conftest import Linear, keys
from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.judge import CountedModel
from robustboard.benchmark.memory import peak_memory
from robustboard.benchmark.peers import page
from robustboard.benchmark.peers.examples import measure_examples
from robustboard.benchmark.peers.fixed_loop import Passes, Strength, fixed_passes
from robustboard.benchmark.peers.limits import ATTACKS, FEWER, Limit, attack_once, strength_of
from robustboard.benchmark.peers.limits import render as render_limits
from robustboard.benchmark.peers.measure import Network, Spent
from robustboard.benchmark.peers.models import Size, size_of
from robustboard.benchmark.peers.pace import InTurn, Pace, in_turn
from robustboard.benchmark.protocols import load_protocol

CLASSES = 5
SMALL: dict[str, dict[str, int | float]] = {
    "fgsm": {},
    "bim": {"steps": 3, "step": 0.5},
    "pgd": {"steps": 3, "step": 0.5, "restarts": 2},
    "pgd_t": {"steps": 3, "step": 0.5, "restarts": 2},
    "apgd_ce": {"steps": 4, "restarts": 2},
    "apgd_t": {"steps": 4, "restarts": 2, "target_classes": 3},
    "fab_t": {"steps": 3, "restarts": 2, "target_classes": 9},
    "square": {"queries": 6, "restarts": 2},
    "autoattack": {"steps": 4, "queries": 6},
    "cw": {"start_steps": 4, "start_classes": 2, "start_restarts": 2, "steps": 3},
    "ddn": {"steps": 4, "classes": 2, "restarts": 3},
    "fmn": {"steps": 4, "classes": 0},
    "spsa": {"iterations": 3, "directions": 4},
    "jsma": {},
    "max_confidence": {"steps": 3, "step": 0.5, "near_step": 0.5},
}
BUDGET = {"linf": 1e-4, "l2": 1e-4, "l0": 7.0}


def stubborn(attack: str) -> Network:
    """A linear model whose label no change within `BUDGET` loses; JSMA's, whose budget is in whole features, never."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(CLASSES, 64, generator=generator)
    bias = torch.zeros(CLASSES)
    bias[0] = 1e4 if attack == "jsma" else 1.0
    images = 0.5 + 0.01 * torch.rand(6, 1, 8, 8, generator=generator)
    model = Linear(weight - weight.mean(1, keepdim=True), bias)
    return Network("digits/linear", "softmax", model, images, torch.zeros(6, dtype=torch.int64), CLASSES)


@pytest.mark.parametrize("attack", SMALL)
def test_where_nobody_is_ever_done_the_passes_are_those_of_a_fixed_batch(attack: str) -> None:
    card, network = all_cards()[attack], stubborn(attack)
    strength = Strength({**card.parameters(), **SMALL[attack]}, BUDGET[card.norm], CLASSES)
    spent = attack_once(card, network, strength)
    fixed = fixed_passes(attack, strength)
    assert fixed is not None
    class_count = 1 if attack == "jsma" else 0
    assert (spent.forwards - class_count, spent.backwards) == (6 * fixed.forwards, 6 * fixed.backwards)


def test_rows_that_only_fill_up_a_small_batch_are_told() -> None:
    network = stubborn("bim")
    spent = attack_once(all_cards()["bim"], network, Strength(SMALL["bim"], 1e-4, CLASSES))
    assert len(network.images) == 6
    assert spent.rows == spent.forwards * 8 / 6


def test_every_attack_of_the_table_has_its_formula_and_its_protocol() -> None:
    assert set(SMALL) == set(ATTACKS)
    protocol = load_protocol("standard")
    run = {*protocol.attacks, *protocol.cascades["worst_case"]} - set(protocol.cascades)
    assert run <= set(ATTACKS)
    assert all(set(fewer) <= set(ATTACKS) for fewer in FEWER.values())


def test_strengths_are_the_protocols_and_else_the_defaults() -> None:
    protocol, cards = load_protocol("standard"), all_cards()
    network = replace(stubborn("bim"), name="cifar10/relu")
    plan = protocol.datasets["cifar10"]
    bim = strength_of(cards["bim"], network, protocol)
    assert (bim["steps"], bim.epsilon) == (plan.attacks["bim"]["steps"], plan.linf)
    assert strength_of(cards["fmn"], network, protocol).parameters == cards["fmn"].parameters()
    assert strength_of(cards["jsma"], network, protocol).epsilon == int(plan.gamma * 64)


def test_lbfgs_has_no_fixed_loop() -> None:
    assert fixed_passes("lbfgs", Strength({}, 1.0, 10)) is None


def test_passes_that_take_all_the_time_are_the_limit() -> None:
    # 10 forward alone, 20 forward and back, at 1 and 3 ms: 70 ms; 5 more gradients of the same passes: 2 ms each.
    assert InTurn([Spent(0.07, 30, 20)], [(0.001, 0.003)]).efficiency == pytest.approx(1)
    assert InTurn([Spent(0.1, 20, 25)], [(0.001, 0.003)]).efficiency == pytest.approx(0.7)


def test_what_slows_the_machine_down_for_runs_and_passes_alike_changes_no_efficiency() -> None:
    quiet = InTurn([Spent(0.1, 20, 20)], [(0.001, 0.003), (0.001, 0.003)])
    busy = InTurn([Spent(0.2, 20, 20)], [(0.002, 0.006), (0.002, 0.006)])
    disturbed = InTurn([*quiet.runs * 3, *busy.runs], [*quiet.rates * 2, *busy.rates[:1]])
    assert quiet.efficiency == pytest.approx(0.6)
    assert busy.efficiency == disturbed.efficiency == quiet.efficiency


def test_long_runs_are_not_repeated_and_passes_stand_before_and_after_each() -> None:
    pace = Pace.of(stubborn("bim"))
    times = iter([3.0, 1.0, 2.0])
    several = in_turn(lambda: Spent(next(times), 1, 1), pace, patience_s=3.5, most=3)
    assert ([run.seconds for run in several.runs], several.seconds) == ([3.0, 1.0], 1.0)
    assert len(several.rates) == 3
    assert len(in_turn(lambda: Spent(9.0, 1, 1), pace, patience_s=5).runs) == 1
    assert len(in_turn(lambda: Spent(1e-9, 1, 1), pace, most=3).runs) == 3


PEAKS = """
import json
import torch
from robustboard.benchmark.memory import peak_memory

def ones(times):
    for _ in range(times):
        torch.ones(10_000_000).sum()

work = [lambda: ones(1), lambda: ones(3), lambda: torch.ones(10_000_000) + torch.ones(10_000_000)]
print(json.dumps([peak_memory(one) for one in work]))
"""


def test_the_peak_is_what_was_resident_at_once() -> None:
    # In a process of its own: what other tests told the allocator to keep decides where a block is found.
    answer = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, timeout=120)
    one, three, both = json.loads(answer.stdout)
    if one is None or three is None:
        pytest.skip("this system does not tell the highest resident memory")
    assert 38e6 < one < 60e6
    assert three < 60e6, "one after the other"
    assert both is not None
    # Two at once, and their sum unless it found a block that was kept.
    assert 75e6 < both < 140e6


def allocated(work: Callable[[], object], folder: Path) -> int:
    """The most bytes that tensors took at once during `work`, to the byte: what torch's allocator says."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        work()
    told.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    level = highest = 0
    for event in sorted((event for event in events if event.get("name") == "[memory]"), key=lambda event: event["ts"]):
        level += event["args"]["Bytes"]
        highest = max(highest, level)
    return highest


def cifar10(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The registry's CIFAR-10 network, random images, and its own answers to them."""
    model = robustboard.load_model("cifar10/relu").eval().requires_grad_(False)
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model, images, model(images).argmax(1)


def test_jsma_stays_below_a_gigabyte_on_a_hundred_cifar10_images() -> None:
    model, images, labels = cifar10(100)
    # Two of its equal steps: nine targets of a hundred images, before any has left.
    peak = peak_memory(lambda: all_cards()["jsma"].function(model, images, labels, keys(100), epsilon=4.0))
    if peak is None:
        pytest.skip("this system does not tell the highest resident memory")
    assert 100e6 < peak < 1e9


def test_spsa_takes_no_more_than_its_rows_whatever_the_batch(tmp_path: Path) -> None:
    model, images, labels = cifar10(16)
    spsa = all_cards()["spsa"].function

    def peak(count: int, row_cap: int) -> int:
        part = images[:count], labels[:count], keys(count)
        strength = {"epsilon": 1e-4, "directions": 8, "iterations": 1, "row_cap": row_cap}
        return allocated(lambda: spsa(model, *part, **strength), tmp_path)

    eight, sixteen = peak(8, 64), peak(16, 64)
    further = images[8:].nbytes
    # The image, the best of it, two moments and what is made of them: no activations.
    assert sixteen - eight < 8 * further
    assert peak(8, 16) < eight / 2, "it is the rows that take the memory"


def test_max_confidence_takes_no_more_for_more_classes(tmp_path: Path) -> None:
    images = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    def peak(classes: int) -> int:
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, classes)
        model = CountedModel(nn.Sequential(*layers).eval().requires_grad_(False))
        labels = model(images).argmax(1)
        attack, model.backwards = all_cards()["max_confidence"].function, 0
        highest = allocated(lambda: attack(model, images, labels, keys(16), epsilon=1e-3, steps=2, near_step=1.0), tmp_path)
        assert model.backwards == 2 * 16 * 2 * (classes - 1)
        return highest

    assert peak(100) < 1.1 * peak(10)


def digits() -> Network:
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = robustboard.load_model("digits/relu").eval().requires_grad_(False)
    with torch.no_grad():
        return Network("digits/relu", "softmax", model, images, model(images).argmax(1), 10)


def test_a_step_takes_at_least_most_of_a_pass() -> None:
    size = size_of(digits())
    assert size.parameters == 38_394
    assert size.quotient > 0.5
    assert Size("a", 1, 2.0, 3.0).quotient == 1.5


def test_the_runner_itself_is_timed() -> None:
    told: list[str] = []
    rows = measure_examples(None, told.append, "digits/relu", {4: 2, 8: 1})
    assert [(row.attack, row.n) for row in rows] == [("fgsm", 4), ("fgsm", 8), ("bim", 4), ("bim", 8)]
    assert all(row.seconds_an_example > 0 and row.other_seconds > 0 for row in rows)
    assert len(told) == 4


def test_a_share_is_that_of_a_fixed_batch() -> None:
    row = Limit("bim", "mnist/relu", 8, 5.0, 4.0, Passes(10, 8), 0.25, 1.0, 0.5, 0.8, 12_000_000, None)
    assert row.share == 0.5
    text = render_limits([row, replace(row, fixed=None, efficiency=0.8)], "simple")
    assert "50.0% of 18" in text
    assert text.count("slow") == 1
    assert text.count("25%") == 2
    assert "12 MB (—)" in text


def test_tables_can_be_asked_for_alone() -> None:
    assert page.chosen(["limits"]) == page.Wanted([], ["limits"])
    both = page.chosen(["models", "cw"])
    assert ([contest.line for contest in both.contests], both.tables) == (["cw"], ["models"])
    everything = page.chosen([])
    assert len(everything.contests) > 5
    assert everything.tables == ["limits", "examples", "models"]
    with pytest.raises(InputError, match="did you mean 'limits'"):
        page.chosen(["limit"])


def test_what_was_measured_is_told_and_recorded() -> None:
    measured = page.Measured("abc123", [], {"models": [Size("mnist/relu", 1_000, 1e-4, 1.5e-4)]})
    for text in (page.terminal(measured), page.markdown(measured)):
        assert "Cost against the model" in text
        assert "1.50" in text
        assert f"Threads: {torch.get_num_threads()}." in text
        assert "Against the libraries" not in text
    assert "The code of commit abc123;" in page.markdown(measured)
    recorded = page.as_json(measured)
    assert recorded["contests"] == []
    assert recorded["models"][0]["quotient"] == pytest.approx(1.5)
