"""Verifying: an honest folder passes, and whatever was changed in it is told with the cell and the cause."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conftest import Command, put
from handmade import make_cell, make_certificate, make_diagnosis
from robustboard.benchmark.candidates import candidates_path
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.certify.record import write_certificate
from robustboard.benchmark.diagnose.record import file_of, write_diagnosis, write_diagnosis_schema
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.results import read_cell, write_cell
from robustboard.benchmark.run import Request, run
from robustboard.benchmark.statistics import wilson
from robustboard.benchmark.subjects import registry_subjects, user_subject
from robustboard.benchmark.verify.findings import Finding, Report
from robustboard.benchmark.verify.run import VerifyRequest, verify
from robustboard.models import registry

PROTOCOL = """
name = "told"
version = 1
title = "told"
seed = 3
attacks = ["fgsm", "ddn", "jsma", "max_confidence", "worst_case"]

[cascades]
worst_case = ["pgd"]

[datasets.digits]
n = 60
linf = 0.2
l2 = 1.0
gamma = 0.145

[datasets.digits.attacks]
ddn = { steps = 10 }
pgd = { steps = 8, step = 0.25 }
max_confidence = { steps = 2, step = 1.0 }
"""
MODEL = "digits/relog"
ATTACKS = ("ddn", "fgsm", "jsma", "max_confidence", "worst_case")


def request(out: Path, *, keep: bool = True, attacks: list[str] | None = None) -> Request:
    """A run of the protocol on a digits model of the registry."""
    protocol = load_protocol(str(put(out / "told.toml", PROTOCOL)))
    subjects = registry_subjects([MODEL], ["digits"])
    return Request(protocol, ["digits"], subjects, attacks, out, device="cpu", quiet=True, keep_adversarials=keep)


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


def path_of(folder: Path, attack: str) -> Path:
    return folder / "told" / MODEL / f"{attack}.json"


def finding(report: Report, attack: str) -> Finding:
    return next(found for found in report.findings if found.name == f"told/{MODEL}/{attack}")


def statuses(report: Report) -> dict[str, str]:
    return {Path(found.name).name: found.status for found in report.findings}


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


# What is changed below is changed with care: where a field follows from another, it is changed along.


def resealed(cell: CellResult, path: Path) -> CellResult:
    """The cell with the identity, and the hash of the candidates, that it should have."""
    digest = registry.file_sha256(candidates_path(path))
    assert cell.candidates is not None
    cell = replace(cell, candidates=replace(cell.candidates, sha256=digest))
    return replace(cell, identity=recorded_identity(cell))


def change_file(change: Callable[[dict[str, Tensor]], object]) -> Callable[[CellResult, Path], CellResult]:
    """Other tensors in the candidates' file, and their hash in the cell."""

    def apply(cell: CellResult, path: Path) -> CellResult:
        tensors = load_file(candidates_path(path))
        change(tensors)
        save_file(tensors, candidates_path(path))
        return resealed(cell, path)

    return apply


def counted_again(cell: CellResult) -> CellResult:
    """The cell with the outcome that its verdicts come to."""
    rows, n = cell.per_example, cell.outcome.n
    robust = sum(bool(right) and not fooled for right, fooled in zip(rows.correct_clean, rows.fooled, strict=True))
    sure = [c for f, c in zip(rows.fooled, rows.confidence, strict=True) if f and c is not None]
    outcome = replace(
        cell.outcome,
        clean_accuracy=sum(rows.correct_clean) / n,
        robust_accuracy=robust / n,
        robust_accuracy_ci95=wilson(robust, n),
        n_fooled=sum(rows.fooled),
        unfooled=(sum(rows.correct_clean) - sum(rows.found)) / n,
        fooled_after_rounding=0,
        confidence_on_fooled=round(sum(sure) / len(sure), 4),
    )
    distances = sorted(d for f, d in zip(rows.found, rows.distance, strict=True) if f and d is not None)
    quantiles = {f"p{q}": float(torch.tensor(distances).double().quantile(q / 100)) for q in (10, 25, 50, 75, 90)}
    return replace(cell, outcome=replace(outcome, distance_quantiles=quantiles))


def with_rows(cell: CellResult, at: int, **values: Any) -> CellResult:
    """The cell with other values for its example at `at`, and the outcome to match."""
    rows = {name: list(getattr(cell.per_example, name)) for name in values}
    for name, value in values.items():
        rows[name][at] = value
    return counted_again(replace(cell, per_example=replace(cell.per_example, **rows)))


def first(cell: CellResult, *, found: bool) -> int:
    """The first example right clean for which something was found, or was not."""
    rows = zip(cell.per_example.correct_clean, cell.per_example.found, strict=True)
    return next(at for at, (right, there) in enumerate(rows) if right and bool(there) == found)


def hide(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), fooled=0, found=0, distance=None, confidence=None)


def invent(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), fooled=1, found=1, distance=0.2, confidence=0.6)


def other_confidence(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), confidence=0.1)


def other_distance(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), distance=0.1)


def distance_of_nothing(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), distance=0.05)


