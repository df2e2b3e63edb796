"""The worst case: a union that only strong attacks on survivors can lower, and files of candidates that join it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import robustboard
from conftest import linear_problem
from evaluation_tasks import EPSILON, proposes, records, task_for, to_edge
from robustboard.attacks.attack import Proposal
from robustboard.benchmark import run as run_module
from robustboard.benchmark.adversarials import read_adversarials
from robustboard.benchmark.cascade import Stage, cascade
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BatchRecord, BatchSizer, Task
from robustboard.benchmark.judge import Threat
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult, Manifest
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.results import read_cell, read_folder, read_manifest
from robustboard.benchmark.run import Request, Summary, run
from robustboard.benchmark.subjects import registry_subjects

PROTOCOL = """
name = "worst"
version = 1
title = "worst"
seed = 3
attacks = ["fgsm", "bim", "worst_case"]

[cascades]
worst_case = ["pgd", "pgd_t"]

[datasets.digits]
n = 60
linf = 0.2
l2 = 1.0
gamma = 0.145

[datasets.digits.attacks]
bim = { steps = 4, step = 0.25 }
pgd = { steps = 8, step = 0.25 }
pgd_t = { steps = 8, step = 1.0 }
"""
MODEL = "digits/relu-fast_at"
THREAT = Threat("linf", EPSILON, "budget")


def evaluate(
    out: Path,
    text: str = PROTOCOL,
    adversarials: Path | None = None,
    attacks: list[str] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> Summary:
    out.mkdir(exist_ok=True)
    path = out / "worst.toml"
    path.write_text(text, encoding="utf-8")
    return run(
        Request(
            protocol=load_protocol(str(path)),
            datasets=["digits"],
            subjects=registry_subjects([MODEL], ["digits"]),
            attacks=attacks,
            out=out,
            device="cpu",
            adversarials=[read_adversarials(adversarials)] if adversarials else [],
            shard=shard,
            quiet=True,
        )
    )


def cell(out: Path, attack: str) -> CellResult:
    return read_cell(out / "worst" / MODEL / f"{attack}.json")


def raises(model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, **given: float) -> Proposal:
    raise RuntimeError("not today")


def test_each_stage_sees_the_survivors_only() -> None:
    model, images, labels = linear_problem()
    seen: list[int] = []

    def counts(x: Tensor, y: Tensor) -> Tensor:
        seen.append(len(x))
        return x

    even = proposes(
        lambda x, y: torch.where((x.sum((1, 2, 3), keepdim=True) * 1000).long() % 2 == 0, to_edge(x, y, model, 0.1), x)
    )
    stages = [Stage("even", even, THREAT), Stage("counts", proposes(counts), THREAT)]
    found = records(task_for(model, images, labels, cascade(stages, "softmax")), size=len(images))
    assert seen == [sum(not example.fooled for example in found)]
    assert 0 < seen[0] < len(images)


def test_the_judge_decides_who_survived() -> None:
    model, images, labels = linear_problem()
    beyond = Stage("beyond", proposes(lambda x, y: to_edge(x, y, model, 3 * EPSILON)), THREAT)
    honest = Stage("honest", proposes(lambda x, y: to_edge(x, y, model, EPSILON)), THREAT)
    alone = records(task_for(model, images, labels, honest.attack))
    after = records(task_for(model, images, labels, cascade([beyond, honest], "softmax")))
    assert [example.fooled for example in after] == [example.fooled for example in alone]
    # Who survived was not attacked by all that was asked for: no more than an upper bound.
    assert all(("beyond: " in example.failure) != example.fooled for example in after)


def test_a_stage_that_raises_hides_no_success_of_another_and_is_no_robustness() -> None:
    model, images, labels = linear_problem()
    honest = Stage("honest", proposes(lambda x, y: to_edge(x, y, model, EPSILON)), THREAT)
    alone = records(task_for(model, images, labels, honest.attack))
    after = records(task_for(model, images, labels, cascade([Stage("broken", raises, THREAT), honest], "softmax")))
    assert any(example.fooled for example in alone)
    assert [example.fooled for example in after] == [example.fooled for example in alone]
    assert all(example.fooled or "broken: the attack raised RuntimeError: not today" in example.failure for example in after)


def test_the_worst_case_is_the_union_and_what_the_stages_add(tmp_path: Path) -> None:
    evaluate(tmp_path)
    worst, parts = cell(tmp_path, "worst_case"), [cell(tmp_path, name) for name in ("fgsm", "bim")]
    union = np.any([part.per_example.fooled for part in parts], axis=0)
    fooled = np.array(worst.per_example.fooled, dtype=bool)
    assert bool((fooled >= union).all())
    assert fooled.sum() > union.sum(), "the stages must find more for this test to say anything"
    assert worst.joined == {part.attack.name: part.identity for part in parts}
    cells, _ = read_folder(tmp_path)
    (board,) = make_boards(cells, [plan(tmp_path)])
    assert board.attacks == ("fgsm", "bim")
    row = board.rows[0].worst_case("linf")
    assert row is not None
    assert row.robust == round(worst.outcome.robust_accuracy * 60)


def plan(out: Path) -> Manifest:
    manifest = read_manifest(out / "worst")
    assert manifest is not None
    return manifest


def test_only_survivors_are_paid_for(tmp_path: Path) -> None:
    evaluate(tmp_path)
    rows = cell(tmp_path, "worst_case").per_example
    joined = np.any([cell(tmp_path, name).per_example.fooled for name in ("fgsm", "bim")], axis=0)
    spent = np.array(rows.iterations)
    assert bool((spent[joined] == 0).all())
    assert bool((spent[~joined & np.array(rows.correct_clean, dtype=bool)] > 0).all())


def test_a_second_run_does_nothing_and_a_new_attack_that_finds_nothing_new_neither(tmp_path: Path) -> None:
    assert evaluate(tmp_path).evaluated == 3
    assert (evaluate(tmp_path).evaluated, evaluate(tmp_path).reused) == (0, 3)
    assert evaluate(tmp_path, attacks=["pgd"]).evaluated == 1
    assert evaluate(tmp_path).evaluated == 0, "what a worst case joined is all still there"


def test_a_new_attack_that_fools_a_survivor_makes_the_worst_case_run_again(tmp_path: Path) -> None:
    weak = PROTOCOL.replace('["pgd", "pgd_t"]', '["pgd"]').replace("pgd = { steps = 8", "pgd = { steps = 4")
    evaluate(tmp_path, weak)
    before = cell(tmp_path, "worst_case")
    evaluate(tmp_path, weak, attacks=["apgd_t"])
    new = np.array(cell(tmp_path, "apgd_t").per_example.fooled) & ~np.array(before.per_example.fooled)
    assert new.any(), "apgd_t must find more for this test to say anything"
    assert evaluate(tmp_path, weak).evaluated == 1
    after = cell(tmp_path, "worst_case")
    assert set(after.joined) == {"fgsm", "bim", "apgd_t"}
    assert after.outcome.robust_accuracy <= before.outcome.robust_accuracy - new.sum() / 60
    assert evaluate(tmp_path, weak).evaluated == 0


def test_a_cell_that_was_joined_and_changed_makes_the_worst_case_run_again(tmp_path: Path) -> None:
    evaluate(tmp_path)
    stronger = PROTOCOL.replace("bim = { steps = 4", "bim = { steps = 9")
    assert evaluate(tmp_path, stronger, attacks=["bim"]).evaluated == 1
    cells, _ = read_folder(tmp_path)
    (board,) = make_boards(cells, [plan(tmp_path)])
    assert any("worst_case went on from an older bim" in mark for mark in board.rows[0].marks)
    summary = evaluate(tmp_path, stronger)
    assert (summary.evaluated, summary.reused) == (1, 2)


def test_who_survived_is_not_attacked_again_when_a_joined_cell_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same verdicts as from nothing, at the price of those who had been taken over and no longer are."""
    evaluate(tmp_path / "a")
    before = cell(tmp_path / "a", "worst_case")
    for name in ("fgsm", "bim"):
        (tmp_path / "a" / "worst" / MODEL / f"{name}.json").unlink()
    attacked: list[int] = []
    evaluate_examples = run_module.evaluate_examples

    def counted(task: Task, positions: Sequence[int], sizer: BatchSizer) -> Iterator[BatchRecord]:
        attacked.extend(positions)
        return evaluate_examples(task, positions, sizer)

    monkeypatch.setattr(run_module, "evaluate_examples", counted)
    evaluate(tmp_path / "a", attacks=["worst_case"])
    again = cell(tmp_path / "a", "worst_case")
    evaluate(tmp_path / "b", attacks=["worst_case"])
    anew = cell(tmp_path / "b", "worst_case")
    assert again.joined == {} != before.joined
    assert (again.per_example, again.outcome) == (anew.per_example, anew.outcome)
    survived = {
        at
        for at, (right, found) in enumerate(zip(before.per_example.correct_clean, before.per_example.found, strict=True))
        if right and not found
    }
    assert survived
    assert not survived & set(attacked[: -before.outcome.n])
    # What they had cost is not forgotten: near what a run from nothing pays.
    assert again.cost.forwards == pytest.approx(anew.cost.forwards, rel=0.2)


