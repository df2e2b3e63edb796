"""`robustboard diagnose`: what it writes and prints, what it keeps, what it refuses, and what it makes of a run's cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Command, put
from handmade import make_diagnosis
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.diagnose import checks, record
from robustboard.benchmark.diagnose.record import Diagnosis
from robustboard.benchmark.diagnose.table import render
from robustboard.benchmark.results import DIAGNOSIS_SCHEMA_FILE, read_folder

SMALL = ("--n", "8", "--quiet")
FOLDER = "standard@8"

OWN = """
import torch
from torch import nn
from robustboard import load_model

class Around(nn.Module):
    def __init__(self, before):
        super().__init__()
        self.network, self.before = load_model("digits/relu"), before

    def forward(self, images):
        return self.network(self.before(images))

def quantised():
    return Around(lambda images: (4 * images).round() / 4)

def plain():
    return Around(lambda images: images)

def broken():
    return Around(lambda images: images[:, :, :2])
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return put(tmp_path / "mine" / "own.py", OWN)


def diagnosis(out: Path, model: str) -> Diagnosis:
    return record.read_diagnosis(record.file_of(out / FOLDER, "digits", model))


def verdicts(found: Diagnosis) -> dict[int, str]:
    return {finding.number: finding.verdict for finding in found.findings}


def test_an_undefended_model_of_the_registry_trips_nothing(command: Command, tmp_path: Path) -> None:
    code, said, progress = command("diagnose", "digits/relu", "--n", "8", "--out", tmp_path)
    assert code == 0
    assert "23/23 checks done, 0.0% of them flagged" in progress
    found = diagnosis(tmp_path, "relu")
    assert found.flags == []
    assert found.dataset.fingerprint == load_dataset("digits", "test").select(range(8)).fingerprint()
    assert found.cells == {}
    assert "relu" in found.others
    rows = [line for line in said.split("\n\n")[1].splitlines() if line[:2].strip().isdecimal()]
    assert [int(line[:2]) for line in rows] == list(range(1, record.CHECKS + 1))
    assert all("no failure detected" in line or "not applicable" in line for line in rows)
    assert "proved" not in said
    assert (tmp_path / FOLDER / DIAGNOSIS_SCHEMA_FILE).is_file()


def test_a_model_of_ones_own_that_hides_its_gradients_is_found_out(command: Command, tmp_path: Path, own: Path) -> None:
    words = ("--model", f"{own}:quantised", "--dataset", "digits", *SMALL, "--out", tmp_path)
    code, said, _ = command("diagnose", *words, "--json")
    assert code == 0
    (told,) = json.loads(said)
    found = diagnosis(tmp_path, "mine.own.quantised")
    assert told == record.as_json(found)
    assert found.model.source.startswith("own.py:quantised (sha256 ")
    flagged = {number for number, verdict in verdicts(found).items() if verdict == "fail"}
    assert {1, 7, 10, 13, 16, 20} <= flagged
    # The same network without the quantisation is what stands behind it.
    assert command("diagnose", f"{own}:plain", *words[2:])[0] == 0
    assert diagnosis(tmp_path, "mine.own.plain").flags == []


def test_a_run_and_a_diagnosis_stand_in_one_row(command: Command, tmp_path: Path, own: Path) -> None:
    model = ("--model", f"{own}:quantised", "--dataset", "digits", *SMALL, "--out", tmp_path)
    attacks = ("--attacks", "fgsm,bim,square", "--device", "cpu")
    assert command("run", *model, *attacks)[0] == 0
    assert command("diagnose", *model)[0] == 0
    found = diagnosis(tmp_path, "mine.own.quantised")
    cells, troubles = read_folder(tmp_path)
    assert troubles == []
    assert found.cells == {cell.attack.name: cell.identity for cell in cells}
    assert {number for number in range(1, 24) if found.findings[number - 1].looked_at == "cells"} == {7, 8, 18, 19}
    # The survivors are those of the cells: what Square fooled is none.
    fallen = {index for cell in cells for index, hit in zip(cell.per_example.index, cell.per_example.fooled, strict=True) if hit}
    assert not fallen & set(found.findings[9].examples)
    code, said, _ = command("report", tmp_path / FOLDER)
    assert code == 0
    assert f"▲ mine.own.quantised: check 7: {found.findings[6].reason}." in said
    assert "black-box fools" in said


