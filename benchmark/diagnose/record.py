"""The contract of a diagnosis' file, beside the cells of its model: one dataclass a block, one sentence a field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import DatasetBlock, EnvironmentBlock, ProtocolBlock
from robustboard.benchmark.results import (
    DIAGNOSIS_FILE,
    DIAGNOSIS_SCHEMA_FILE,
    files_below,
    first_trouble,
    json_by_line,
    write_atomically,
)

SCHEMA: Final = "robustboard/diagnosis/1"
CHECKS: Final = 23
"""How many checks a diagnosis holds, numbered from 1."""
_CONFIG = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)

Verdict = Literal["pass", "warn", "fail", "not made", "not applicable"]
LookedAt = Literal["cells", "model", "protocol"]
Figure = float | int | str


@dataclass(frozen=True, config=_CONFIG)
class DiagnosedModel:
    name: str
    """The model's name within its data set."""
    weights_sha256: str
    """sha256 of the registry checkpoint, or of the weights in memory for a model from elsewhere."""
    source: str
    """"registry", or the file and function that built the model, with the file's sha256."""
    code: str
    """sha256 of the user's own modules that her file imported; empty where there are none."""
    head: Literal["softmax", "sigmoid"]
    """How its outputs become confidences."""


@dataclass(frozen=True, config=_CONFIG)
class Finding:
    number: Annotated[int, Field(ge=1, le=CHECKS)]
    """The check's number."""
    title: str
    """The check in a few words."""
    verdict: Verdict
    """"pass" is no failure detected, never proved robust; "warn" and "fail" are flags; "not made": an exception stopped it, which
    is one, too; "not applicable" has its reason."""
    reason: str
    """What was seen, or why the check does not apply."""
    looked_at: LookedAt
    """The cells of a run, the model itself on the diagnosis' examples, or the numbers of the protocol."""
    figures: dict[str, Figure]
    """The evidence in numbers."""
    examples: list[int]
    """Positions in the split of the examples that contradict."""
    seconds: float
    """Time the check took; what several checks share is counted for the first."""

    @property
    def is_flag(self) -> bool:
        """Whether the check found something."""
        return self.verdict in ("warn", "fail", "not made")


@dataclass(frozen=True, config=_CONFIG)
class Diagnosis:
    """What the checks found about one model under one protocol."""

    schema: Literal["robustboard/diagnosis/1"]
    """Which contract this file keeps."""
    identity: str
    """Hash of everything that decides the findings; equal identity means the model need not be looked at again."""
    protocol: ProtocolBlock
    """Which protocol gave the budgets and the attacks' strengths."""
    dataset: DatasetBlock
    """The examples that were put to the model; cells have their own."""
    model: DiagnosedModel
    """What was diagnosed."""
    cells: dict[str, str]
    """The model's cells that were there to be looked at, attack -> identity."""
    others: list[str]
    """The registry's models that candidates were taken over from, or that were the positive control."""
    findings: list[Finding]
    """One a check, in the order of their numbers."""
    environment: EnvironmentBlock
    """What it was computed with."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        numbers = [finding.number for finding in self.findings]
        if numbers != list(range(1, CHECKS + 1)):
            raise ValueError(f"the findings are of checks {numbers}, not of 1 to {CHECKS} in order")
        if len(self.dataset.indices) != self.dataset.n:
            raise ValueError(f"dataset.n is {self.dataset.n}, but dataset.indices has {len(self.dataset.indices)}")
        return self

    @property
    def flags(self) -> list[Finding]:
        """The findings that warn or fail."""
        return [finding for finding in self.findings if finding.is_flag]


_DIAGNOSIS = TypeAdapter(Diagnosis)


def file_of(folder: Path, dataset: str, model: str) -> Path:
    """Where a diagnosis lives inside its protocol's folder."""
    return folder / dataset / model / DIAGNOSIS_FILE


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as its file holds it."""
    return dict(_DIAGNOSIS.dump_python(diagnosis, mode="json"))


def write_diagnosis(diagnosis: Diagnosis, path: Path) -> None:
    """Write atomically."""
    write_atomically(path, json_by_line(as_json(diagnosis)))


def write_diagnosis_schema(folder: Path) -> None:
    """Put the JSON Schema of diagnoses into `folder`."""
    write_atomically(folder / DIAGNOSIS_SCHEMA_FILE, json.dumps(_DIAGNOSIS.json_schema(), indent=1) + "\n")


def read_diagnosis(path: Path) -> Diagnosis:
    """The diagnosis in a file. Raises `InputError` naming the file and the first thing that is wrong with it."""
    try:
        return _DIAGNOSIS.validate_json(path.read_bytes())
    except (OSError, ValidationError) as trouble:
        raise InputError(f"{path} is no diagnosis of this program: {first_trouble(trouble)}") from trouble


def read_diagnoses(folder: Path) -> tuple[list[Diagnosis], list[str]]:
    """Every readable diagnosis below `folder`, in the order of paths, and one sentence a file that is not one."""
    found, troubles = [], []
    for path in files_below(folder, DIAGNOSIS_FILE):
        try:
            found.append(read_diagnosis(path))
        except InputError as trouble:
            troubles.append(str(trouble))
    return found, troubles