def test_a_new_version_that_changes_nothing_runs_nothing_again_and_a_third_neither(tmp_path: Path) -> None:
    evaluate(tmp_path)
    before = cell(tmp_path, "worst_case")
    for version in (2, 3):
        summary = evaluate(tmp_path, PROTOCOL.replace("version = 1", f"version = {version}"))
        assert (summary.evaluated, summary.reused) == (0, 3)
    after = cell(tmp_path, "worst_case")
    assert after.protocol.version == 3
    assert after.per_example == before.per_example
    assert after.joined == {name: cell(tmp_path, name).identity for name in ("fgsm", "bim")}


def test_a_new_version_of_the_protocol_takes_over_what_it_left_alone(tmp_path: Path) -> None:
    evaluate(tmp_path)
    before = cell(tmp_path, "fgsm")
    newer = PROTOCOL.replace("version = 1", "version = 2").replace("bim = { steps = 4", "bim = { steps = 5")
    summary = evaluate(tmp_path, newer)
    assert (summary.evaluated, summary.reused) == (2, 1)  # bim, and the worst case that joined it
    after = cell(tmp_path, "fgsm")
    assert after.protocol.version == 2
    assert after.identity != before.identity
    assert after.per_example == before.per_example
    assert after.environment == before.environment


def test_the_same_in_memory() -> None:
    data = load_dataset("digits", "test").select(range(40))
    model = robustboard.load_model(MODEL)
    alone = robustboard.evaluate(model, data.images, data.labels, ["bim"], device="cpu")["bim"]
    results = robustboard.evaluate(model, data.images, data.labels, ["worst_case", "bim"], device="cpu")
    assert list(results) == ["bim", "worst_case"]
    assert results["worst_case"].outcome.robust_accuracy <= alone.outcome.robust_accuracy
    assert results["worst_case"].joined == {"bim": results["bim"].identity}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROTOCOL.replace('"pgd_t"]', '"cw"]'), "worst_case is for linf, its stages are l2, linf"),
        (PROTOCOL.replace('["pgd", "pgd_t"]', "[]"), "it has no stages"),
        (PROTOCOL.replace('"pgd_t"]', '"pgd_x"]'), "did you mean"),
        (PROTOCOL.replace('"worst_case"]\n', '"worst_case_l2"]\n'), "worst_case_l2 needs a list of attacks"),
        (PROTOCOL.replace("worst_case = [", "worst = ["), "there is no worst case 'worst'"),
    ],
)
def test_a_protocol_whose_cascade_cannot_work_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path, text)


