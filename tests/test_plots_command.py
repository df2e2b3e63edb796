"""`robustboard plot`: files where they were asked for, one sentence for what cannot be drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Command, put
from handmade import make_cell
from pictured import bench_of, cell_of, linear_digits, subject, view_of, with_confidences, with_distances
from robustboard.benchmark.plots import transfer
from robustboard.benchmark.plots.asked import Asked, asked_views
from robustboard.benchmark.plots.kinds import KINDS, Missing, every
from robustboard.benchmark.plots.picture import Picture
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.results import write_cell

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def other():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def keep(folder: Path, *cells: CellResult) -> Path:
    for cell in cells:
        place = folder / cell.protocol.name / cell.dataset.name / cell.model.name
        write_cell(cell, place / f"{cell.attack.name}.json")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    cells = [make_cell("plain", "bim"), with_distances(cell_of("plain", "cw"), [0.5] * 20, 2.0), make_cell("robust", "bim")]
    return keep(tmp_path / "results", *cells)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return put(tmp_path / "mine" / "own.py", MODEL)


def test_every_kind_is_listed(command: Command) -> None:
    answer = command("plot", "--list")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()[2:]] == list(KINDS)


def test_a_picture_of_a_model_and_of_a_board(command: Command, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = command("plot", "epsilon", "plain", "--results", results, "--out", out, "--format", "svg")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [str(out / "digits" / "plain" / "epsilon.svg")]
    answer = command("plot", "clean_robust", "--results", results, "--out", out)
    assert answer.out.splitlines() == [str(out / "digits" / f"clean_robust.{form}") for form in ("svg", "png")]
    assert all(Path(line).stat().st_size for line in answer.out.splitlines())


def test_what_cannot_be_drawn_is_said_and_the_rest_drawn(command: Command, results: Path, tmp_path: Path) -> None:
    answer = command("plot", "epsilon", "--results", results, "--attack", "cw", "--out", tmp_path, "--format", "svg")
    assert answer.code == 0
    assert answer.out.splitlines() == [str(tmp_path / "digits" / "plain" / "epsilon.svg")]
    assert "not drawn: epsilon: digits/robust has no cell of cw under protocol standard" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a kind of picture, or all; see: robustboard plot --list"),
        (("epsilom",), "there is no kind 'epsilom', did you mean 'epsilon'?"),
        (("epsilon", "plane"), "there is no model 'plane' in the results of protocol standard, did you mean 'plain'?"),
        (("epsilon", "plain", "--attack", "bin"), "there is no attack 'bin', did you mean 'bim'?"),
        (("success_fail", "plain"), "digits/plain has no cell of max_confidence under protocol standard"),
        (("epsilon", "--protocol", "quick"), "the results have no protocol 'quick'"),
        (("epsilon", "--dataset", "cifar"), "there is no data set 'cifar', did you mean 'cifar10'?"),
        (("epsilon", "--dataset", "mnist"), "there is nothing to plot in"),
        (("epsilon", "--format", "jpg"), "there is no format 'jpg'"),
        (("filters", "own.py:build"), "'own.py:build' needs the --dataset that it classifies"),
        (("filters", "plain"), "digits/'plain' is not in the registry, and this picture needs the network"),
        (("transfer", "plain"), "a transfer matrix takes 2 to 12 models, digits has 1 here: name them"),
    ],
)
def test_bad_input_is_one_sentence(command: Command, results: Path, words: tuple[str, ...], said: str) -> None:
    answer = command("plot", *words, "--results", results)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert "Traceback" not in answer.err


def test_models_of_ones_own_need_no_results(command: Command, own: Path, tmp_path: Path) -> None:
    more = ("--dataset", "digits", "--results", put(tmp_path / "none" / "x.txt", "").parent, "--n", "20", "--device", "cpu")
    for kind, words in (("filters", ()), ("confusion", ("--attack", "fgsm"))):
        answer = command("plot", kind, f"{own}:build", *more, *words, "--out", tmp_path / "out", "--format", "svg")
        assert (answer.code, answer.err) == (0, "")
        assert (tmp_path / "out" / "digits" / "mine.own.build" / f"{kind}.svg").is_file()
    answer = command("plot", "transfer", f"{own}:build", f"{own}:other", *more, "--out", tmp_path / "out", "--format", "svg")
    assert (answer.code, answer.err) == (0, "")
    assert "within families" in (tmp_path / "out" / "digits" / "transfer.svg").read_text(encoding="utf-8")


def test_the_registrys_models_need_no_results(command: Command, tmp_path: Path) -> None:
    none = put(tmp_path / "none" / "x.txt", "").parent
    assert command("plot", "filters", "digits/relu", "--results", none, "--out", tmp_path / "out", "--format", "svg").code == 0
    assert (tmp_path / "out" / "digits" / "relu" / "filters.svg").is_file()


def test_a_name_full_of_glob_signs_is_meant_as_it_is(tmp_path: Path) -> None:
    folder = keep(tmp_path, make_cell("a[1]*", "bim"), make_cell("a1x", "bim"))
    views, _ = asked_views(Asked("epsilon", ["a[1]*"], [folder]))
    assert {view.model for _, view in views} == {"a[1]*", "a1x"}
    views, _ = asked_views(Asked("epsilon", ["a1x"], [folder]))
    assert [view.model for _, view in views] == ["a1x"]


def test_the_only_protocol_there_is_taken_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    folder = keep(tmp_path, make_cell("m", "bim", protocol="mine"))
    views, _ = asked_views(Asked("epsilon", (), [folder]))
    assert [view.board.protocol for _, view in views] == ["mine"]
    keep(tmp_path, make_cell("m", "bim", protocol="yours"))
    with pytest.raises(Exception, match="choose with --protocol mine or yours"):
        asked_views(Asked("epsilon", (), [folder]))


def test_the_only_protocols_other_cells_are_taken_in(tmp_path: Path) -> None:
    cells = [with_distances(cell_of("m", name, protocol="distances"), [0.5] * 20, 2.0) for name in ("ddn", "cw")]
    folder = keep(tmp_path, make_cell("m", "bim"), *cells)
    ((kind, view),), _ = asked_views(Asked("epsilon", ["m"], [folder]))
    caption = kind.picture(view).about.caption
    assert "ddn (version 1): L2 ε = 2; steps 40. From protocol distances v1." in caption


def test_every_makes_all_or_says_why_not() -> None:
    model = linear_digits()
    cells = [
        make_cell("linear", "bim", params={"loss": "margin", "steps": 4, "step": 0.3}),
        with_distances(cell_of("linear", "jsma", params={"theta": 1.0}), [2.0] * 20, 9.0),
        with_confidences(cell_of("linear", "max_confidence"), [0.9] * 20, [0.8] * 20),
    ]
    cells = [replace(cell, attack=replace(cell.attack, version=2)) if cell.attack.name == "jsma" else cell for cell in cells]
    bench = bench_of(subject("linear", model), n=20)
    made = list(every([view_of(cells).board], bench=bench, kinds=[kind for kind in KINDS if kind != "gallery"]))
    wanted = [(kind.name, scope) for kind in KINDS.values() for scope in kind.scopes if kind.name != "gallery"]
    assert [(each.kind, "model" if each.model else "board") for each in made] == wanted
    assert [each for each in made if isinstance(each, Missing)] == [
        Missing("transfer", "digits", "", "a transfer matrix takes 2 to 12 models, digits has 1 here: name them"),
        Missing("training", "digits", "linear", "digits/linear is not the registry's: no training curve of it is recorded"),
    ]
    counted = [each for each in made if isinstance(each, Picture) and each.kind not in ("filters", "gradients")]
    assert all("n = 20" in each.about.caption for each in counted)


def test_cells_of_another_version_of_an_attack_are_not_run_as_if_they_were() -> None:
    cell = make_cell("linear", "bim", params={"loss": "margin", "steps": 4, "step": 0.3})
    cell = replace(cell, attack=replace(cell.attack, version=99))
    (made,) = every([view_of([cell]).board], bench=bench_of(subject("linear", linear_digits())), kinds=["confusion"])
    assert isinstance(made, Missing)
    assert "bim is version 1 now, its cells are of version 99: run them again" in made.reason


def test_a_network_of_other_weights_than_its_cells_is_marked() -> None:
    changed = replace(subject("linear", linear_digits()), weights_sha256="b" * 64)
    cell = make_cell("linear", "bim", weights="a" * 64)
    (made,) = every([view_of([cell]).board], bench=bench_of(changed), kinds=["filters"])
    assert isinstance(made, Picture)
    assert "▲ linear: the network here is of other weights than the cells of its row" in made.about.caption


def test_of_many_models_some_of_each_family_are_chosen() -> None:
    others = {"relog", "relu-pgd_at", "relu-half_1", "relu-half_2"}
    rows = [Row(name, {}) for name in (*(f"relu-seed_{n}" for n in range(1, 30)), *sorted(others))]
    chosen = [row.model for row in transfer.choose(rows)]
    assert len(chosen) == transfer.MOST
    assert others <= set(chosen)
    assert chosen == [row.model for row in rows if row.model in chosen]