def test_what_was_found_is_not_looked_for_again_and_other_questions_are(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("diagnose", "digits/relu", *SMALL, "--out", tmp_path)
    assert command(*words)[0] == 0
    first = diagnosis(tmp_path, "relu")
    monkeypatch.setattr(checks, "observe", lambda *anything: pytest.fail("it was looked for again"))
    answer = command(*words[:-3], *words[-2:])  # not --quiet
    assert answer.code == 0
    assert "kept 1 of 1 diagnoses, since model and cells are the same" in " ".join(answer.err.split())
    monkeypatch.undo()
    assert command("run", "--dataset", "digits", "--models", "relu", "--attacks", "fgsm", "--device", "cpu", *words[2:])[0] == 0
    assert command(*words)[0] == 0
    again = diagnosis(tmp_path, "relu")
    assert again.identity != first.identity
    assert set(again.cells) == {"fgsm"}
    monkeypatch.setattr(checks, "VERSION", checks.VERSION + 1)
    assert command(*words)[0] == 0
    assert diagnosis(tmp_path, "relu").identity != again.identity


def test_again_looks_where_a_diagnosis_is_there_and_says_what_it_said_otherwise(command: Command, tmp_path: Path) -> None:
    words = ("diagnose", "digits/relu", "--n", "8", "--out", tmp_path)
    assert command(*words)[0] == 0
    honest, path = diagnosis(tmp_path, "relu"), record.file_of(tmp_path / FOLDER, "digits", "relu")
    findings = [replace(each, verdict="fail") if each.number in (7, 9) else each for each in honest.findings]
    record.write_diagnosis(replace(honest, findings=findings), path)
    assert command(*words)[0] == 0
    assert verdicts(diagnosis(tmp_path, "relu"))[7] == "fail", "what is there is kept"
    answer = command(*words, "--again")
    assert verdicts(diagnosis(tmp_path, "relu")) == verdicts(honest)
    assert "digits/relu: the diagnosis that was there said otherwise of check 7, 9" in " ".join(answer.err.split())
    assert "said otherwise" not in command(*words, "--again").err


def test_cells_of_other_weights_are_not_looked_at(command: Command, tmp_path: Path) -> None:
    words = (*SMALL, "--out", tmp_path)
    assert command("run", "--dataset", "digits", "--models", "relog", "--attacks", "fgsm", "--device", "cpu", *words)[0] == 0
    (tmp_path / FOLDER / "digits" / "relog").rename(tmp_path / FOLDER / "digits" / "relu")
    assert command("diagnose", "digits/relu", *words)[0] == 0
    assert diagnosis(tmp_path, "relu").cells == {}


def test_cells_of_another_version_of_the_protocol_or_another_budget_are_not_looked_at(command: Command, tmp_path: Path) -> None:
    told = 'name = "mine"\nversion = {}\ntitle = "mine"\nseed = 0\nattacks = ["fgsm"]\n'
    told += "[datasets.digits]\nn = 8\nlinf = {}\nl2 = 1.0\ngamma = 0.1\n"
    for version, epsilon, seen in ((1, 0.2, {"fgsm"}), (2, 0.2, set()), (1, 0.1, set())):
        words = ("--protocol", put(tmp_path / "mine.toml", told.format(version, epsilon)), "--out", tmp_path, "--quiet")
        if seen:
            assert command("run", "--models", "digits/relu", "--device", "cpu", *words)[0] == 0
        assert command("diagnose", "digits/relu", *words)[0] == 0
        assert set(record.read_diagnosis(record.file_of(tmp_path / "mine", "digits", "relu")).cells) == seen


def test_a_damaged_diagnosis_is_made_again(command: Command, tmp_path: Path) -> None:
    path = put(record.file_of(tmp_path / FOLDER, "digits", "relu"), "{")
    assert command("diagnose", "digits/relu", *SMALL, "--out", tmp_path)[0] == 0
    assert record.read_diagnosis(path).model.name == "relu"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "diagnose needs a model"),
        (("digits/rleu",), "did you mean"),
        (("digits/relu", "--n", "0"), "--n must be at least 1, got 0"),
        (("digits/relu", "--n", "1001"), "larger than digits's test set"),
        (("digits/relu", "--dataset", "digit"), "did you mean 'digits'"),
        (("digits/relu", "--protocol", "standrad"), "did you mean 'standard'"),
        (("--model", "absent.py:build", "--dataset", "digits"), "there is no file 'absent.py'"),
        (("--model", "absent.py:build"), "--model needs one --dataset"),
    ],
)
def test_bad_input_is_one_sentence(command: Command, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    code, _, err = command("diagnose", *words, "--out", tmp_path / "out")
    assert code == 2
    assert reason in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_what_a_model_is_called_and_what_it_raises_is_text() -> None:
    found = make_diagnosis("a\x1b[2J\nb", {18: "fail"}, reason="the attack raised ValueError: \x1b]0;title\x07")
    text = render(found)
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert text.startswith("digits/a\\x1b[2J b · protocol standard v1")


def test_of_several_models_those_that_can_are_diagnosed(command: Command, tmp_path: Path, own: Path) -> None:
    words = ("--model", f"{own}:broken", "--dataset", "digits", "--n", "8", "--out", tmp_path)
    code, _, err = command("diagnose", *words)
    assert code == 2
    assert "the model raised RuntimeError" in err
    code, said, err = command("diagnose", "digits/relu", *words)
    assert code == 0
    assert "not diagnosed: digits/mine.own.broken: the model raised RuntimeError" in err
    assert said.count("checks detected no failure") == 1
