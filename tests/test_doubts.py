"""No false "robust" without a word beside it: a run diagnoses what it attacked, `evaluate` warns, a file alone proves nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustboard
from conftest import Command, put
from handmade import diagnosed, make_cell, make_manifest
from robustboard.benchmark.adversarials import FILE
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import DoubtWarning
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult, Manifest, ProtocolBlock
from robustboard.benchmark.report.board import Row, make_boards
from robustboard.benchmark.report.diagnoses import NOT_DIAGNOSED
from robustboard.benchmark.report.ranks.intervals import is_ranked
from robustboard.models.registry import load_model

OWN = """
from robustboard.models.registry import load_model
from torch import nn

class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = load_model("digits/relu")

    def forward(self, images):
        return self.network((4 * images).round() / 4)

def quantised():
    return Quantised()
"""
SMALL = ("--dataset", "digits", "--n", "8", "--attacks", "fgsm,bim", "--device", "cpu")


class Around(nn.Module):
    """The registry's digits network with something done to what it reads, or to what it says."""

    def __init__(self, before: Callable[[Tensor], Tensor] = lambda x: x, after: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.network, self.before, self.after = load_model("digits/relu"), before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return put(tmp_path / "mine" / "own.py", OWN)


def test_a_model_that_hides_its_gradients_is_marked_by_the_run_itself(command: Command, tmp_path: Path, own: Path) -> None:
    code, said, _ = command("run", *SMALL, "--model", f"{own}:quantised", "--out", tmp_path)
    assert code == 0
    assert "mine.own.quantised ▲" in said
    assert "check 1: input gradients that are all zero" in said


@pytest.mark.parametrize("words", [("--no-diagnose",), ("--shard", "0/2")])
def test_a_run_that_does_not_diagnose_says_so_in_every_row(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    model = ("--models", "relu", "--out", tmp_path)
    assert command("run", *SMALL, *model, *words)[0] == 0
    code, said, _ = command("run", *SMALL, *model, "--no-diagnose")
    assert code == 0
    assert "△ relu: not diagnosed" in said
    # The same cells, looked at.
    code, said, _ = command("run", *SMALL, *model)
    assert code == 0
    assert "not diagnosed" not in said


def test_a_run_of_fewer_attacks_than_its_protocol_has_says_which(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, said, _ = command("run", *SMALL, "--models", "relu-fast_at", "--out", tmp_path)
    assert code == 0
    (told,) = (line for line in said.splitlines() if "not asked for" in line)
    assert "▲ relu-fast_at: not asked for, of its protocol: cw, spsa, jsma, max_confidence, worst_case, worst_case_l2" in told
    assert any(line.startswith("relu-fast_at ▲") and "≤ " in line and "last ▲" in line for line in said.splitlines())


def doubts(model: nn.Module) -> list[str]:
    """What `robustboard.evaluate` warns of."""
    data = load_dataset("digits", "test").select(range(24))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        robustboard.evaluate(model, data.images, data.labels, ["bim"], device="cpu")
    return [str(each.message) for each in caught if each.category is DoubtWarning]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Around(after=lambda x: x.detach()), "bim failed on"),
        (Around(before=lambda x: (4 * x).round() / 4), "check 1: input gradients that are all zero"),
        (Around(before=lambda x: x + 0.2 * torch.randn_like(x)), "check 5: the model answers the same images differently"),
        (Around(after=lambda x: x.softmax(1)), "outputs are probabilities"),
    ],
)
def test_evaluate_warns_of_numbers_that_are_not_to_be_believed(model: nn.Module, why: str) -> None:
    (said,) = doubts(model)
    assert why in said


@pytest.mark.parametrize("after", [lambda x: x, lambda x: x.double(), lambda x: x.bfloat16()])
def test_an_honest_model_in_any_floating_format_is_attacked_and_nothing_is_said(after: Callable[[Tensor], Tensor]) -> None:
    data = load_dataset("digits", "test").select(range(24))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = robustboard.evaluate(Around(after=after), data.images, data.labels, ["bim", "cw", "jsma"], device="cpu")
    assert all(result.outcome.n_attack_failures == 0 for result in results.values())
    assert results["bim"].outcome.robust_accuracy <= 0.1


def rows(cells: list[CellResult], *manifests: Manifest) -> Sequence[Row]:
    """The rows of the one board that the cells of diagnosed models make."""
    (board,) = make_boards(cells, manifests, [], diagnosed(cells))
    return board.rows