def found_elsewhere(out: Path) -> tuple[Tensor, Tensor]:
    """Candidates of a stronger attack for the first 30 digits, in the reverse order."""
    data = load_dataset("digits", "test").select(range(30))
    model = robustboard.load_model(MODEL).eval()
    change = torch.rand(data.images.shape, generator=torch.Generator().manual_seed(0)).sub(0.5).sign() * 0.2
    with torch.no_grad():
        right = model(data.images).argmax(1) == data.labels
    assert bool(right.any())
    return (data.images + change).clamp(0, 1).flip(0), torch.arange(30).flip(0)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_candidates_from_a_file_are_judged_and_join(suffix: str, tmp_path: Path) -> None:
    images, indices = found_elsewhere(tmp_path)
    path = tmp_path / f"theirs{suffix}"
    if suffix == ".npz":
        np.savez(path, images=images.numpy(), indices=indices.numpy())
    else:
        save_file({"images": images.contiguous(), "indices": indices.contiguous()}, path)
    evaluate(tmp_path / "out", adversarials=path)
    theirs = cell(tmp_path / "out", "adversarials_theirs")
    assert theirs.per_example.index == list(range(30))
    model = robustboard.load_model(MODEL).eval()
    data = load_dataset("digits", "test").select(range(30))
    with torch.no_grad():
        wrong = (model(images.flip(0)).argmax(1) != data.labels).int().tolist()
    rows = zip(theirs.per_example.fooled, theirs.per_example.correct_clean, strict=True)
    assert [int(fooled or not right) for fooled, right in rows] == wrong
    assert "adversarials_theirs" in cell(tmp_path / "out", "worst_case").joined
    assert (tmp_path / "out" / "worst" / MODEL / "adversarials_theirs_l2.json").is_file()


