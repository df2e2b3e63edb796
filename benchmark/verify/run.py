"""From a folder of results to findings: each model built once, asked once about its clean images, then about every candidate, and
attacked again on a few examples of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robustboard.benchmark.cells import BuiltModel, build
from robustboard.benchmark.datasets import DATASETS, Dataset, load_dataset
from robustboard.benchmark.environment import choose_device
from robustboard.benchmark.errors import DataNotFoundError, InputError
from robustboard.benchmark.judge import look_clean, prepared
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.subjects import Subject, registry_subjects, user_subject
from robustboard.benchmark.verify.again import Again, Draw, attack_again
from robustboard.benchmark.verify.agreement import Causes, disagreements
from robustboard.benchmark.verify.files import sorted_out
from robustboard.benchmark.verify.findings import Finding, Report, Status
from robustboard.benchmark.verify.joining import check_joined
from robustboard.benchmark.verify.judging import Asked, Verified, check_candidates, check_clean
from robustboard.benchmark.verify.planning import check_plan
from robustboard.models import registry

Cells = Mapping[Path, CellResult]


class _UnverifiableError(Exception):
    """The model or the data of a cell is not here, which is no fault of the cell."""


@dataclass(frozen=True)
class VerifyRequest:
    """What was asked for: a folder of results, where the data is, references of models that are not of the registry, where the
    registry is, and which examples are attacked again."""

    folder: Path
    data: Path | None = None
    references: Sequence[str] = ()
    device: str = "auto"
    registry: Path = registry.HOME
    draw: Draw = field(default_factory=Draw)


def verify(request: VerifyRequest) -> Report:
    """Check everything below the folder. Raises `InputError` when there is no such folder, or no result in it."""
    files = sorted_out(request.folder)
    if not files.cells and not files.findings:
        raise InputError(f"there is nothing to verify in {request.folder}: name a folder that robustboard run wrote")
    groups: dict[tuple[str, ...], dict[Path, CellResult]] = {}
    for path, cell in files.cells.items():
        model = cell.model
        key = (cell.dataset.name, model.name, model.source, model.weights_sha256, model.code, model.head)
        groups.setdefault(key, {})[path] = cell
    findings = [*files.findings, *(finding for cells in groups.values() for finding in _of_model(request, cells))]
    return Report(tuple(sorted(findings, key=lambda finding: finding.name)), files.others, request.draw.seed)


def _of_model(request: VerifyRequest, cells: Cells) -> list[Finding]:
    """The findings on the cells of one model."""
    causes = {path: Causes() for path in cells}
    for path, cell in cells.items():
        disagreements(cell, causes[path])
        check_joined(cell, path, causes[path])
    first, unverifiable = next(iter(cells.values())), ""
    verified: dict[Path, Verified] = {}
    again: dict[Path, Again] = {}
    try:
        subject, data_set = _subject(request, first), _data(request, first)
        built = _built(subject, first)
        for path, cell in cells.items():
            _check_block(cell, built, causes[path])
        whole = {path: cell for path, cell in cells.items() if _has_examples(cell, data_set, causes[path])}
        for path, cell in whole.items():
            check_plan(cell, data_set, causes[path])
        if whole:
            verified, again = _ask(request, built, data_set, whole, causes)
    except _UnverifiableError as trouble:
        unverifiable = str(trouble)
    except (InputError, registry.RegistryError) as trouble:
        for cause in causes.values():
            cause.say(str(trouble))
    names = {path: str(path.relative_to(request.folder).with_suffix("")) for path in cells}
    return [
        _finding(names[path], cell, causes[path], verified.get(path), again.get(path), unverifiable)
        for path, cell in cells.items()
    ]


def _subject(request: VerifyRequest, cell: CellResult) -> Subject:
    """What the cell says that it attacked. Raises `InputError` when the registry has no such model."""
    model, dataset = cell.model, cell.dataset.name
    if dataset not in DATASETS:
        raise _UnverifiableError(f"its images are not here: its data set is {dataset!r}")
    if model.source == "registry":
        known = registry_subjects(["*"], [dataset], request.registry)
        for subject in known:
            if subject.name == model.name:
                return subject
        raise InputError(f"the registry has no model {dataset}/{model.name}")
    for reference in request.references:
        try:
            subject = user_subject(reference, dataset, model.head)
        except InputError as trouble:
            raise _UnverifiableError(str(trouble)) from trouble
        if subject.name == model.name:
            return subject
    raise _UnverifiableError(f"its model is not of the registry but {model.source}: name it with --model")


def _data(request: VerifyRequest, cell: CellResult) -> Dataset:
    try:
        return load_dataset(cell.dataset.name, "test", request.data)
    except DataNotFoundError as trouble:
        raise _UnverifiableError(f"{trouble.title} is not here: --data FOLDER names where it is") from trouble


def _built(subject: Subject, cell: CellResult) -> BuiltModel:
    """The subject with its network. Raises `InputError` when it is not of the cell's weights, source or code."""
    built = build(subject)
    told = {"weights": cell.model.weights_sha256, "source": cell.model.source, "code": cell.model.code}
    here = {"weights": built.weights_sha256, "source": subject.source, "code": built.code}
    for what, mine in told.items():
        if mine != here[what]:
            raise InputError(f"it was computed on other {what} ({mine[:60]}) than those that are here ({here[what][:60]})")
    return built


