"""The canaries: their answers are true, they tell a good attack from a bad one, and each known library bug shows on one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import ROOT
from handmade import make_cell
from robustboard.attacks import projections
from robustboard.attacks.attack import AttackCard, Model, Norm, Proposal, attack_cards
from robustboard.attacks.libraries.library import all_cards, missing_distribution
from robustboard.benchmark.canaries import grades
from robustboard.benchmark.canaries.grades import Grade
from robustboard.benchmark.canaries.problems import Problem, binary_problem, far_problem, linear_problem
from robustboard.benchmark.canaries.run import canaries, chosen_cards, grade
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.report.publish import publish
from robustboard.benchmark.report.results_table import load_results
from robustboard.benchmark.report.tables import render
from robustboard.benchmark.results import CANARIES_FILE, write_cell

NORMS: list[Norm] = ["linf", "l2", "l0"]


def margins(problem: Problem, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits = problem.linear(images)
    own = logits.gather(1, problem.labels[:, None]).squeeze(1)
    return logits.scatter(1, problem.labels[:, None], -torch.inf).amax(1) - own


def test_away_from_the_box_the_distance_is_margin_over_dual_norm() -> None:
    problem = linear_problem(2, 0.35, 0.65)
    difference = problem.linear.weight.detach()[0] - problem.linear.weight.detach()[1]
    lead = -margins(problem, problem.images).double()
    assert torch.allclose(problem.distances("l2"), lead / difference.double().norm(), rtol=1e-5)
    assert torch.allclose(problem.distances("linf"), lead / difference.double().abs().sum(), rtol=1e-5)


@pytest.mark.parametrize("problem", [linear_problem(2, -0.5, 1.5), linear_problem(10, 0.35, 0.65), binary_problem()])
def test_no_point_nearer_than_the_known_distance_fools(problem: Problem) -> None:
    generator = torch.Generator().manual_seed(1)
    for norm in NORMS[:2]:
        distances = problem.distances(norm)
        assert bool(torch.isfinite(distances).any())
        for target in range(len(problem.linear.bias)):
            # Towards each class, the best a linear model allows, cut to just within the known distance.
            step = (problem.linear.weight[target] - problem.linear.weight[problem.labels]).detach().reshape(problem.images.shape)
            step = step.sign() if norm == "linf" else step + 0.1 * torch.randn(step.shape, generator=generator)
            length = projections.norms(step, norm).clamp_min(1e-9)
            moved = problem.images + step * (0.999 * distances.float().nan_to_num(0.0, 0.0, 0.0) / length).reshape(-1, 1, 1, 1)
            assert bool((margins(problem, moved.clamp(0, 1)) < 0).all())


def test_inside_the_box_the_known_distance_is_reached() -> None:
    problem = linear_problem(2, -0.5, 1.5)
    assert bool(((problem.images == 0) | (problem.images == 1)).flatten(1).any(1).all()), "the box is active"
    difference = (problem.linear.weight[1 - problem.labels] - problem.linear.weight[problem.labels]).detach()
    radius = problem.distances("linf").float().reshape(-1, 1, 1, 1)
    moved = (problem.images + 1.001 * radius * difference.sign().reshape(problem.images.shape)).clamp(0, 1)
    reachable = torch.isfinite(radius.flatten())
    assert int(reachable.sum()) > 8
    assert bool((margins(problem, moved)[reachable] >= 0).all())


def test_every_canary_has_examples_on_both_sides_of_its_budget() -> None:
    problems = [linear_problem(2, 0.35, 0.65), linear_problem(10, 0.35, 0.65), linear_problem(2, -0.5, 1.5), binary_problem()]
    for problem in problems:
        must = problem.must_fall("linf")
        assert 0 < int(must.sum()) < len(must)
    assert bool(far_problem(0.2, 0.3).must_fall("linf").all())


def attack_of(make: Any, **card: Any) -> AttackCard:
    """A card around `make(images) -> candidates`."""

    def attack(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float) -> Proposal:
        return Proposal(make(images, epsilon), torch.ones_like(labels))

    return AttackCard(**{"name": "made", "function": attack, "norm": "linf", "aim": "budget", "version": 1, "source": "", **card})


def verdicts(card: AttackCard, *names: str) -> dict[str, tuple[str, float | None]]:
    return {found.canary: (found.verdict, found.value) for found in grade(card, names)}


def test_an_attack_that_does_nothing_is_found_out() -> None:
    nothing = attack_of(lambda images, epsilon: images)
    answers = verdicts(nothing, "linear", "wide", "saturated", "nan", "constant", "side effects", "one example")
    assert answers["linear"] == answers["wide"] == answers["saturated"] == ("fail", 0.0)
    assert answers["nan"][0] == "fail", "a clean image for a model that cannot be attacked would be robustness"
    assert answers["one example"] == ("fail", 0.0)
    assert answers["constant"][0] == answers["side effects"][0] == "pass"
    least = attack_of(lambda images, epsilon: images, norm="l2", aim="minimum")
    assert verdicts(least, "linear")["linear"] == ("fail", 0.0)


def test_an_attack_that_cheats_is_found_out() -> None:
    beyond = attack_of(lambda images, epsilon: (images + 2 * epsilon).clamp(0, 1))
    assert [verdict for verdict, _ in verdicts(beyond, "linear", "constant", "always wrong").values()] == ["fail"] * 3
    black = attack_of(lambda images, epsilon: torch.zeros_like(images), norm="l2", aim="minimum")
    assert verdicts(black, "constant")["constant"][0] == "fail"
    noisy = attack_of(lambda images, epsilon: images + epsilon * (2 * torch.rand_like(images) - 1))
    assert verdicts(noisy, "side effects", "batch-mates")["side effects"][0] == "fail"
    assert verdicts(noisy, "batch-mates")["batch-mates"][0] == "fail"


SLOW = {"lbfgs"}
"""One example and one class at a time, minutes for all canaries: the committed grade stands for it."""


@pytest.mark.parametrize("name", [name for name in attack_cards() if name not in SLOW])
def test_ours_pass(name: str) -> None:
    found = list(grade(attack_cards()[name]))
    assert [one for one in found if one.verdict == "fail"] == []
    assert len(found) >= 20


BUGS = [
    ("torchattacks:cw", "saturated", "atanh(±1) freezes black and white pixels"),
    ("torchattacks:cw", "shift −100", "one-hot times logits has its maximum at 0"),
    ("torchattacks:cw", "log-softmax", "one-hot times logits has its maximum at 0"),
    ("torchattacks:cw", "wide", "one c for every model, nothing searches for it"),
    ("torchattacks:cw", "batch-mates", "the early stop goes by the batch's sum"),
    ("torchattacks:cw", "kappa", "forgotten when the closest success is chosen"),
    ("torchattacks:cw", "nan", "hands the clean image back, in silence"),
    ("torchattacks:cw", "side effects", "backward() reaches the parameters"),
    ("torchattacks:fgsm", "scale 100", "the cross-entropy's gradient is 0"),
    ("torchattacks:fgsm", "raises", "an exception leaves the model in evaluation mode"),
    ("torchattacks:bim", "scale 100", "the cross-entropy's gradient is 0"),
    ("torchattacks:bim", "wide", "α is not scaled with ε"),
    ("torchattacks:pgd", "wide", "α is not scaled with ε"),
    ("torchattacks:pgd", "side effects", "draws from the global generator"),
    ("torchattacks:spsa", "linear", "one step of 0.01 by default"),
    ("torchattacks:spsa", "batch-mates", "all images of a batch share their directions"),
    ("torchattacks:spsa", "targets", "raises the label's class"),
    ("torchattacks:spsa", "row cap", "the cap is for each image"),
    ("torchattacks:jsma", "negative theta", "only feature 0 ever changes"),
    ("torchattacks:jsma", "linear", "the target is (y + 1) mod 10, whatever the number of classes"),
    ("torchattacks:jsma", "constant", "without a valid pair it keeps bumping feature 0"),
    ("torchattacks:apgd_t", "linear", "needs four classes"),
    ("torchattacks:apgd_t", "side effects", "returns images that hold their graph"),
    ("foolbox:fgsm", "outside the box", "a bare assert, which python -O leaves out"),
    ("foolbox:fgsm", "scale 100", "the cross-entropy's gradient is 0"),
    ("foolbox:bim", "side effects", "parameter gradients accumulate"),
    ("foolbox:cw", "constant", "a failure comes back as a black image"),
    ("foolbox:cw", "batch-mates", "the early stop goes by the batch's sum"),
    ("foolbox:fmn", "linear", "far from the boundary though its success is told"),
    ("art:fgsm", "scale 100", "the cross-entropy's gradient is 0"),
    ("art:pgd", "side effects", "leaves the model in evaluation mode"),
    ("adv_lib:cw", "nan", "hands the clean image back, in silence"),
    ("adv_lib:apgd", "linear", "the DLR loss needs three classes"),
]


@pytest.mark.parametrize(("name", "canary", "why"), BUGS, ids=[f"{name}-{canary}" for name, canary, _ in BUGS])
def test_every_known_bug_of_a_library_shows(name: str, canary: str, why: str) -> None:
    missing = missing_distribution(all_cards()[name])
    if missing:
        pytest.skip(f"{missing} is not installed: make libraries")
    (found,) = grade(all_cards()[name], [canary])
    assert found.verdict == "fail", why
    assert found.reason


def grades_of(implementation: str, version: str, *outcomes: str) -> list[Grade]:
    names = list(canaries())
    return [
        Grade(
            implementation, version, names[at], "pass" if outcome == "pass" else "fail", None, "" if outcome == "pass" else "no"
        )
        for at, outcome in enumerate(outcomes)
    ]


def test_a_report_says_what_its_attacks_did_on_the_canaries() -> None:
    boards = make_boards([make_cell(attack="bim"), make_cell(attack="cw")], [])
    known = [
        *grades_of("bim", "robustboard, version 1", "pass", "pass"),
        *grades_of("cw", "robustboard, version 1", "pass", "fail"),
        *grades_of("foolbox:cw", "foolbox 3.3.4, version 1", "fail"),
    ]
    for style in ("markdown", "terminal"):
        last = next(line for line in render(boards, style, known).splitlines() if "canaries passed" in line)
        assert re.findall(r"\d/\d(?: ▲)?", last) == ["2/2", "1/2 ▲"], "under their columns, bim's and cw's"
    assert "canaries passed" not in render(boards, "markdown", [])
    # The grade of another version says nothing about this one.
    assert grades.summary(grades_of("bim", "robustboard, version 2", "pass"), "bim", "robustboard, version 1") is None


def test_grades_are_kept_and_found_beside_the_results(tmp_path: Path) -> None:
    results = tmp_path / "results" / "standard"
    results.mkdir(parents=True)
    legend = {canary.name: canary.asks for canary in canaries().values()}
    grades.update(grades_of("cw", "robustboard, version 1", "pass", "fail"), tmp_path)
    grades.update(grades_of("bim", "robustboard, version 1", "pass"), tmp_path)
    grades.update(grades_of("cw", "robustboard, version 1", "pass", "pass"), tmp_path)
    grades.write_page(legend, ["a note"], list(all_cards()), tmp_path)
    found = grades.find_grades([results])
    assert [(one.implementation, one.verdict) for one in found] == [("bim", "pass"), ("cw", "pass"), ("cw", "pass")]
    page = (tmp_path / "canaries.md").read_text(encoding="utf-8")
    assert "a note" in page
    assert all(f"**{name}**" in page for name in legend)
    (tmp_path / CANARIES_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="robustboard canaries --write"):
        grades.find_grades([results])


def test_results_anywhere_are_told_with_the_grades_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, card = make_cell(attack="torchattacks:cw"), all_cards()["torchattacks:cw"]
    attack = replace(cell.attack, implementation=card.implementation, version=card.version)
    write_cell(replace(cell, attack=attack), tmp_path / "digits" / "relu" / "cw.json")
    told = grades.summary(grades.read_grades(grades.COMMITTED), "torchattacks:cw", grades.card_version(card))
    assert told is not None
    assert told.endswith(" ▲"), "it fails canaries, which its column has to tell"
    published = publish([tmp_path], "markdown").text
    assert [line for line in published.splitlines() if "canaries passed" in line and told in line]
    assert load_results(tmp_path).rows[0].canaries == told
    monkeypatch.setattr(grades, "COMMITTED", tmp_path / "installed without its leaderboards" / CANARIES_FILE)
    assert "canaries passed" not in publish([tmp_path], "markdown").text


def test_the_committed_grades_are_those_of_todays_attacks() -> None:
    committed = grades.read_grades(ROOT / "leaderboards" / CANARIES_FILE)
    assert json.loads((ROOT / "leaderboards" / CANARIES_FILE).read_text(encoding="utf-8"))
    versions = {one.implementation: one.version for one in committed}
    stale = [name for name, card in attack_cards().items() if versions.get(name) != grades.card_version(card)]
    assert stale == [], "run: robustboard canaries --write " + " ".join(stale)
    assert {one.canary for one in committed} == set(canaries())
    failed = {(one.implementation, one.canary) for one in committed if one.verdict == "fail"}
    assert {pair for pair in failed if pair[0] in attack_cards()} == set()


def test_what_cannot_be_graded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'torchattacks:cw'"):
        chosen_cards(["torchattack:cw"])
    monkeypatch.setattr(
        "robustboard.benchmark.canaries.run.missing_distribution",
        lambda card: "adv-lib" if card.name.startswith("adv_lib") else None,
    )
    with pytest.raises(InputError, match="needs the package adv-lib, which is not installed: make libraries"):
        chosen_cards(["adv_lib:cw"])
    cards, notes = chosen_cards([])
    assert not any(card.name.startswith("adv_lib:") for card in cards)
    assert notes == ["not graded, because it is not installed: adv-lib (make libraries)"]