def wrong_from_the_start(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), correct_clean=0, distance=0.0)


def outcome(**values: Any) -> Callable[[CellResult, Path], CellResult]:
    return lambda cell, path: replace(cell, outcome=replace(cell.outcome, **values))


def model(**values: Any) -> Callable[[CellResult, Path], CellResult]:
    return lambda cell, path: resealed(replace(cell, model=replace(cell.model, **values)), path)


def other_examples(cell: CellResult, path: Path) -> CellResult:
    return resealed(replace(cell, dataset=replace(cell.dataset, fingerprint="0" * 64)), path)


def beyond_the_split(cell: CellResult, path: Path) -> CellResult:
    indices = [index + 990 for index in cell.dataset.indices]
    rows = replace(cell.per_example, index=indices)
    return resealed(replace(cell, dataset=replace(cell.dataset, indices=indices), per_example=rows), path)


def truncate(cell: CellResult, path: Path) -> CellResult:
    kept = candidates_path(path)
    kept.write_bytes(kept.read_bytes()[:-100])
    return cell


def truncate_and_seal(cell: CellResult, path: Path) -> CellResult:
    return resealed(truncate(cell, path), path)


def flip_a_bit(cell: CellResult, path: Path) -> CellResult:
    kept = candidates_path(path)
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    return cell


def lose(cell: CellResult, path: Path) -> CellResult:
    candidates_path(path).unlink()
    return cell


def name_another(cell: CellResult, path: Path) -> CellResult:
    assert cell.candidates is not None
    return replace(cell, candidates=replace(cell.candidates, file="../../../secret.safetensors"))


def drop_the_block(cell: CellResult, path: Path) -> CellResult:
    return replace(cell, candidates=None)


def a_corner(tensors: dict[str, Tensor]) -> None:
    tensors["halves"][..., 0, 0] = 0.3  # where every digit is black


def twice(tensors: dict[str, Tensor]) -> None:
    tensors["half_indices"][1] = tensors["half_indices"][0]


def without_the_last(tensors: dict[str, Tensor]) -> None:
    tensors["halves"], tensors["half_indices"] = tensors["halves"][:-1].clone(), tensors["half_indices"][:-1].clone()


def smaller_images(tensors: dict[str, Tensor]) -> None:
    for name in ("halves", "wholes"):
        tensors[name] = tensors[name][..., 1:].contiguous()


@dataclass(frozen=True)
class Tampering:
    """A change of one cell or its candidates, and what must be said of it."""

    change: Callable[[CellResult, Path], CellResult]
    said: str
    attack: str = "fgsm"


