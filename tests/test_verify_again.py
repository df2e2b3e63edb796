"""What a cell records as robust, attacked again: an honest cell's examples stand, hidden ones fall, what was left out is told."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import Command, keys, linear_problem
from handmade import make_cell
from kept_runs import ATTACKS, finding, path_of, request, statuses
from robustboard.benchmark.cells import plan_attack
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import AttackBlock
from robustboard.benchmark.results import read_cell, write_cell
from robustboard.benchmark.run import run
from robustboard.benchmark.verify import again
from robustboard.benchmark.verify.again import Draw
from robustboard.benchmark.verify.own_attack import own_attack
from robustboard.benchmark.verify.run import VerifyRequest, verify
from tamperings import hide_consistently, resealed

ALL = Draw(60)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of cells with their candidates, nothing changed."""
    out = tmp_path_factory.mktemp("honest")
    run(request(out))
    return out


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    """A copy of the honest folder that may be changed."""
    return Path(shutil.copytree(honest, tmp_path / "copy"))


def robust(folder: Path, attack: str) -> int:
    rows = read_cell(path_of(folder, attack)).per_example
    return sum(right > hit for right, hit in zip(rows.correct_clean, rows.fooled, strict=True))


def test_of_an_honest_cell_every_robust_example_stands_again(honest: Path) -> None:
    report = verify(VerifyRequest(honest, draw=ALL))
    assert set(statuses(report).values()) == {"pass"}
    for attack in ATTACKS:
        found = finding(report, attack)
        assert (found.robust, found.again) == (robust(honest, attack),) * 2
    assert sum(found.again or 0 for found in report.findings) > 20, "else this says little"


@pytest.mark.parametrize("attack", ["fgsm", "ddn", "jsma", "max_confidence"])
def test_examples_hidden_with_their_candidates_fall_again(folder: Path, attack: str) -> None:
    path = path_of(folder, attack)
    write_cell(hide_consistently(read_cell(path), path), path)
    assert finding(verify(VerifyRequest(folder, draw=Draw(0))), attack).status == "pass", "nothing else tells"
    found = finding(verify(VerifyRequest(folder, draw=ALL)), attack)
    assert found.status == "FAIL"
    (cause,) = found.causes
    assert f"it is recorded as robust, but {attack}, run again, fools the model: class " in cause


def test_the_page_says_what_a_pass_means_and_of_how_much_it_says_nothing(folder: Path, command: Command) -> None:
    total = sum(robust(folder, attack) for attack in ATTACKS)
    answer = command("verify", folder, "--seed", "5")
    said = " ".join(answer.out.split())
    assert answer.code == 0
    assert "pass: what is recorded as fooled is fooled." in said
    assert f"Of {total} recorded as robust" in said
    assert "(drawn by --seed 5) were attacked again. Of the others their cells' word is all there is." in said
    assert f"4 of {robust(folder, 'fgsm')}" in said
    said = " ".join(command("verify", folder, "--again", "0").out.split())
    assert f"Of {total} recorded as robust none was attacked again." in said
    path = path_of(folder, "fgsm")
    write_cell(hide_consistently(read_cell(path), path), path)
    for of_worst_case in path.parent.glob("worst_case.*"):  # it would tell: it took examples over from FGSM
        of_worst_case.unlink()
    assert command("verify", folder, "--strict", "--again", "0").code == 0
    assert command("verify", folder, "--again", "60").code == 1


def test_the_seed_draws_and_another_draws_others() -> None:
    cell, places = make_cell(), list(range(100))
    drawn = {seed: again._drawn(places, cell, Draw(seed=seed)) for seed in range(20)}
    assert {len(set(found)) for found in drawn.values()} == {again.AT_MOST}
    assert len({tuple(found) for found in drawn.values()}) == len(drawn)
    assert again._drawn(places, cell, Draw(seed=7)) == drawn[7]
    assert len(again._drawn(places[:2], cell, Draw(seed=7))) == 2


@pytest.mark.parametrize(("passes", "attacked"), [(0, 0), (2, 1), (6, 3)])
def test_passes_bound_what_is_attacked_again(honest: Path, monkeypatch: pytest.MonkeyPatch, passes: int, attacked: int) -> None:
    # FGSM takes two passes an example.
    monkeypatch.setattr(again, "PASSES", passes)
    found = finding(verify(VerifyRequest(honest)), "fgsm")
    assert (found.status, found.again) == ("pass", attacked)
    assert any(f"{passes} passes go no further; --again 1 has no such limit" in remark for remark in found.remarks)
    assert finding(verify(VerifyRequest(honest, draw=Draw(4))), "fgsm").again == 4


