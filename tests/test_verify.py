"""Verifying: an honest folder passes, and whatever was changed in it is told with the cell and the cause."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Command, put
from handmade import make_cell, make_certificate, make_diagnosis
from kept_runs import ATTACKS, MODEL, finding, path_of, request, statuses
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.certify.record import write_certificate
from robustboard.benchmark.diagnose.record import file_of, write_diagnosis, write_diagnosis_schema
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.results import read_cell, write_cell
from robustboard.benchmark.run import run
from robustboard.benchmark.subjects import user_subject
from robustboard.benchmark.verify.run import VerifyRequest, verify
from robustboard.models import registry
from tamperings import TAMPERINGS, Tampering, counted_again, drop_the_block, flip_a_bit, hide, outcome, wrong_from_the_start


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


def test_an_honest_folder_passes(honest: Path, command: Command) -> None:
    answer = command("verify", honest)
    assert answer.code == 0, answer.out
    assert "5 cells: 5 pass" in answer.out
    assert "FAIL" not in answer.out
    report = verify(VerifyRequest(honest))
    assert report.is_whole
    for attack in ATTACKS:
        cell, found = read_cell(path_of(honest, attack)), finding(report, attack)
        assert found.status == "pass"
        assert found.shown == pytest.approx(cell.outcome.robust_accuracy, abs=1e-12)
        assert found.judged == sum(cell.per_example.found)
    assert "manifest" in answer.out
    assert "schema" in answer.out


def test_some_are_kept_in_half_precision_and_some_survive(honest: Path) -> None:
    # Else the tests below say little.
    cell = read_cell(path_of(honest, "fgsm"))
    assert cell.candidates is not None
    assert cell.candidates.n_float16 > 5
    assert 0 < cell.outcome.robust_accuracy < cell.outcome.clean_accuracy < 1


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_what_was_changed_is_told_with_its_cell_and_its_cause(folder: Path, tampering: Tampering) -> None:
    path = path_of(folder, tampering.attack)
    write_cell(tampering.change(read_cell(path), path), path)
    report = verify(VerifyRequest(folder))
    assert report.failed
    found = finding(report, tampering.attack)
    assert found.status == "FAIL"
    assert any(re.search(tampering.said, cause) for cause in found.causes), found.causes
    others = {name: status for name, status in statuses(report).items() if name not in (tampering.attack, "worst_case")}
    assert set(others.values()) == {"pass"}


def test_a_failure_ends_in_1_and_a_sentence_that_names_the_cell_and_the_cause(folder: Path, command: Command) -> None:
    path = path_of(folder, "fgsm")
    write_cell(hide(read_cell(path), path), path)
    answer = command("verify", folder)
    assert answer.code == 1
    (line,) = (line for line in answer.out.splitlines() if line.startswith(f"FAIL kept/{MODEL}/fgsm"))
    assert re.search(r"example \d+: a candidate is kept, but no adversarial example is recorded\.$", line)
    assert "5 cells: 4 pass, 1 FAIL" in answer.out


@pytest.mark.parametrize("attack", ["fgsm", "worst_case"])
def test_a_cell_that_is_cut_short_fails(folder: Path, attack: str, command: Command) -> None:
    path = path_of(folder, attack)
    path.write_bytes(path.read_bytes()[:-50])
    answer = command("verify", folder)
    assert answer.code == 1
    assert re.search(rf"FAIL kept/{MODEL}/{attack}\.json: .* is no result of this program: ", answer.out)


def test_candidates_that_no_cell_names_fail(folder: Path) -> None:
    path = path_of(folder, "fgsm")
    write_cell(drop_the_block(read_cell(path), path), path)
    report = verify(VerifyRequest(folder))
    (found,) = (found for found in report.findings if found.status == "FAIL")
    assert found.name == f"kept/{MODEL}/fgsm.candidates.safetensors"
    assert finding(report, "fgsm").status == "attack not verified"


def test_a_worst_case_fails_with_the_cell_that_it_took_examples_over_from(folder: Path) -> None:
    flip_a_bit(read_cell(path_of(folder, "fgsm")), path_of(folder, "fgsm"))
    found = finding(verify(VerifyRequest(folder)), "worst_case")
    assert found.status == "FAIL"
    assert any("what it took over from fgsm cannot be judged: fgsm.candidates" in cause for cause in found.causes)


def test_a_worst_case_whose_fellows_keep_nothing_passes_in_part_and_shows_less(tmp_path: Path, command: Command) -> None:
    run(request(tmp_path, keep=False, attacks=["fgsm"]))
    run(request(tmp_path, attacks=["worst_case"]))
    report = verify(VerifyRequest(tmp_path))
    found = finding(report, "worst_case")
    assert statuses(report) == {"fgsm": "attack not verified", "worst_case": "pass in part"}
    assert found.recorded is not None
    assert found.shown is not None
    assert found.shown > found.recorded
    missing = sum(read_cell(path_of(tmp_path, "fgsm")).per_example.fooled)
    assert any(f"{missing} of its fooled examples were taken over from cells that keep no" in remark for remark in found.remarks)
    assert command("verify", tmp_path).code == 0
    assert command("verify", "--strict", tmp_path).code == 1


def test_without_candidates_it_is_said_what_was_checked_and_what_was_not(tmp_path: Path, command: Command) -> None:
    run(request(tmp_path, keep=False, attacks=["fgsm"]))
    answer = command("verify", tmp_path)
    assert answer.code == 0
    assert "the attack itself was not verified; it agrees with itself, its identity, its weights and" in answer.out
    assert "1 cell: 1 attack not verified" in answer.out
    assert command("verify", "--strict", tmp_path).code == 1
    path = path_of(tmp_path, "fgsm")
    for change in (wrong_from_the_start, outcome(robust_accuracy=0.9)):
        cell = read_cell(path)
        write_cell(change(cell, path), path)
        assert finding(verify(VerifyRequest(tmp_path)), "fgsm").status == "FAIL"
        write_cell(cell, path)


def test_weights_that_were_swapped_in_the_registry_are_seen(honest: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for part in ("registry", "checkpoints"):
        (home / part).mkdir(parents=True)
    card, other = registry.read_cards()[MODEL], registry.read_cards()["digits/relu"]
    registry.write_card(card, home)
    shutil.copy(registry.HOME / "checkpoints" / other.checkpoint, home / "checkpoints" / card.checkpoint)
    report = verify(VerifyRequest(honest, registry=home))
    assert all("its entry says" in finding(report, attack).causes[0] for attack in ATTACKS)
    # With the entry changed along, the cells still know what they were computed on.
    registry.write_card(replace(card, sha256=other.sha256), home)
    report = verify(VerifyRequest(honest, registry=home))
    assert all("it was computed on other weights" in finding(report, attack).causes[0] for attack in ATTACKS)


@pytest.mark.usefixtures("tidy")
def test_a_model_of_the_users_own_is_verified_when_it_is_named(tmp_path: Path, command: Command) -> None:
    text = "import robustboard\n\n\ndef build():\n    return robustboard.load_model('digits/relog')\n"
    reference = f"{put(tmp_path / 'mine.py', text)}:build"
    run(replace(request(tmp_path / "out", attacks=["fgsm"]), subjects=[user_subject(reference, "digits", "softmax")]))
    answer = command("verify", tmp_path / "out")
    assert answer.code == 2
    assert "1 cell: 1 not verified" in answer.out
    assert "name it with --model" in answer.out
    assert answer.err.startswith("error: not a single cell could be verified: name the models with --model")
    assert "1 cell: 1 pass" in command("verify", tmp_path / "out", "--model", reference).out
    put(tmp_path / "mine.py", f"{text}# changed\n")
    answer = command("verify", tmp_path / "out", "--model", reference)
    assert answer.code == 1
    assert "it was computed on other source" in answer.out


def test_where_the_data_is_not_it_says_so(tmp_path: Path, command: Command) -> None:
    card = registry.read_cards()["mnist/relu"]
    cell = counted_again(make_cell("relu", dataset="mnist", weights=card.sha256))
    write_cell(replace(cell, identity=recorded_identity(cell)), tmp_path / "mnist" / "relu" / "bim.json")
    (tmp_path / "empty").mkdir()
    answer = command("verify", tmp_path, "--data", tmp_path / "empty")
    assert answer.code == 2
    assert "not a single cell could be verified" in answer.err
    assert "MNIST is not here: --data FOLDER names where it is" in answer.out
    assert "1 cell: 1 not verified" in answer.out


def test_one_verified_cell_among_others_is_not_nothing(folder: Path, command: Command) -> None:
    cell = counted_again(make_cell("mine.build"))
    elsewhere = replace(cell, model=replace(cell.model, source="mine.py:build (sha256 0)"))
    write_cell(replace(elsewhere, identity=recorded_identity(elsewhere)), folder / "digits" / "mine.build" / "bim.json")
    answer = command("verify", folder)
    assert "6 cells: 5 pass, 1 not verified" in answer.out
    assert answer.code == 0
    assert command("verify", folder, "--strict").code == 1


def test_certificates_are_named_as_what_they_are(folder: Path, command: Command) -> None:
    path = folder / "kept" / MODEL / "crown.json"
    write_certificate(make_certificate("relog"), path)
    answer = command("verify", folder)
    assert answer.code == 0
    assert f"1 certificate file (kept/{MODEL}/crown.json): a proof" in answer.out
    path.write_text("{", encoding="utf-8")
    answer = command("verify", folder)
    assert answer.code == 1
    assert "is no certificate of this program" in answer.out


def test_diagnoses_are_named_as_what_they_are(folder: Path, command: Command) -> None:
    path = file_of(folder / "kept", *MODEL.split("/"))
    write_diagnosis(make_diagnosis("relog"), path)
    write_diagnosis_schema(folder / "kept")
    answer = command("verify", folder)
    assert answer.code == 0, answer.out
    assert f"1 diagnosis file (kept/{MODEL}/diagnosis.json): what the 23 checks found" in answer.out
    assert "5 cells: 5 pass" in answer.out
    path.write_text("{", encoding="utf-8")
    answer = command("verify", folder)
    assert answer.code == 1
    assert "is no diagnosis of this program" in answer.out


@pytest.mark.parametrize(
    "name", ["\x1b[31m\x1b]0;title\x07", "a\nFAIL b", "<script>alert(1)</script>", "*", "[", "x" * 200, "../.."]
)
def test_a_hostile_model_name_is_text(name: str, tmp_path: Path, command: Command) -> None:
    cell = make_cell(name)
    write_cell(replace(cell, identity=recorded_identity(cell)), tmp_path / "digits" / "hostile" / "bim.json")
    answer = command("verify", tmp_path)
    assert answer.code == 1
    assert all(sign.isprintable() or sign == "\n" for sign in answer.out)
    assert sum(line.startswith("FAIL") for line in answer.out.splitlines()) == sum(
        len(found.causes) for found in verify(VerifyRequest(tmp_path)).findings
    )
    assert "the registry has no model digits/" in answer.out


def test_an_empty_or_absent_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        verify(VerifyRequest(tmp_path / "absent"))
    with pytest.raises(InputError, match="there is nothing to verify in"):
        verify(VerifyRequest(tmp_path))