def test_attacks_of_the_protocol_that_nobody_asked_for_are_told() -> None:
    manifest = replace(make_manifest({"digits": {"relu": ["bim"]}}), attacks=["fgsm", "bim", "worst_case"])
    (row,) = rows([make_cell()], manifest)
    assert row.unasked == ("fgsm", "worst_case")
    assert row.told() == [("▲", "not asked for, of its protocol: fgsm, worst_case")]
    (whole,) = rows([make_cell()], replace(manifest, attacks=["bim"]))
    assert (whole.unasked, whole.sign) == ((), "")
    (other,) = rows([make_cell()], replace(manifest, attacks=["bim", "cw", "jsma"]))
    assert other.told() == [("△", "not asked for, of its protocol: cw, jsma")], "no L∞ attack is among them"


def test_a_row_with_fewer_attacks_leads_no_board() -> None:
    """FGSM alone leaves 19 of 20; of the other, 18, everything was asked."""
    cells = [
        make_cell("one", "fgsm", fooled=(1,) + (0,) * 19),
        *(make_cell("all", name, fooled=(1, 1) + (0,) * 18) for name in ("fgsm", "bim")),
    ]
    manifest = replace(make_manifest({"digits": {"one": ["fgsm"], "all": ["fgsm", "bim"]}}), attacks=["fgsm", "bim"])
    first, last = rows(cells, manifest)
    assert (first.model, last.model, last.sign) == ("all", "one", "▲")
    assert not is_ranked(last, "worst_case")
    assert is_ranked(last, "fgsm")


def test_a_worst_case_of_none_left_is_whole_whatever_was_not_asked_for() -> None:
    manifest = replace(make_manifest({"digits": {"relu": ["bim"]}}), attacks=["fgsm", "bim"])
    (row,) = rows([make_cell(fooled=(1,) * 20)], manifest)
    assert row.told() == [("△", "not asked for, of its protocol: fgsm")]
    assert is_ranked(row, "worst_case")


def test_without_a_manifest_an_official_protocol_says_what_it_has() -> None:
    official = load_protocol("standard")
    cell = replace(make_cell(), protocol=ProtocolBlock(f"{official.name}@20", official.version))
    (row,) = rows([cell])
    assert row.unasked == tuple(name for name in official.attacks if name != "bim")
    (older,) = rows([replace(cell, protocol=ProtocolBlock(official.name, official.version - 1))])
    assert older.unasked == ()


def test_a_row_of_another_norm_stands_below_those_that_the_board_is_sorted_by() -> None:
    near, far = make_cell("near", "cw", fooled=(1,) + (0,) * 19), make_cell("far", "bim", fooled=(1,) * 10 + (0,) * 10)
    assert [row.model for row in rows([near, far])] == ["far", "near"]


def test_one_example_is_too_few_to_tell_a_model_from_one_that_guesses() -> None:
    (row,) = rows([make_cell(correct=(1,), fooled=(0,))])
    assert row.told() == [("▲", "n = 1: too few examples to tell it from a model that guesses")]


@pytest.mark.parametrize("attack", ["bim", "cw", "jsma"])
def test_in_no_norm_a_row_that_nobody_looked_at_goes_unmarked(attack: str) -> None:
    (row,) = make_boards([make_cell(attack=attack)], [])[0].rows
    assert row.told() == [("△", NOT_DIAGNOSED)]


def test_a_file_of_candidates_alone_makes_no_worst_case() -> None:
    cell = make_cell("a", "fgsm", fooled=(0,) * 20)
    theirs = replace(cell, attack=replace(cell.attack, name="adversarials_theirs", implementation=FILE))
    (row,) = rows([theirs])
    assert row.worst_case("linf") is None
    attacked = make_cell("a", "bim")
    (row,) = rows([theirs, attacked])
    worst = row.worst_case("linf")
    assert worst is not None
    assert worst.attacks == ("adversarials_theirs", "bim")


def test_candidates_beyond_the_budget_earn_no_worst_case(command: Command, tmp_path: Path) -> None:
    data = load_dataset("digits", "test").select(range(4))
    noise = torch.rand(data.images.shape, generator=torch.Generator().manual_seed(0))
    np.savez(tmp_path / "noise.npz", images=noise.numpy(), indices=np.arange(4))
    words = ("--models", "relu-fast_at", "--adversarials", tmp_path / "noise.npz", "--out", tmp_path)
    assert command("run", *SMALL, *words)[0] == 0
    _, said, _ = command("report", tmp_path / "standard@8", "--format", "csv")
    header, *lines = said.splitlines()
    at = header.split(",").index("worst_case")
    (l2,) = (line for line in lines if ",adversarials_noise_l2," in line)
    assert l2.split(",")[at] == ""