def test_what_a_later_shard_fooled_is_fooled_in_the_worst_case(tmp_path: Path) -> None:
    """The first shard comes to the worst case before any cell is whole: its survivors have not met bim's other half."""
    text = PROTOCOL.replace('["pgd", "pgd_t"]', '["fgsm_ce"]').replace("steps = 4, step = 0.25", "steps = 40, step = 0.1")
    evaluate(tmp_path / "whole", text)
    for which in (0, 1):
        evaluate(tmp_path / "parts", text, shard=(which, 2))
    whole, parts = cell(tmp_path / "whole", "worst_case"), cell(tmp_path / "parts", "worst_case")
    assert parts.per_example.fooled == whole.per_example.fooled
    assert set(parts.joined) == {"fgsm", "bim"}
    assert parts.outcome.robust_accuracy <= cell(tmp_path / "parts", "bim").outcome.robust_accuracy


def test_candidates_for_examples_in_the_middle_are_held_against_their_own_clean_verdicts(tmp_path: Path) -> None:
    indices, model = range(20, 60), "digits/relog"
    data = load_dataset("digits", "test").select(indices)
    with torch.no_grad():
        right = robustboard.load_model(model).eval()(data.images).argmax(1) == data.labels
    assert not bool(right.all())
    path = tmp_path / "theirs.npz"
    np.savez(path, images=data.images.numpy(), indices=np.array(indices))
    (tmp_path / "worst.toml").write_text(PROTOCOL, encoding="utf-8")
    run(
        Request(
            protocol=load_protocol(str(tmp_path / "worst.toml")),
            datasets=["digits"],
            subjects=registry_subjects([model], ["digits"]),
            attacks=["fgsm"],
            out=tmp_path,
            device="cpu",
            adversarials=[read_adversarials(path)],
            quiet=True,
        )
    )
    theirs = read_cell(tmp_path / "worst" / model / "adversarials_theirs.json")
    assert theirs.per_example.index == list(indices)
    assert [bool(correct) for correct in theirs.per_example.correct_clean] == right.tolist()


def test_a_candidate_beyond_epsilon_counts_nowhere(tmp_path: Path) -> None:
    data = load_dataset("digits", "test").select(range(30))
    path = tmp_path / "far.npz"
    np.savez(path, images=1 - data.images.numpy(), indices=np.arange(30))
    evaluate(tmp_path / "out", adversarials=path)
    far = cell(tmp_path / "out", "adversarials_far")
    assert far.outcome.n_fooled == 0
    assert not far.outcome.upper_bound_only


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((3, 1, 8, 8)), "indices": np.arange(2)},
        {"images": np.zeros((3, 1, 8, 8))},
        {"images": np.zeros((3, 64)), "indices": np.arange(3)},
        {"images": np.zeros((3, 1, 8, 8)), "indices": np.array([0, 1, 1])},
        {"images": np.zeros((3, 1, 8, 8)), "indices": np.array([0.0, 1.0, 2.0])},
        {"images": np.zeros((3, 1, 9, 9)), "indices": np.arange(3)},
        {"images": np.zeros((3, 1, 8, 8)), "indices": np.arange(3) + 1000},
        {"images": np.array([[[["a"]]]]), "indices": np.arange(1)},
        {"images": np.array([{}], dtype=object), "indices": np.arange(1)},
    ],
)
def test_a_file_that_makes_no_sense_is_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="adversarials"):
        evaluate(tmp_path / "out", adversarials=path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name in ("bad.npz", "bad.safetensors", "absent.npz"):
        if not name.startswith("absent"):
            (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match="does not read"):
            read_adversarials(tmp_path / name)


def test_an_older_result_without_joined_cells_still_reads(tmp_path: Path) -> None:
    evaluate(tmp_path, attacks=["fgsm"])
    path = tmp_path / "worst" / MODEL / "fgsm.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["joined"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert cell(tmp_path, "fgsm").joined == {}
