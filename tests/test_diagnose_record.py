"""The file of a diagnosis: what is written is read again, what is damaged is refused, and nobody takes it for a cell."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handmade import make_cell, make_certificate, make_diagnosis
from robustboard.benchmark.certify.record import file_of as certificate_file
from robustboard.benchmark.certify.record import read_certificates, write_certificate
from robustboard.benchmark.diagnose import record
from robustboard.benchmark.diagnose.record import Diagnosis, file_of, read_diagnoses, read_diagnosis, write_diagnosis
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.results import DIAGNOSIS_FILE, read_folder, write_cell

VERDICTS = st.dictionaries(st.integers(1, record.CHECKS), st.sampled_from(get_args(record.Verdict)))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("diagnoses")


@given(model=st.text(min_size=1, max_size=200), reason=st.text(max_size=200), verdicts=VERDICTS)
def test_what_is_written_is_read_again(scratch: Path, model: str, reason: str, verdicts: dict[int, record.Verdict]) -> None:
    diagnosis = make_diagnosis(model.encode(errors="ignore").decode(), verdicts, reason=reason.encode(errors="ignore").decode())
    write_diagnosis(diagnosis, scratch / DIAGNOSIS_FILE)
    assert read_diagnosis(scratch / DIAGNOSIS_FILE) == diagnosis
    assert {finding.number for finding in diagnosis.flags} == {
        n for n, verdict in verdicts.items() if verdict in ("warn", "fail", "not made")
    }


def test_every_finding_has_a_line_of_its_own(tmp_path: Path) -> None:
    write_diagnosis(make_diagnosis(verdicts={7: "fail"}), tmp_path / DIAGNOSIS_FILE)
    lines = (tmp_path / DIAGNOSIS_FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line.rstrip(","))["number"] for line in lines if '"number"' in line] == list(range(1, 24))


def test_a_diagnosis_is_neither_a_cell_nor_a_certificate(tmp_path: Path) -> None:
    write_cell(make_cell(), tmp_path / "digits" / "relu" / "bim.json")
    write_certificate(make_certificate(), certificate_file(tmp_path, "digits", "relu", "crown"))
    write_diagnosis(make_diagnosis(), file_of(tmp_path, "digits", "relu"))
    record.write_diagnosis_schema(tmp_path)
    cells, troubles = read_folder(tmp_path)
    assert ([cell.attack.name for cell in cells], troubles) == (["bim"], [])
    assert read_certificates(tmp_path) == ([make_certificate()], [])
    assert read_diagnoses(tmp_path) == ([make_diagnosis()], [])


def test_every_field_says_in_the_schema_what_it_is(tmp_path: Path) -> None:
    record.write_diagnosis_schema(tmp_path)
    schema = json.loads((tmp_path / "diagnosis.schema.json").read_text(encoding="utf-8"))
    for name, block in {"Diagnosis": schema, **schema["$defs"]}.items():
        kind = getattr(record, name)
        assert is_dataclass(kind)
        assert set(block["properties"]) == {field.name for field in fields(kind)}
        assert all(content.get("description", "").endswith(".") for content in block["properties"].values())


def damaged(text: str) -> list[str]:
    """The file's text with something wrong in it."""
    pairs = [
        ('"number": 3,', '"number": 4,'),
        ('"number": 23,', '"number": 24,'),
        ('"verdict": "fail"', '"verdict": "robust"'),
        ('"n": 20', '"n": 21'),
        ("robustboard/diagnosis/1", "robustboard/diagnosis/2"),
        ('"weights_sha256": ', '"weights": '),
        ("{", "["),
    ]
    return [text.replace(old, new, 1) for old, new in pairs]


@pytest.mark.parametrize("which", range(7))
def test_a_damaged_diagnosis_is_refused_by_name_in_one_line(tmp_path: Path, which: int) -> None:
    path = tmp_path / DIAGNOSIS_FILE
    write_diagnosis(make_diagnosis(verdicts={7: "fail"}), path)
    text = path.read_text(encoding="utf-8")
    path.write_text(damaged(text)[which], encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    with pytest.raises(InputError, match=r"diagnosis\.json is no diagnosis of this program: ") as trouble:
        read_diagnosis(path)
    assert "\n" not in str(trouble.value)
    found, troubles = read_diagnoses(tmp_path)
    assert (found, troubles) == ([], [str(trouble.value)])


def test_a_check_that_is_left_out_is_missed() -> None:
    whole = make_diagnosis()
    with pytest.raises(ValueError, match="not of 1 to 23 in order"):
        Diagnosis(**{**vars(whole), "findings": whole.findings[:-1]})
