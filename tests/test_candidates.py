"""Candidates that are kept: what is read back fools the model as what was written did, and no kill or shard loses one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import Command, cut_copy, linear_problem
from evaluation_tasks import task_for, to_edge
from kept_runs import PROTOCOL, path_of, request
from robustboard.attacks.attack import Norm, Proposal
from robustboard.benchmark.candidates import (
    CONFIDENCE_SLACK,
    HALF_ERROR,
    candidates_path,
    distance_slack,
    gathered,
    pack,
    read_candidates,
    towards_zero,
    write_candidates,
)
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.evaluate import BatchSizer, evaluate_examples
from robustboard.benchmark.judge import TOLERANCE, Threat, judge
from robustboard.benchmark.records import CandidatesBlock, CellResult
from robustboard.benchmark.results import read_cell
from robustboard.benchmark.run import Summary, run

MODEL = "digits/relu-fast_at"
ATTACKS = ("fgsm", "ddn", "max_confidence", "worst_case")
TEXT = PROTOCOL.replace("n = 60", "n = 24").replace('"jsma", ', "")


def evaluate(
    out: Path,
    *,
    keep: bool = True,
    shard: tuple[int, int] = (0, 1),
    batch_size: int | None = None,
    text: str = TEXT,
    attacks: list[str] | None = None,
) -> Summary:
    return run(request(out, model=MODEL, keep=keep, attacks=attacks, text=text, shard=shard, batch_size=batch_size))


def file(out: Path, attack: str) -> Path:
    return path_of(out, attack, MODEL)


def kept(out: Path, attack: str) -> CandidatesBlock:
    block = read_cell(file(out, attack)).candidates
    assert block is not None
    return block


def found(cell: CellResult) -> list[int]:
    return [index for index, there in zip(cell.per_example.index, cell.per_example.found, strict=True) if there]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one undisturbed process keeps."""
    out = tmp_path_factory.mktemp("whole")
    evaluate(out)
    return out


finite = st.floats(-60_000, 60_000, width=32)


@given(values=st.lists(finite, min_size=1, max_size=30))
def test_half_precision_never_makes_a_change_larger_and_loses_at_most_a_thousandth(values: list[float]) -> None:
    change = torch.tensor(values, dtype=torch.float32)
    half = towards_zero(change).float()
    assert bool((half.abs() <= change.abs()).all())
    assert bool((half * change >= 0).all())
    # Below 2^-14 half precision has a fixed step of 2^-24.
    assert bool(((half - change).abs() <= HALF_ERROR * change.abs() + 2.0**-24).all())
    assert torch.equal(towards_zero(half), half.half())


