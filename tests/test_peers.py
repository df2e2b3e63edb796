"""The contests against the libraries: what counts as as strong, what the ratio is, and that sides are judged alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import robustboard
from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.judge import Verdict
from robustboard.benchmark.peers.contests import EPSILON, Contest, Side, contests
from robustboard.benchmark.peers.measure import Network, Timing, strength, timed
from robustboard.benchmark.peers.page import strengths
from robustboard.benchmark.peers.run import Entry, as_json, chosen_contests, page, run_contest
from robustboard.benchmark.peers.run import _is_as_strong as is_as_strong
from robustboard.benchmark.peers.run import _ratio as ratio

CONTEST = Contest("bim", "digits/relu", 12, "robust accuracy", 2.0, Side("bim"), (Side("foolbox:bim"), Side("torchattacks:bim")))


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setitem(EPSILON, "digits", {"linf": 0.2, "l2": 2.0, "l0": 9.0})
    data = load_dataset("digits", "test").select(range(12))
    model = robustboard.load_model("digits/relu").eval().requires_grad_(False)
    with torch.no_grad():
        right = model(data.images).argmax(1) == data.labels
    return Network("digits/relu", "softmax", model, data.images[right], data.labels[right], 10)


def entry(seconds: float, value: float, attack: str = "bim") -> Entry:
    return Entry(attack, seconds, 32, value, 10.0, 10.0)


def test_a_ratio_is_that_to_the_fastest_peer() -> None:
    assert ratio(CONTEST, entry(2.0, 0.5), [entry(6.0, 0.5), entry(3.0, 0.5)]) == 1.5


def test_where_distances_are_measured_it_is_that_to_the_strongest() -> None:
    contest = replace(CONTEST, measure="mean distance")
    assert ratio(contest, entry(2.0, 1.0), [entry(60.0, 1.4), entry(3.0, 1.9)]) == 30


def test_a_weaker_attack_does_not_count_however_fast() -> None:
    assert is_as_strong(CONTEST, entry(1.0, 0.5), [entry(1.0, 0.5), entry(1.0, 0.6)], None)
    assert not is_as_strong(CONTEST, entry(1.0, 0.51), [entry(1.0, 0.5)], None)
    for measure in ("failure at t = 0.5", "targets reached"):
        high = replace(CONTEST, measure=measure)
        assert is_as_strong(high, entry(1.0, 0.51), [entry(1.0, 0.5)], None)
        assert not is_as_strong(high, entry(1.0, 0.49), [entry(1.0, 0.5)], None)


def test_distances_are_held_to_the_reference_too() -> None:
    contest = replace(CONTEST, measure="mean distance", shorter=0.99, near=1.01)
    assert is_as_strong(contest, entry(1.0, 0.98), [entry(1.0, 1.0)], entry(1.0, 0.975))
    assert not is_as_strong(contest, entry(1.0, 0.995), [entry(1.0, 1.0)], entry(1.0, 0.99))
    assert not is_as_strong(contest, entry(1.0, 0.98), [entry(1.0, 1.0)], entry(1.0, 0.9))


def test_what_was_not_found_has_the_longest_distance() -> None:
    fooled = torch.tensor([True, False, True])
    distance, sure = torch.tensor([1.0, 0.5, 3.0]), torch.tensor([0.6, 0.9, 0.4])
    verdict = Verdict(fooled, distance, sure, fooled, ["", "", ""], images=torch.zeros(3, 1, 1, 1), lead=sure)
    timing = Timing(1.0, 3, 3, verdict, fooled)
    assert strength(timing, "mean distance", 2.0) == pytest.approx((1 + 2 + 2) / 3)
    assert strength(timing, "robust accuracy", 2.0) == pytest.approx(1 / 3)
    assert strength(timing, "failure at t = 0.5", 2.0) == pytest.approx(1 / 3)


def test_a_side_is_judged_and_its_passes_are_counted(digits: Network) -> None:
    timing = timed(Side("fgsm"), digits, 0.2, 5)
    assert (timing.forwards, timing.backwards) == (len(digits.images), len(digits.images))
    assert len(timing.verdict.failures) == len(digits.images)
    assert timing.seconds > 0


def test_a_side_aimed_at_the_next_class_reaches_it(digits: Network) -> None:
    timing = timed(Side("jsma", {"theta": 1.0}, next_class=True), digits, 30.0, 12)
    assert strength(timing, "targets reached", 0.0) > 0.5
    away = timed(Side("jsma", {"theta": 1.0}), digits, 30.0, 12)
    assert bool((away.reached == away.verdict.adversarial).all()), "without a target every error is one"


class Odd(nn.Module):
    """Answers batches of odd size in another order of classes than those of even size: who fills batches up is found out."""

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 10)
        logits[:, len(images) % 2] = 1 + images.flatten(1).sum(1)
        return logits


def test_a_library_meets_the_model_as_it_is() -> None:
    images, labels = torch.rand(1, 1, 8, 8), torch.ones(1, dtype=torch.int64)
    seen: list[int] = []
    model = Odd()
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    network = Network("digits/odd", "softmax", model, images, labels, 10)
    for name, rows in (("torchattacks:fgsm", 1), ("fgsm", 4)):
        seen.clear()
        timed(Side(name), network, 0.1, 1)
        assert seen[0] == rows


def test_a_whole_contest(digits: Network) -> None:
    line = run_contest(CONTEST, digits, rounds=1)
    assert line.n == len(digits.images)
    assert line.ours.strength <= min(peer.strength for peer in line.peers), "margin against cross-entropy, unscaled α"
    assert line.as_strong
    assert "foolbox:bim" in page([line])
    (told,) = as_json([line])
    assert told["reached"] == (line.ratio >= 2)


def test_every_contest_names_attacks_and_parameters_that_exist() -> None:
    for contest in contests():
        for side in (contest.ours, *contest.peers, *([contest.reference] if contest.reference else [])):
            all_cards()[side.attack].check_parameters(side.parameters)


def test_the_committed_page_is_of_todays_attacks() -> None:
    committed = (Path(__file__).parents[1] / "leaderboards" / "peers.md").read_text(encoding="utf-8").splitlines()
    outdated = [line for line in strengths(of_contests=True, of_limits=True) if line not in committed]
    told = " ".join(line for line in committed if line.startswith("Out of date"))
    untold = [line for line in outdated if line.removeprefix("- ") not in told]
    assert not untold, "of another version or strength: make peers"


def test_an_unknown_line_is_refused() -> None:
    assert {contest.line for contest in chosen_contests(["cw"])} == {"cw"}
    with pytest.raises(InputError, match="did you mean 'jsma'"):
        chosen_contests(["jsmaa"])
