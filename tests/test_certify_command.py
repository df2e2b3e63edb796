"""`robustboard certify`: what it writes, what it keeps, what it refuses, and what its numbers mean beside an attack's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from conftest import Command, put
from robustboard.benchmark import protocols
from robustboard.benchmark.certify import methods, record, run
from robustboard.benchmark.certify.methods import ExampleAnswer
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.results import CERTIFICATE_SCHEMA_FILE, read_folder

SMALL = ("--n", "12", "--eps", "0.02")
FOLDER = "standard@12@eps-0.02"

OWN = """
import torch
from torch import nn

def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def curved():
    return nn.Sequential(linear(), nn.Tanh())
"""


def certificate(out: Path, model: str = "relu-fast_at", method: record.MethodName = "crown") -> record.CertifiedResult:
    return record.read_certificate(record.file_of(out / FOLDER, "digits", model, method))


def test_a_certificate_and_an_attack_stand_in_one_row(command: Command, tmp_path: Path) -> None:
    code, said, progress = command("certify", "digits/relu-fast_at", *SMALL, "--out", tmp_path)
    assert code == 0
    result = certificate(tmp_path)
    assert f"12/12 examples done, {result.outcome.certified_accuracy:.1%} of them proved robust" in progress
    assert f"digits/relu-fast_at: robust accuracy ≥ {result.outcome.certified_accuracy:.1%}" in said
    assert result.outcome.certified_accuracy > 0.5
    assert (result.method.eps, result.method.radius) == (0.02, 0.02 + 1e-6)
    assert 0 < result.outcome.rounding < 1
    assert result.dataset.fingerprint == load_dataset("digits", "test").select(range(12)).fingerprint()
    words = ("--dataset", "digits", "--models", "relu-fast_at", "--attacks", "bim", "--device", "cpu", "--quiet")
    code, said, _ = command("run", *words, *SMALL, "--out", tmp_path)
    assert code == 0
    assert "certified" in said
    assert "contradiction" not in said
    (cell,), _ = read_folder(tmp_path)
    assert cell.outcome.robust_accuracy >= result.outcome.certified_accuracy
    schema = json.loads((tmp_path / FOLDER / CERTIFICATE_SCHEMA_FILE).read_text(encoding="utf-8"))
    for name, block in {"CertifiedResult": schema, **schema["$defs"]}.items():
        kind = getattr(record, name)
        assert is_dataclass(kind)
        assert set(block["properties"]) == {field.name for field in fields(kind)}
        assert all(content.get("description", "").endswith(".") for content in block["properties"].values())


def test_what_is_proved_is_not_proved_again_and_other_questions_are(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("certify", "digits/relu", "--method", "interval", *SMALL, "--out", tmp_path)
    assert command(*words)[0] == 0
    first = certificate(tmp_path, "relu", "interval")
    monkeypatch.setattr(run, "answers", lambda *anything: pytest.fail("it was computed again"))
    assert command(*words)[0] == 0
    today = protocols.load_protocol("standard")
    monkeypatch.setattr(protocols, "load_protocol", lambda name: replace(today, version=today.version + 1))
    assert command(*words)[0] == 0
    monkeypatch.undo()
    monkeypatch.setattr(methods, "VERSIONS", {**methods.VERSIONS, "interval": methods.VERSIONS["interval"] + 1})
    assert command(*words)[0] == 0
    again = certificate(tmp_path, "relu", "interval")
    assert again.identity != first.identity
    assert again.per_example.verdict == first.per_example.verdict


def test_again_proves_what_is_proved_there_and_says_what_it_said_otherwise(command: Command, tmp_path: Path) -> None:
    words = ("certify", "digits/relu-fast_at", "--method", "interval", *SMALL, "--out", tmp_path)
    assert command(*words)[0] == 0
    honest = certificate(tmp_path, method="interval")
    verdicts = list(honest.per_example.verdict)
    verdicts[verdicts.index("undecided")] = "robust"
    outcome = replace(honest.outcome, certified_accuracy=honest.outcome.certified_accuracy + 1 / 12)
    forged = replace(honest, per_example=replace(honest.per_example, verdict=verdicts), outcome=outcome)
    record.write_certificate(forged, record.file_of(tmp_path / FOLDER, "digits", "relu-fast_at", "interval"))
    assert command(*words)[0] == 0
    assert certificate(tmp_path, method="interval").per_example.verdict == verdicts, "what is there is kept"
    answer = command(*words, "--again")
    assert certificate(tmp_path, method="interval").per_example.verdict == honest.per_example.verdict
    assert "digits/relu-fast_at: the certificate that was there said otherwise of 1 examples" in " ".join(answer.err.split())
    assert "said otherwise" not in command(*words, "--again").err


class Kill(BaseException):
    """The process ends here."""


def test_a_killed_call_goes_on_where_it_stopped(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("certify", "digits/relu-fast_at", "--method", "interval", *SMALL, "--out", tmp_path)
    assert command(*words)[0] == 0
    path = record.file_of(tmp_path / FOLDER, "digits", "relu-fast_at", "interval")
    whole = record.read_certificate(path)
    path.unlink()
    asked: list[int] = []

    def cut(*arguments: object) -> Iterator[ExampleAnswer]:
        for answer in methods.answers(*arguments):  # type: ignore[arg-type]
            if len(asked) == 5:
                raise Kill
            asked.append(answer.index)
            yield answer

    monkeypatch.setattr(run, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(run, "answers", cut)
    with pytest.raises(Kill):
        command(*words)
    assert not path.exists()
    missing: list[int] = []

    def rest(task: methods.Task, method: record.MethodName, positions: list[int], limit: float) -> Iterator[ExampleAnswer]:
        missing.extend(positions)
        yield from methods.answers(task, method, positions, limit)

    monkeypatch.setattr(run, "answers", rest)
    code, _, progress = command(*words)
    assert code == 0
    assert f"12/12 examples done, {whole.outcome.certified_accuracy:.1%} of them proved robust" in progress
    assert set(missing) == set(range(12)) - set(asked)
    assert record.read_certificate(path).per_example.verdict == whole.per_example.verdict
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_an_own_linear_model_is_decided_by_its_bounds(command: Command, tmp_path: Path) -> None:
    own = put(tmp_path / "mine" / "own.py", OWN)
    code, said, _ = command("certify", f"{own}:linear", "--dataset", "digits", *SMALL, "--out", tmp_path)
    assert code == 0
    assert "digits/mine.own.linear: robust accuracy ≥" in said
    result = certificate(tmp_path, "mine.own.linear")
    assert set(result.per_example.means) <= {"clean", "crown"}


def test_an_exact_answer_lies_beside_the_bounds(command: Command, tmp_path: Path) -> None:
    reference = f"{put(tmp_path / 'mine' / 'own.py', OWN)}:linear"
    for method in ("crown", "exact"):
        code, said, _ = command("certify", reference, "--dataset", "digits", "--method", method, *SMALL, "--out", tmp_path)
        assert code == 0
    exact, crown = (certificate(tmp_path, "mine.own.linear", method) for method in ("exact", "crown"))
    assert exact.is_exact
    assert "robust accuracy = " in said
    # For a linear model the bounds are exact.
    assert exact.robust == crown.robust


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("digits/relog",), "no bound is known for log1p (in ReLog): a certificate needs a chain of Linear"),
        (("digits/relog", "digits/relog-maxout_4-sigmoid_out"), "none of the 2 models can be certified"),
        (("digits/relu", "--method", "exact"), "the exact method knows affine layers and ReLU, not MaxPool: use --method crown"),
        (("digits/rleu",), "did you mean"),
        (("digits/relu", "--eps", "2"), "--eps is an L∞ radius in [0, 1], got 2"),
        (("digits/relu", "--n", "0"), "--n must be at least 1, got 0"),
        (("digits/relu", "--n", "1001"), "larger than digits's test set"),
        (("digits/relu", "--time-limit", "0"), "--time-limit must be above 0 seconds, got 0"),
        (("digits/relu", "--dataset", "digit"), "did you mean 'digits'"),
        (("digits/relu", "--method", "magic"), "magic"),
        ((), "MODELS"),
    ],
)
def test_bad_input_is_one_sentence(command: Command, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    code, _, err = command("certify", *words, "--out", tmp_path / "out")
    assert code == 2
    assert reason in err
    assert "Traceback" not in err


def test_of_several_models_those_that_can_are_certified(command: Command, tmp_path: Path) -> None:
    code, said, err = command("certify", "digits/rel*", "--method", "interval", *SMALL, "--out", tmp_path)
    assert code == 0
    assert "digits/relu:" in said
    assert "not certified: digits/relog: no bound is known for log1p (in ReLog)" in err