@st.composite
def problems(draw: st.DrawFn) -> tuple[nn.Module, Tensor, Tensor, Tensor, Threat]:
    """A linear model, images with the model's labels, changes of any size, some in a few features only, and a threat."""
    seed, classes = draw(st.integers(0, 2**20)), draw(st.integers(2, 4))
    model, images, labels = linear_problem(classes, count=8, shape=(1, 3, 3), low=0.0, high=1.0, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    size = draw(st.sampled_from([1e-9, 1e-4, 0.1, 1.0]))
    few = torch.rand(images.shape, generator=generator) < draw(st.sampled_from([0.2, 1.0]))
    change = size * (2 * torch.rand(images.shape, generator=generator) - 1) * few
    norm: Norm = draw(st.sampled_from(["linf", "l2", "l0"]))
    epsilon = draw(st.sampled_from([1e-4, 0.1, 0.3, 5.0]))
    return (
        model,
        images,
        labels,
        (images + change).clamp(0, 1),
        Threat(norm, epsilon, draw(st.sampled_from(["minimum", "budget"]))),
    )


@given(problem=problems())
@settings(max_examples=60, deadline=None)
def test_what_is_read_back_is_judged_as_what_was_written(problem: tuple[nn.Module, Tensor, Tensor, Tensor, Threat]) -> None:
    model, images, labels, shown, threat = problem
    first = judge(model, images, labels, shown, threat, "softmax")
    packed = pack(model, images, labels, first, threat, "softmax")
    data_set = Dataset("memory", "test", images, labels)
    with tempfile.TemporaryDirectory() as folder:
        cell = Path(folder) / "cell.json"
        block = write_candidates(gathered(dict(enumerate(packed)), images.shape[1:]), cell, {})
        read = read_candidates(block, cell)
    assert sorted(read.indices) == list(range(len(images)))
    restored = read.restored(data_set, range(len(images)))
    back = torch.stack([restored[index] for index in range(len(images))])
    again = judge(model, images, labels, back, threat, "softmax")
    assert torch.equal(back[read.whole_indices], first.images[read.whole_indices])
    counts = first.adversarial
    assert torch.equal(again.adversarial[counts], counts[counts])
    assert not any(failure for failure, count in zip(again.failures, counts.tolist(), strict=True) if count)
    limit = threat.epsilon + TOLERANCE
    assert torch.equal((again.distance <= limit)[counts], (first.distance <= limit)[counts])
    slack = distance_slack(first.distance, threat.norm)
    assert bool(((again.distance - first.distance).abs() <= slack)[counts].all())
    assert bool(((again.confidence - first.confidence).abs() <= CONFIDENCE_SLACK)[counts].all())


def test_a_candidate_that_half_precision_would_lose_is_kept_to_the_bit() -> None:
    # On the border itself: cut off by a thousandth, no change gets there.
    model, images, labels = linear_problem(count=8)
    logits = model(images).detach()
    gap = (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None])).squeeze(1)
    slope = (model.weight[1] - model.weight[0]).detach().abs().sum()
    shown = torch.cat(
        [to_edge(images[at : at + 1], labels[at : at + 1], model, float(gap[at] / slope) * 1.00001) for at in range(8)]
    )
    threat = Threat("linf", 1.0, "minimum")
    verdict = judge(model, images, labels, shown, threat, "softmax")
    assert bool(verdict.adversarial.all())
    candidates = gathered(dict(enumerate(pack(model, images, labels, verdict, threat, "softmax"))), images.shape[1:])
    assert len(candidates.whole_indices) > 4, "a change that is a half-precision number by chance loses nothing"
    assert torch.equal(candidates.wholes, shown[candidates.whole_indices])


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_example_found_has_one_candidate_here_or_there(whole: Path, attack: str) -> None:
    cell, block = read_cell(file(whole, attack)), kept(whole, attack)
    own = read_candidates(block, file(whole, attack)).indices
    taken_over = [index for indices in block.taken_over.values() for index in indices]
    assert sorted([*own, *taken_over]) == found(cell)
    assert block.n == len(own)
    assert bool(taken_over) == (attack == "worst_case")
    for other, indices in block.taken_over.items():
        assert set(indices) <= set(found(read_cell(file(whole, other))))
        assert other in cell.joined


def test_a_worst_case_keeps_what_it_found_itself(whole: Path) -> None:
    assert kept(whole, "worst_case").n > 0


def test_keeping_changes_neither_the_identity_nor_the_result(whole: Path, tmp_path: Path) -> None:
    evaluate(tmp_path, keep=False)
    for attack in ATTACKS:
        with_them, without = read_cell(file(whole, attack)), read_cell(file(tmp_path, attack))
        assert with_them.identity == without.identity
        assert with_them.per_example == without.per_example
        assert without.candidates is None
        assert not candidates_path(file(tmp_path, attack)).exists()