TAMPERINGS = {
    "a bit of a change": Tampering(flip_a_bit, "has sha256 .*it is another file"),
    "a change of nothing, hash and all": Tampering(
        change_file(lambda tensors: tensors["halves"].zero_()), "the model classifies its candidate right"
    ),
    "over budget": Tampering(change_file(a_corner), "the candidate is over budget"),
    "too many features": Tampering(
        change_file(lambda tensors: tensors["halves"].add_(0.001).clamp_(min=0)), "the candidate is o(ver budget|utside)", "jsma"
    ),
    "out of the box": Tampering(change_file(lambda tensors: tensors["halves"].sub_(2)), "the candidate is outside the box"),
    "not a number": Tampering(change_file(lambda tensors: tensors["halves"].fill_(float("nan"))), "the candidate is not finite"),
    "farther than recorded": Tampering(
        change_file(lambda tensors: tensors["halves"].mul_(1.25)), "its distance is recorded as", "ddn"
    ),
    "a verdict hidden": Tampering(hide, "a candidate is kept, but no adversarial example is recorded"),
    "a verdict invented": Tampering(invent, "an adversarial example is recorded, but no candidate is kept"),
    "a verdict alone": Tampering(
        lambda cell, path: replace(cell, per_example=replace(cell.per_example, fooled=[0] * len(cell.per_example.fooled))),
        "something was found, and yet it is not fooled at distance",
    ),
    "a confidence": Tampering(other_confidence, "its confidence is recorded as 0.1, but its candidate's is"),
    "a distance": Tampering(other_distance, "its distance is recorded as 0.1, but its candidate's is"),
    "a distance of nothing": Tampering(distance_of_nothing, "nothing was found, and yet it has a distance or a confidence"),
    "a clean verdict": Tampering(wrong_from_the_start, "it is recorded as wrong clean, but the model classifies it right"),
    "the accuracy": Tampering(outcome(robust_accuracy=0.9), r"its robust_accuracy is 0\.9000, but its examples come to"),
    "the clean accuracy": Tampering(outcome(clean_accuracy=1.0), r"its clean_accuracy is 1\.0000, but its examples come to"),
    "the interval": Tampering(outcome(robust_accuracy_ci95=(0.0, 1.0)), "its robust_accuracy_ci95 is"),
    "the curve": Tampering(
        lambda cell, path: replace(
            cell, outcome=replace(cell.outcome, robust_accuracy_at=[(e, 1.0) for e, _ in cell.outcome.robust_accuracy_at])
        ),
        r"its robust accuracy at 0\.\d+ is 1\.0000, but its distances come to",
        "ddn",
    ),
    "what rounding leaves": Tampering(
        outcome(fooled_after_rounding=0), "it says that 0 of its examples stay fooled after rounding"
    ),
    "the quantiles": Tampering(outcome(distance_quantiles={}), "its distance_quantiles are not those of its distances"),
    "weights, identity and all": Tampering(model(weights_sha256="0" * 64), "it was computed on other weights \\(0000"),
    "weights alone": Tampering(
        lambda cell, path: replace(cell, model=replace(cell.model, weights_sha256="0" * 64)), "its identity is not the hash of"
    ),
    "another model of the registry": Tampering(model(name="relu"), "it was computed on other weights"),
    "no model of the registry": Tampering(model(name="nowhere"), "the registry has no model digits/nowhere"),
    "the parameters": Tampering(model(parameters=1), "it says that the model has 1 parameters"),
    "the registry's accuracy": Tampering(
        model(expected_clean_accuracy=None), "it says that the registry's clean accuracy is None"
    ),
    "the kind of output": Tampering(model(output="probabilities"), "it says that the model returns probabilities"),
    "ε": Tampering(
        lambda cell, path: resealed(replace(cell, attack=replace(cell.attack, eps=0.1)), path),
        r"it is fooled over budget at distance 0\.2 for ε = 0\.1",
    ),
    "the steps": Tampering(
        lambda cell, path: replace(cell, attack=replace(cell.attack, params={"steps": 1000})), "its identity is not the hash of"
    ),
    "the examples": Tampering(other_examples, "its examples are not those of the data here"),
    "examples that there are not": Tampering(beyond_the_split, "its examples are not those of the data here"),
    "cut short": Tampering(truncate, "has sha256"),
    "cut short, hash and all": Tampering(truncate_and_seal, "is no safetensors file"),
    "gone": Tampering(lose, "its candidates cannot be read from fgsm.candidates.safetensors: No such file"),
    "elsewhere": Tampering(name_another, "which would lie in fgsm.candidates.safetensors"),
    "one example twice": Tampering(change_file(twice), "holds two candidates for one example"),
    "one too few": Tampering(change_file(without_the_last), "candidates, .* of them in half precision, but the cell says"),
    "other tensors": Tampering(change_file(lambda tensors: tensors.pop("wholes")), "does not hold halves"),
    "another precision": Tampering(
        change_file(lambda tensors: tensors.update(halves=tensors["halves"].float())), "does not hold halves"
    ),
    "smaller images": Tampering(
        change_file(smaller_images), r"its candidates have the shape \(1, 8, 7\), the images \(1, 8, 8\)"
    ),
}


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
    (line,) = (line for line in answer.out.splitlines() if line.startswith(f"FAIL told/{MODEL}/fgsm"))
    assert re.search(r"example \d+: a candidate is kept, but no adversarial example is recorded\.$", line)
    assert "5 cells: 4 pass, 1 FAIL" in answer.out


@pytest.mark.parametrize("attack", ["fgsm", "worst_case"])
def test_a_cell_that_is_cut_short_fails(folder: Path, attack: str, command: Command) -> None:
    path = path_of(folder, attack)
    path.write_bytes(path.read_bytes()[:-50])
    answer = command("verify", folder)
    assert answer.code == 1
    assert re.search(rf"FAIL told/{MODEL}/{attack}\.json: .* is no result of this program: ", answer.out)


def test_candidates_that_no_cell_names_fail(folder: Path) -> None:
    path = path_of(folder, "fgsm")
    write_cell(drop_the_block(read_cell(path), path), path)
    report = verify(VerifyRequest(folder))
    (found,) = (found for found in report.findings if found.status == "FAIL")
    assert found.name == f"told/{MODEL}/fgsm.candidates.safetensors"
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
    assert answer.code == 0
    assert "not verified" in answer.out
    assert "name it with --model" in answer.out
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
    assert answer.code == 0
    assert "MNIST is not here: --data FOLDER names where it is" in answer.out
    assert "1 cell: 1 not verified" in answer.out


def test_certificates_are_named_as_what_they_are(folder: Path, command: Command) -> None:
    path = folder / "told" / MODEL / "crown.json"
    write_certificate(make_certificate("relog"), path)
    answer = command("verify", folder)
    assert answer.code == 0
    assert f"1 certificate file (told/{MODEL}/crown.json): a proof" in answer.out
    path.write_text("{", encoding="utf-8")
    answer = command("verify", folder)
    assert answer.code == 1
    assert "is no certificate of this program" in answer.out


def test_diagnoses_are_named_as_what_they_are(folder: Path, command: Command) -> None:
    path = file_of(folder / "told", *MODEL.split("/"))
    write_diagnosis(make_diagnosis("relog"), path)
    write_diagnosis_schema(folder / "told")
    answer = command("verify", folder)
    assert answer.code == 0, answer.out
    assert f"1 diagnosis file (told/{MODEL}/diagnosis.json): what the 23 checks found" in answer.out
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
