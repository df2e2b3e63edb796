"""The contract of a result file: one dataclass a block, one sentence a field.

The JSON Schema beside the results is generated from these dataclasses.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

SCHEMA: Final = "robustboard/cell/1"
ROUNDING = 1e-9
"""How far a stored share may lie from the one that its examples give."""
_CONFIG = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)

Flag = Literal[0, 1]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=_CONFIG)
class ProtocolBlock:
    name: str
    """The protocol's name; a run with other examples or another ε carries that in the name ("standard@200")."""
    version: int
    """The protocol's version, raised whenever any number in it changes."""


@dataclass(frozen=True, config=_CONFIG)
class DatasetBlock:
    name: str
    """digits, mnist, cifar10, or "memory" for images handed over in Python."""
    split: str
    """Always "test" for the official protocols."""
    n: int
    """How many examples this cell covers."""
    indices: list[int]
    """Their positions in the split, in order."""
    fingerprint: str
    """sha256 over the pixels and labels used, in order."""
    note: str
    """What is unusual about the source of the data, empty if nothing is."""


@dataclass(frozen=True, config=_CONFIG)
class ModelBlock:
    name: str
    """The model's name within its data set."""
    weights_sha256: str
    """sha256 of the registry checkpoint, or of the weights in memory for a model from elsewhere."""
    parameters: int
    """Trainable numbers."""
    source: str
    """"registry", or the file and function that built the model, with the file's sha256."""
    head: Literal["softmax", "sigmoid"]
    """How its outputs become confidences."""
    output: Literal["logits", "probabilities", "log-probabilities"]
    """What its outputs look like; anything but logits can hide gradients."""
    expected_clean_accuracy: float | None
    """The registry's clean accuracy on the full test set, null for a model from elsewhere."""
    code: str = ""
    """sha256 of the user's own modules that her file imported; empty where there are none."""


@dataclass(frozen=True, config=_CONFIG)
class AttackBlock:
    name: str
    """The attack's name in the list of attacks."""
    implementation: str
    """"robustboard", or the library and its version."""
    version: int
    """Raised whenever the same input would give another output."""
    norm: Literal["linf", "l2", "l0"]
    """What the perturbation is measured in."""
    aim: Literal["budget", "minimum", "confidence"]
    """Stay within ε, find the smallest perturbation, or make a wrong class as confident as ε allows."""
    eps: float
    """The budget in units of the norm; for a minimum-norm attack the radius at which robust accuracy is reported."""
    params: dict[str, float | int | str]
    """Every parameter of the attack, defaults included."""


@dataclass(frozen=True, config=_CONFIG)
class Outcome:
    clean_accuracy: Share
    """Share of all n examples whose own logit is strictly the largest."""
    robust_accuracy: Share
    """Share of all n examples that are right clean and were not fooled within eps."""
    robust_accuracy_ci95: tuple[Share, Share]
    """Wilson's 95 % interval of the robust accuracy."""
    n: Annotated[int, Field(ge=1)]
    """Number of examples, clean errors included."""
    n_fooled: int
    """Examples right clean and fooled within eps (for the aim "confidence": wrong under attack)."""
    n_attack_failures: int
    """Examples on which the attack broke a rule or raised; they count as not fooled."""
    unfooled: Share
    """Share of all n examples for which no adversarial example was found at any distance."""
    upper_bound_only: bool
    """True where any attack failure makes the robust accuracy an upper bound that must not be ranked."""
    failure_reasons: dict[str, int]
    """Why the attack failed, with how often."""
    distance_quantiles: dict[str, float]
    """p10, p25, p50, p75, p90 of the distance among examples right clean and fooled at any distance; empty if none."""
    robust_accuracy_at: list[tuple[float, float]]
    """(ε, robust accuracy) for minimum-norm attacks, at multiples of eps; empty for the others."""
    confidence_on_fooled: float | None
    """Mean confidence in the wrong class among the fooled, null if none was."""
    fooled_after_rounding: int
    """How many of the fooled stay fooled when the image is rounded to 8 bits a feature."""
    from_start: float | None
    """Where an attack has a cheap start: the share of found examples that the start supplied, else null."""


@dataclass(frozen=True, config=_CONFIG)
class PerExample:
    index: list[int]
    """Position in the split."""
    correct_clean: list[Flag]
    """1 where the clean image is classified right."""
    fooled: list[Flag]
    """1 where the judged candidate is misclassified within eps."""
    found: list[Flag]
    """1 where an adversarial example was found at any distance."""
    distance: list[float | None]
    """Size of the perturbation found, 0 for clean errors, null where none was found."""
    confidence: list[float | None]
    """Confidence in the prediction on the candidate, null where there is none."""
    clean_confidence: list[float]
    """Confidence in the prediction on the clean image."""
    attack_failed: list[Flag]
    """1 where the attack broke a rule or raised."""
    iterations: list[int]
    """Iterations the attack spent on the example."""


