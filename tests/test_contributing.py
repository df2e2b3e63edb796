"""CONTRIBUTING's worked examples, executed as they stand."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from conftest import ROOT, guide_example, keys, linear_problem
from robustboard.attacks import attack as attack_module
from robustboard.benchmark import cli
from robustboard.benchmark.results import read_folder

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def robustboard(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command line in this process."""
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    cli.main()


def test_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_model.py").write_text(guide_example("my_model.py"), encoding="utf-8")
    command = re.search(r"robustboard run --dataset digits --model my_model.py:build.*", GUIDE)
    assert command
    monkeypatch.chdir(tmp_path)
    robustboard(f"{command[0]} --out {tmp_path} --device cpu", monkeypatch)
    cells, troubles = read_folder(tmp_path)
    assert not troubles
    assert {cell.attack.name for cell in cells} == {"fgsm", "bim", "cw"}
    assert {cell.model.name for cell in cells} == {"my_model.build"}
    assert "my_model.build" in capsys.readouterr().out


def test_training_a_registry_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robustboard(f"{guide_example('train').strip()} --out {tmp_path} --device cpu", monkeypatch)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    stem = "digits-relog-maxout_2"
    assert names == {f"registry/{stem}.toml", f"checkpoints/{stem}.safetensors", f"curves/{stem}.json"}


def test_an_attack_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_module, "_cards", dict(attack_module.attack_cards()))
    path = tmp_path / "random_corner.py"
    path.write_text(guide_example("attacks/random_corner.py"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("robustboard.attacks.random_corner", path)
    assert spec
    assert spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    card = attack_module.attack_cards()["random_corner"]
    model, images, labels = linear_problem(count=6)
    proposal = card.bind()(model, images, labels, keys(6), epsilon=0.1)
    assert torch.allclose((proposal.images - images).abs(), torch.tensor(0.1), atol=1e-6)
