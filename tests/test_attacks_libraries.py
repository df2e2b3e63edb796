"""The libraries' attacks behind the interface here: judged alike, repeatable, without a trace, and named with their version."""

from __future__ import annotations

import importlib.metadata
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robustboard
from attack_problems import centred_problem, two_layer_problem
from conftest import keys
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.libraries import library
from robustboard.attacks.libraries.library import DISTRIBUTIONS, all_cards, library_cards, missing_distribution
from robustboard.benchmark import cells, cli
from robustboard.benchmark.canaries.models import two_layers
from robustboard.benchmark.cells import cell_path, chosen_attacks
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.protocols import load_protocol

QUICK: dict[str, dict[str, Any]] = {
    "torchattacks:square": {"queries": 200},
    "foolbox:cw": {"searches": 4, "steps": 100},
    "art:cw": {"searches": 2},
    "adv_lib:cw": {"searches": 4, "steps": 100},
}
EVERY = list(library_cards())


def installed(name: str) -> Any:
    """The card, or a skip that says what is missing."""
    card = library_cards()[name]
    missing = missing_distribution(card)
    if missing:
        pytest.skip(f"{missing} is not installed: make libraries")
    return card


@pytest.mark.parametrize("name", EVERY)
def test_a_library_attack_attacks_repeatably_and_leaves_no_trace(name: str) -> None:
    card = installed(name)
    images = centred_problem(10, 4)[1]
    model = two_layers(images, classes=10)
    labels = model(images).argmax(1)
    untouched = images.clone()
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    epsilon = {"linf": 0.1, "l2": 1.0, "l0": 8.0}[card.norm]
    attack = card.bind(**QUICK.get(name, {}))
    first = attack(model, images, labels, keys(4), epsilon=epsilon)
    again = attack(model, images, labels, keys(4), epsilon=epsilon)
    assert torch.equal(first.images, again.images)
    assert first.images.shape == images.shape
    assert first.images.dtype == images.dtype
    assert not first.images.requires_grad
    assert first.iterations.shape == (4,)
    assert not torch.equal(first.images, images)
    assert torch.equal(images, untouched), "the images are not the attack's to change"
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (str(np.random.get_state()), random.getstate())


@pytest.mark.parametrize("name", ["torchattacks:pgd", "foolbox:pgd"])
def test_another_seed_draws_another_start(name: str) -> None:
    card = installed(name)
    model, images, labels = two_layer_problem(count=4)
    starts = [card.bind(steps=1)(model, images, labels, keys(4, seed), epsilon=0.3).images for seed in (0, 1)]
    assert not torch.equal(*starts)


def test_the_names_say_library_and_attack_and_the_version_is_the_installed_one() -> None:
    own = attack_cards()
    assert not set(own) & set(EVERY)
    assert list(all_cards()) == [*own, *EVERY]
    for name, card in library_cards().items():
        prefix, colon, attack = name.partition(":")
        assert colon
        assert prefix in DISTRIBUTIONS
        assert card.own_name == attack
        if missing_distribution(card) is None:
            assert card.implementation == f"{prefix} {importlib.metadata.version(DISTRIBUTIONS[prefix])}"
        if attack in own:
            assert card.norm == own[attack].norm
            # torchattacks' FAB returns what is within ε only, ours the smallest it finds.
            assert card.aim == own[attack].aim or name == "torchattacks:fab_t"
            assert set(card.shared) <= set(card.parameters()) & set(own[attack].parameters())
    assert {"fgsm", "bim", "cw", "spsa", "jsma", "max_confidence"} <= {
        name.partition(":")[2] for name in EVERY if name.startswith("torchattacks:")
    }


def test_no_library_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys\n"
        "import robustboard.benchmark.cli\n"
        "from robustboard.attacks.libraries.library import library_cards\n"
        "assert len(library_cards()) > 20\n"
        "print([name for name in ('torchattacks', 'foolbox', 'art', 'adv_lib') if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == "[]"


def test_a_missing_library_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "_version", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["robustboard", "run", "--dataset", "digits", "--attacks", "art:cw", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == 2
    assert capsys.readouterr().err == (
        "error: the attack 'art:cw' needs the package adversarial-robustness-toolbox, which is not installed: make libraries\n"
    )


def test_a_name_that_is_nearly_a_librarys_is_suggested() -> None:
    with pytest.raises(InputError, match="did you mean 'foolbox:ddn'"):
        chosen_attacks(load_protocol("quick"), ["foolbx:ddn"])


def test_a_protocols_numbers_hold_where_they_mean_the_same() -> None:
    protocol = load_protocol("standard")
    data = load_dataset("digits", "test", None)
    planned = {name: cells.plan_attack(protocol, name, data) for name in ("bim", "torchattacks:bim", "foolbox:bim")}
    assert planned["bim"].parameters["steps"] == 40
    assert planned["torchattacks:bim"].parameters == {"steps": 40, "alpha": 2 / 255}
    assert planned["foolbox:bim"].parameters["step"] == planned["bim"].parameters["step"]
    # The steps of the fast C&W come after a start; the library's own count holds.
    assert cells.plan_attack(protocol, "torchattacks:cw", data).parameters["steps"] == 50
    # The same examples, or nothing could be compared.
    assert len(cells.plan_attack(protocol, "torchattacks:cw", data).indices) == protocol.plan("digits").fewer["cw"]


def test_implementations_stand_side_by_side_judged_alike() -> None:
    model, images, labels = centred_problem(4, 12)
    names = ["cw", "torchattacks:cw", "foolbox:ddn", "torchattacks:bim"]
    budgets = {"linf": 0.1, "l2": 1.0, "gamma": 0.5}
    results = robustboard.evaluate(model, images, labels, names, budgets=budgets, device="cpu")
    assert [result.attack.name for result in results.values()] == names
    assert results["torchattacks:cw"].attack.implementation == f"torchattacks {importlib.metadata.version('torchattacks')}"
    assert results["cw"].attack.implementation == "robustboard"
    assert len({result.identity for result in results.values()}) == 4
    found = [d for d in results["foolbox:ddn"].per_example.distance if d is not None]
    assert found
    assert min(found) > 0


def test_columns_and_files_of_a_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    attacks = "torchattacks:cw,bim,cw,torchattacks:bim"
    words = f"run --protocol quick --dataset digits --models relu --n 6 --attacks {attacks} --no-diagnose".split(" ")
    monkeypatch.setattr(sys, "argv", ["robustboard", *words, "--device", "cpu", "--quiet", "--out", str(tmp_path)])
    cli.main()
    folder = tmp_path / "quick@6"
    names = sorted(path.stem for path in (folder / "digits" / "relu").glob("*.json"))
    assert names == ["bim", "cw", "torchattacks-bim", "torchattacks-cw"]
    assert json.loads((folder / "digits" / "relu" / "torchattacks-cw.json").read_text())["attack"]["name"] == "torchattacks:cw"
    header = next(line for line in (folder / "tables.md").read_text().splitlines() if line.startswith("| model"))
    columns = [column.strip() for column in header.strip("|").split("|")]
    assert columns[4:8] == ["bim", "torchattacks:bim", "cw", "torchattacks:cw"], "a library's attack stands beside ours"
    assert {"cw median L2", "torchattacks:cw median L2"} <= set(columns)
    monkeypatch.setattr(sys, "argv", ["robustboard", "compare", str(folder), str(folder)])
    capsys.readouterr()
    cli.main()
    assert "torchattacks:cw" in capsys.readouterr().out


def test_a_cells_file_has_no_colon() -> None:
    assert ":" not in cell_path(Path("x"), "digits", "relu", "torchattacks:cw").name