@dataclass(frozen=True, config=_CONFIG)
class Cost:
    seconds: float
    """Time spent attacking and judging."""
    forwards: float
    """Forward passes an attacked example, counted around the model; the judge's are not among them."""
    backwards: float
    """Backward passes an attacked example."""
    peak_memory_bytes: int
    """Highest device memory on a GPU; highest resident memory of the process on a CPU."""
    device: str
    """Where it ran."""
    batch_size: int
    """Examples in the largest batch."""


@dataclass(frozen=True, config=_CONFIG)
class EnvironmentBlock:
    git_commit: str
    """The commit of this project, "unknown" outside a checkout."""
    git_dirty: bool
    """Whether anything but results differed from that commit."""
    python: str
    """Python's version."""
    torch: str
    """torch's version."""
    torchattacks: str
    """torchattacks' version."""
    foolbox: str
    """foolbox's version."""
    robustboard: str
    """This project's version."""
    processor: str
    """The processor or GPU."""
    threads: int
    """Threads torch used."""
    seed: int
    """The seed every example's keys were made from."""
    started: str
    """UTC, ISO 8601."""
    finished: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, config=_CONFIG)
class CandidatesBlock:
    file: str
    """The safetensors file beside this one that holds the candidates by which examples were fooled."""
    sha256: str
    """sha256 of that file."""
    format: Literal["robustboard/candidates/1"]
    """How it is to be read: "halves", float16 changes to the examples at "half_indices"; "wholes", float32 images that take the
    place of those at "whole_indices"."""
    n: Annotated[int, Field(ge=0)]
    """Candidates in the file: one for every example found, but for those taken over."""
    n_float16: Annotated[int, Field(ge=0)]
    """How many of them are changes in half precision; the judge said the same of what is read back."""
    taken_over: dict[str, list[int]]
    """For a worst case: attack -> the examples that its cell fooled already; their candidates lie beside that cell, if it
    kept any."""


@dataclass(frozen=True, config=_CONFIG)
class CellResult:
    """One cell of a table: one attack on one model over one protocol's examples."""

    schema: Literal["robustboard/cell/1"]
    """Which contract this file keeps."""
    identity: str
    """Hash of everything that decides the result; equal identity means the cell need not run again."""
    protocol: ProtocolBlock
    """Which protocol the cell belongs to."""
    dataset: DatasetBlock
    """The examples."""
    model: ModelBlock
    """What was attacked."""
    attack: AttackBlock
    """By what."""
    outcome: Outcome
    """What came of it."""
    per_example: PerExample
    """The same, example by example."""
    cost: Cost
    """What it cost."""
    environment: EnvironmentBlock
    """What it was computed with."""
    joined: dict[str, str] = Field(default_factory=dict)
    """For a worst case: the cells whose fooled examples it takes over, attack -> identity; empty for all others."""
    candidates: CandidatesBlock | None = None
    """Where the candidates are kept that fooled the model, null where they are not."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        n = self.outcome.n
        lengths = {name: len(values) for name, values in vars(self.per_example).items() if not name.startswith("_")}
        lengths["dataset.indices"], lengths["dataset.n"] = len(self.dataset.indices), self.dataset.n
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"outcome.n is {n}, but {name} has {length}")
        return self

    def contradiction(self) -> str:
        """Where its summary is not what its examples, one by one, come to; "" where it is."""
        if self.per_example.index != self.dataset.indices or len(set(self.dataset.indices)) != self.outcome.n:
            return "per_example.index is not dataset.indices, or names an example twice"
        right, fooled = self.per_example.correct_clean, self.per_example.fooled
        robust = sum(is_right and not is_fooled for is_right, is_fooled in zip(right, fooled, strict=True))
        for name, count in {"clean_accuracy": sum(right), "robust_accuracy": robust}.items():
            told, counted = getattr(self.outcome, name), count / self.outcome.n
            if abs(told - counted) > ROUNDING:
                return f"outcome.{name} is {told:g}, but {counted:g} by its examples"
        return ""


@dataclass(frozen=True, config=_CONFIG)
class NotRun:
    """A row that is not there, and why."""

    dataset: str
    """The data set."""
    model: str
    """The model, empty if the whole data set was not run."""
    reason: str
    """One sentence."""


@dataclass(frozen=True, config=_CONFIG)
class Manifest:
    """What a folder of one protocol's results was meant to hold, so that what is missing shows."""

    protocol: ProtocolBlock
    """Which protocol."""
    title: str
    """The heading of its tables."""
    planned: dict[str, dict[str, list[str]]]
    """data set -> model -> attacks that some run asked for."""
    not_run: list[NotRun]
    """Rows that could not be run."""
    attacks: list[str] = Field(default_factory=list)
    """The protocol's own, of which a run may ask for fewer; empty in older files."""