def _check_block(cell: CellResult, built: BuiltModel, causes: Causes) -> None:
    """Add what the cell says of its model besides."""
    if cell.model.parameters != built.parameters:
        causes.say(f"it says that the model has {cell.model.parameters} parameters; it has {built.parameters}")
    if cell.model.head != built.subject.head:
        causes.say(f"it says that the model's head is {cell.model.head}; it is {built.subject.head}")
    if cell.model.expected_clean_accuracy != built.subject.expected_clean_accuracy:
        causes.say(
            f"it says that the registry's clean accuracy is {cell.model.expected_clean_accuracy}; it is "
            f"{built.subject.expected_clean_accuracy}"
        )


def _has_examples(cell: CellResult, data_set: Dataset, causes: Causes) -> bool:
    """Whether the examples here are the cell's, else a cause says so."""
    indices = cell.per_example.index
    within = cell.dataset.split == data_set.split and min(indices) >= 0 and max(indices) < len(data_set.labels)
    if within and data_set.select(indices).fingerprint() == cell.dataset.fingerprint:
        return True
    causes.say("its examples are not those of the data here: their fingerprint differs")
    return False


def _ask(
    request: VerifyRequest, built: BuiltModel, data_set: Dataset, cells: Cells, causes: Mapping[Path, Causes]
) -> tuple[dict[Path, Verified], dict[Path, Again]]:
    """Put the clean images and the candidates of all cells to the model: what their candidates show, where they are kept; and
    attack again on a few examples of those cells that have no fault."""
    device, subject = choose_device(request.device), built.subject
    seen = sorted({index for cell in cells.values() for index in cell.per_example.index})
    examples, verified, again = data_set.select(seen), {}, {}
    with prepared(built.network, device, channels_last=subject.source == "registry") as network:
        clean = look_clean(network, examples.images.to(device), examples.labels.to(device), subject.head)
        asked = Asked(network, data_set, device, clean, {index: at for at, index in enumerate(seen)})
        for path, cell in cells.items():
            check_clean(cell, asked, causes[path])
            shown = check_candidates(cell, path, asked, causes[path])
            if shown is not None:
                verified[path] = shown
            if not causes[path].told():
                again[path] = attack_again(cell, asked, request.draw, causes[path])
    return verified, again


def _finding(
    name: str, cell: CellResult, found: Causes, verified: Verified | None, again: Again | None, unverifiable: str
) -> Finding:
    causes, remarks = found.told(), [*([unverifiable] if unverifiable else []), *found.remarked()]
    if cell.candidates is None:
        checked = (
            "" if unverifiable or causes else "; it agrees with itself, its identity, its weights and the model's clean answers"
        )
        remarks.append(f"no candidates are kept, so the attack itself was not verified{checked}")
    if verified is not None and verified.missing:
        remarks.append(f"{verified.missing} of its fooled examples were taken over from cells that keep no candidates")
    if verified is not None and verified.bordering:
        remarks.append(f"{verified.bordering} of its candidates lie so near the border that rounding decides")
    shown, judged = (None, 0) if verified is None else (verified.robust_accuracy, verified.judged)
    status = "FAIL" if causes else _status(verified, unverifiable)
    robust, attacked = (0, None) if again is None else (again.robust, again.attacked)
    return Finding(name, status, cell.outcome.robust_accuracy, shown, judged, robust, attacked, causes, tuple(remarks))


def _status(verified: Verified | None, unverifiable: str) -> Status:
    if unverifiable:
        return "not verified"
    if verified is None:
        return "attack not verified"
    return "pass in part" if verified.missing else "pass"