def test_what_an_attack_for_the_shortest_distance_found_before_it_was_cut_short_counts(
    folder: Path, honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(folder, "ddn")
    write_cell(hide_consistently(read_cell(path), path), path)
    monkeypatch.setattr(again, "PASSES", 14)  # ddn takes twenty an example: it never comes to its end
    draws = [Draw(seed=seed) for seed in range(8)]
    hidden, true = ([finding(verify(VerifyRequest(where, draw=draw)), "ddn") for draw in draws] for where in (folder, honest))
    assert {found.again for found in [*hidden, *true]} == {0}
    assert "FAIL" in {found.status for found in hidden}
    assert {found.status for found in true} == {"pass"}


def test_an_attack_that_is_not_here_is_no_fault_and_is_said(folder: Path) -> None:
    path = path_of(folder, "fgsm")
    cell = read_cell(path)
    write_cell(resealed(replace(cell, attack=replace(cell.attack, version=99)), path), path)
    found = finding(verify(VerifyRequest(folder)), "fgsm")
    assert (found.status, found.again) == ("pass", 0)
    assert any("fgsm is of version 1 here, and the cell's of 99" in remark for remark in found.remarks)


def block(protocol: str, name: str) -> tuple[AttackBlock, Sequence[int]]:
    """What a cell would record of an attack of an official protocol."""
    plan = plan_attack(load_protocol(protocol), name, load_dataset("digits", "test"))
    threat = plan.threat
    return AttackBlock(
        name, plan.implementation, plan.version, threat.norm, threat.aim, threat.epsilon, dict(plan.parameters)
    ), plan.indices


@pytest.mark.parametrize("protocol", ["standard", "distances", "quick", "smoke"])
def test_every_attack_of_the_protocols_can_be_made_from_its_cell(protocol: str) -> None:
    for name in load_protocol(protocol).attacks:
        assert callable(own_attack(block(protocol, name)[0], "softmax"))


@pytest.mark.parametrize("name", ["bim", "max_confidence", "worst_case"])
def test_it_proposes_what_the_protocols_does(name: str) -> None:
    model, images, labels = linear_problem(classes=4, count=6)
    recorded, _ = block("smoke", name)
    planned = plan_attack(load_protocol("smoke"), name, load_dataset("digits", "test")).bind("softmax")
    ours, theirs = (
        attack(model, images, labels, keys(6), epsilon=recorded.eps) for attack in (own_attack(recorded, "softmax"), planned)
    )
    assert torch.equal(ours.images, theirs.images)
    assert torch.equal(ours.iterations, theirs.iterations)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "torchattacks:cw"}, "torchattacks:cw is none of the attacks here, whose results depend on the example alone"),
        ({"name": "adversarials_theirs", "implementation": "file"}, "adversarials_theirs is none of the attacks here"),
        ({"version": 99}, "bim is of version 1 here, and the cell's of 99"),
        ({"params": {"steps": -1}}, "its parameters are none of bim's here"),
        ({"params": {"stride": 1}}, "its parameters are none of bim's here"),
        ({"name": "worst_case", "version": 1, "params": {"stage 1": "bim"}}, "its parameters are none of worst_case's here"),
        ({"name": "worst_case", "version": 1, "params": {"stage 1": "bim 99: steps 4"}}, "bim is of version 1 here"),
        ({"name": "worst_case", "version": 99, "params": {}}, "worst_case is of version 1 here, and the cell's of 99"),
    ],
)
def test_what_cannot_be_made_anew_has_its_reason(changes: dict[str, object], said: str) -> None:
    recorded = replace(block("smoke", "bim")[0], **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        own_attack(recorded, "softmax")


def test_a_model_is_attacked_where_no_candidates_are_kept_too(tmp_path: Path) -> None:
    run(request(tmp_path, keep=False, attacks=["fgsm"]))
    found = finding(verify(VerifyRequest(tmp_path)), "fgsm")
    assert (found.status, found.again) == ("attack not verified", again.AT_MOST)


def test_an_attack_that_fails_when_it_is_run_again_counts_for_nothing(honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> object:
        def attack(*given: object) -> object:
            raise ValueError("it fails")

        return attack

    monkeypatch.setattr(again, "own_attack", failing)
    report = verify(VerifyRequest(honest, draw=ALL))
    assert not report.failed
    looked_at = [found for found in report.findings if found.robust]
    assert looked_at
    for found in looked_at:
        assert found.again == 0
        assert any("the attack failed, which says nothing" in remark for remark in found.remarks)


def test_without_candidates_no_pass_is_told(command: Command, tmp_path: Path) -> None:
    small = ("--dataset", "digits", "--models", "relu", "--attacks", "fgsm", "--n", "8", "--no-diagnose", "--out", tmp_path)
    assert command("run", *small)[0] == 0
    _, said, _ = command("verify", tmp_path, "--again", "1")
    assert "No cell keeps candidates" in said
    assert "pass:" not in said
