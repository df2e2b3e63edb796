"""The contract of a certificate's file, beside the cells of its model: one dataclass a block, one sentence a field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import DatasetBlock, EnvironmentBlock, ProtocolBlock, Share
from robustboard.benchmark.results import (
    CERTIFICATE_FILES,
    CERTIFICATE_SCHEMA_FILE,
    files_below,
    first_trouble,
    json_by_line,
    write_atomically,
)

SCHEMA: Final = "robustboard/certified/2"
_CONFIG = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)

MethodName = Literal["interval", "crown", "exact"]
Verdict = Literal["robust", "fooled", "undecided", "misclassified"]
Means = Literal["clean", "interval", "crown", "pgd", "milp"]


@dataclass(frozen=True, config=_CONFIG)
class CertifiedModel:
    name: str
    """The model's name within its data set."""
    weights_sha256: str
    """sha256 of the registry checkpoint, or of the weights in memory for a model from elsewhere."""
    source: str
    """"registry", or the file and function that built the model, with the file's sha256."""


@dataclass(frozen=True, config=_CONFIG)
class MethodBlock:
    name: MethodName
    """Interval bounds, CROWN, or the exact search."""
    version: int
    """Raised whenever the same input would give another answer."""
    eps: float
    """The L∞ radius that the answers are about; images stay in [0, 1]."""
    radius: float
    """The radius they were computed for: eps and the judge's tolerance."""
    interval_layers: list[int]
    """The non-linear layers whose bounds are interval bounds because CROWN's would have taken too long."""
    time_limit: float | None
    """Seconds that the solver may spend on one wrong class of one example, null where there is no solver."""
    solver: str
    """The solver and its version, empty where there is none."""


@dataclass(frozen=True, config=_CONFIG)
class CertifiedOutcome:
    n: Annotated[int, Field(ge=1)]
    """Number of examples, clean errors included."""
    clean_accuracy: Share
    """Share of all n examples whose own logit is strictly the largest."""
    certified_accuracy: Share
    """Share of all n examples proved robust within eps: a lower bound on robust accuracy."""
    certified_accuracy_ci95: tuple[Share, Share]
    """Wilson's 95 % interval of the certified accuracy."""
    undecided: Annotated[int, Field(ge=0)]
    """Examples right clean that were neither proved robust nor fooled."""
    rounding: float
    """The largest margin that was set aside, over the examples, for what a float32 pass may round."""


@dataclass(frozen=True, config=_CONFIG)
class CertifiedExamples:
    index: list[int]
    """Position in the split."""
    verdict: list[Verdict]
    """Proved robust, fooled by an image that the judge confirmed, undecided, or misclassified clean."""
    means: list[Means]
    """What decided, or was tried last."""
    margin: list[float | None]
    """Of an example that the solver left undecided: what the label's logit leads by at least, all over the radius, if nothing
    is rounded, by the solver's bound less its tolerance. Else null."""
    seconds: list[float]
    """Time spent on the example."""


@dataclass(frozen=True, config=_CONFIG)
class CertifiedResult:
    """What is proved about one model on one protocol's examples."""

    schema: Literal["robustboard/certified/2"]
    """Which contract this file keeps."""
    identity: str
    """Hash of everything that decides the result; equal identity means it need not be computed again."""
    protocol: ProtocolBlock
    """Which protocol gave the examples and eps."""
    dataset: DatasetBlock
    """The examples."""
    model: CertifiedModel
    """What was certified."""
    method: MethodBlock
    """How."""
    outcome: CertifiedOutcome
    """What came of it."""
    per_example: CertifiedExamples
    """The same, example by example."""
    environment: EnvironmentBlock
    """What it was computed with."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        n = self.outcome.n
        lengths = {name: len(values) for name, values in vars(self.per_example).items() if not name.startswith("_")}
        lengths["dataset.indices"], lengths["dataset.n"] = len(self.dataset.indices), self.dataset.n
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"outcome.n is {n}, but {name} has {length}")
        robust = self.per_example.verdict.count("robust")
        if round(self.outcome.certified_accuracy * n) != robust:
            raise ValueError(f"certified_accuracy is {self.outcome.certified_accuracy}, but {robust} of {n} are robust")
        return self

    @property
    def robust(self) -> set[int]:
        """The positions in the split of the examples proved robust."""
        rows = zip(self.per_example.index, self.per_example.verdict, strict=True)
        return {index for index, verdict in rows if verdict == "robust"}

    @property
    def robust_but_for_rounding(self) -> set[int]:
        """Those, and the undecided whose label leads all over the radius, but by less than was set aside for what a float32
        pass may round."""
        rows = zip(self.per_example.index, self.per_example.margin, strict=True)
        return self.robust | {index for index, margin in rows if margin is not None and margin > 0}

    @property
    def is_exact(self) -> bool:
        """Whether the lower bound is the robust accuracy itself."""
        return self.method.name == "exact" and self.outcome.undecided == 0


_RESULT = TypeAdapter(CertifiedResult)


def file_of(folder: Path, dataset: str, model: str, method: MethodName) -> Path:
    """Where a certificate lives inside its protocol's folder."""
    return folder / dataset / model / f"{method}.json"


def write_certificate(result: CertifiedResult, path: Path) -> None:
    """Write atomically."""
    write_atomically(path, json_by_line(_RESULT.dump_python(result, mode="json")))


def write_certificate_schema(folder: Path) -> None:
    """Put the JSON Schema of certificates into `folder`."""
    write_atomically(folder / CERTIFICATE_SCHEMA_FILE, json.dumps(_RESULT.json_schema(), indent=1) + "\n")


def read_certificate(path: Path) -> CertifiedResult:
    """The certificate in a file. Raises `InputError` naming the file and the first thing that is wrong with it."""
    try:
        return _RESULT.validate_json(path.read_bytes())
    except (OSError, ValidationError) as trouble:
        raise InputError(f"{path} is no certificate of this program: {first_trouble(trouble)}") from trouble


def read_certificates(folder: Path) -> tuple[list[CertifiedResult], list[str]]:
    """Every readable certificate below `folder`, in the order of paths, and one sentence a file that is not one."""
    found, troubles = [], []
    for path in sorted(path for name in CERTIFICATE_FILES for path in files_below(folder, name)):
        try:
            found.append(read_certificate(path))
        except InputError as trouble:
            troubles.append(str(trouble))
    return found, troubles