any_number = settings(max_examples=4, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@any_number
@given(order=st.integers(1, 4).flatmap(lambda count: st.permutations(range(count))), batch_size=st.integers(1, 24))
def test_shards_in_any_order_keep_what_one_process_keeps(whole: Path, order: list[int], batch_size: int) -> None:
    with tempfile.TemporaryDirectory() as parts:
        for which in order:
            evaluate(Path(parts), shard=(which, len(order)), batch_size=batch_size, attacks=["fgsm", "ddn"])
        for attack in ("fgsm", "ddn"):
            assert kept(Path(parts), attack) == kept(whole, attack)
            assert candidates_path(file(Path(parts), attack)).read_bytes() == candidates_path(file(whole, attack)).read_bytes()
        assert not list(Path(parts).rglob("*.partial-*"))


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of two shards is done: its journals are whole."""
    out = tmp_path_factory.mktemp("half")
    evaluate(out, shard=(0, 2), batch_size=3, attacks=["ddn"])
    return out


@any_number
@given(share=st.floats(0, 1))
def test_a_journal_cut_anywhere_loses_no_candidate(whole: Path, half: Path, share: float) -> None:
    with cut_copy(half, "ddn.partial-*", share) as out:
        evaluate(out, attacks=["ddn"])
        assert kept(out, "ddn") == kept(whole, "ddn")


@pytest.mark.parametrize("first", [True, False])
def test_batches_of_a_run_that_kept_none_are_run_again_for_one_that_keeps(whole: Path, tmp_path: Path, first: bool) -> None:
    evaluate(tmp_path, keep=first, shard=(0, 2), batch_size=3, attacks=["ddn"])
    evaluate(tmp_path, keep=not first, shard=(1, 2), batch_size=3, attacks=["ddn"])
    if first:
        # Whoever finished it did not ask for candidates, and half of them were not there: the cell says that it has none.
        assert read_cell(file(tmp_path, "ddn")).candidates is None
        return
    assert not file(tmp_path, "ddn").exists(), "a cell that is to have candidates waits for them"
    evaluate(tmp_path, attacks=["ddn"])
    assert kept(tmp_path, "ddn") == kept(whole, "ddn")


def test_memory_running_out_loses_no_candidate() -> None:
    model, images, labels = linear_problem(count=20)

    def packed(fitting: int) -> dict[int, str]:
        def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
            if len(x) > fitting:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return Proposal(to_edge(x, y, model, 0.15), torch.ones_like(y))

        task = replace(task_for(model, images, labels, attack, Threat("linf", 0.2, "budget")), keep_candidates=True)
        batches = list(evaluate_examples(task, range(20), BatchSizer(20)))
        examples = [example for batch in batches for example in batch.examples]
        assert all(bool(example.candidate) == example.found for example in examples)
        return {example.index: example.candidate for example in examples}

    assert packed(20) == packed(3)
    assert 0 < sum(map(bool, packed(3).values())) < 20


def test_asked_for_later_they_are_kept_then_and_stay(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(tmp_path, keep=False, attacks=["fgsm"])
    assert evaluate(tmp_path, attacks=["fgsm"]).evaluated == 1
    assert kept(tmp_path, "fgsm") == kept(whole, "fgsm")
    for keep in (True, False):
        assert evaluate(tmp_path, keep=keep, attacks=["fgsm"]).evaluated == 0
        assert kept(tmp_path, "fgsm") == kept(whole, "fgsm")
    candidates_path(file(tmp_path, "fgsm")).unlink()
    assert evaluate(tmp_path, attacks=["fgsm"]).evaluated == 1
    assert kept(tmp_path, "fgsm") == kept(whole, "fgsm")


def test_a_cell_that_is_attacked_again_to_keep_them_says_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "kept.toml").write_text(TEXT, encoding="utf-8")
    words = ["run", "--protocol", tmp_path / "kept.toml", "--models", MODEL, "--attacks", "fgsm", "--out", tmp_path]
    assert command(*words).code == 0
    again = command(*words, "--keep-adversarials")
    assert f"fgsm {MODEL} was finished without its candidates: attacked again to keep them" in again.err
    assert kept(tmp_path, "fgsm").n > 0


def test_another_result_without_candidates_takes_the_old_ones_along(tmp_path: Path) -> None:
    evaluate(tmp_path, attacks=["ddn"])
    evaluate(tmp_path, keep=False, attacks=["ddn"], text=TEXT.replace("steps = 10", "steps = 11"))
    assert read_cell(file(tmp_path, "ddn")).candidates is None
    assert not candidates_path(file(tmp_path, "ddn")).exists()


def test_journals_of_a_run_that_keeps_outlast_a_run_that_does_not(whole: Path, tmp_path: Path) -> None:
    evaluate(tmp_path, keep=False, attacks=["ddn"])
    evaluate(tmp_path, shard=(0, 2), batch_size=3, attacks=["ddn"])
    (journal,) = tmp_path.rglob("ddn.partial-*")
    before = journal.read_bytes()
    evaluate(tmp_path, keep=False, attacks=["ddn"])
    assert journal.read_bytes() == before
    evaluate(tmp_path, shard=(1, 2), attacks=["ddn"])
    assert kept(tmp_path, "ddn") == kept(whole, "ddn")


def test_a_shard_that_keeps_none_is_told_to_the_others_user(command: Command, tmp_path: Path) -> None:
    (tmp_path / "kept.toml").write_text(TEXT, encoding="utf-8")
    words = ["run", "--protocol", tmp_path / "kept.toml", "--models", MODEL, "--attacks", "ddn", "--out", tmp_path]
    assert command(*words, "--shard", "0/2").code == 0
    answer = command(*words, "--shard", "1/2", "--keep-adversarials")
    assert f"ddn {MODEL} waits: another shard keeps no candidates; run it with --keep-adversarials too" in answer.err
