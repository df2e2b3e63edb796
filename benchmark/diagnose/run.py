"""From models to diagnoses on disk: the model looked at, its cells read, the checks made; kept where nothing changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from robustboard.attacks.attack import attack_cards
from robustboard.benchmark.cells import PRECISION, BuiltModel, build
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.diagnose import checks
from robustboard.benchmark.diagnose.examination import EXAMPLES, Examination
from robustboard.benchmark.diagnose.record import (
    SCHEMA,
    DiagnosedModel,
    Diagnosis,
    file_of,
    read_diagnosis,
    write_diagnosis,
    write_diagnosis_schema,
)
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.judge import look_clean, prepared
from robustboard.benchmark.progress import Progress
from robustboard.benchmark.protocols import Protocol
from robustboard.benchmark.records import CellResult, DatasetBlock, EnvironmentBlock, ProtocolBlock
from robustboard.benchmark.results import read_folder
from robustboard.benchmark.store import now
from robustboard.benchmark.subjects import Subject, registry_subjects
from robustboard.models import registry

CONTROL = "relu"
"""The registry's undefended model of every data set."""
OTHERS = 3
"""How many models candidates are taken over from, at most."""
ATTACKS = ("fgsm", "bim", "pgd", "square", "max_confidence")
"""What the checks run: another version of one, another diagnosis."""


@dataclass(frozen=True)
class DiagnoseRequest:
    """What was asked for: a protocol's examples and strengths, models, and the folder that holds protocols' folders, where the
    models' cells are looked for and the diagnoses go. `again`: also where a diagnosis of the same is there."""

    protocol: Protocol
    subjects: Sequence[Subject]
    out: Path
    data: Path | None = None
    quiet: bool = False
    again: bool = False

    @property
    def folder(self) -> Path:
        """Where this protocol's results are."""
        return self.out / self.protocol.name


def diagnose(request: DiagnoseRequest) -> list[Diagnosis]:
    """One diagnosis a model, in the order of the models that could be looked at.

    Raises `InputError` for what cannot be asked, and where no model can be looked at; of several, the others are.
    """
    found: list[Diagnosis] = []
    kept = 0
    with Progress(len(request.subjects), request.quiet, "flagged", "checks") as progress:
        for subject in request.subjects:
            try:
                diagnosis, is_new = _diagnose_model(request, subject, progress)
                found.append(diagnosis)
                kept += not is_new
            except InputError as trouble:
                if len(request.subjects) == 1:
                    raise
                progress.note(f"not diagnosed: {subject.dataset}/{subject.name}: {trouble}")
    if not found:
        raise InputError(f"none of the {len(request.subjects)} models can be diagnosed: see above")
    if kept:
        told = "since model and cells are the same: robustboard diagnose --again looks anew"
        progress.note(f"kept {kept} of {len(found)} diagnoses, {told}")
    write_diagnosis_schema(request.folder)
    return found


def _diagnose_model(request: DiagnoseRequest, subject: Subject, progress: Progress) -> tuple[Diagnosis, bool]:
    """The diagnosis of a model, and whether it was made now."""
    protocol, dataset = request.protocol, subject.dataset
    data_set = load_dataset(dataset, "test", request.data)
    indices = protocol.examples(dataset, "diagnose", len(data_set.labels))[:EXAMPLES]
    examples = data_set.select(indices)
    model = build(subject)
    environment, started = current_environment(), now()
    others, control = _fellows(subject)
    path = file_of(request.folder, dataset, subject.name)
    with prepared(model.network, torch.device("cpu")) as network:
        clean = look_clean(network, examples.images, examples.labels, subject.head)
        cells = _cells_of(request, subject, model.weights_sha256, model.code)
        control_cell = _cells_of(request, control, control.weights_sha256).get("bim") if control else None
        examination = Examination(network, clean, examples, indices, protocol, cells, others, control, control_cell)
        identity = _identity(examination, model)
        there = _there(path, identity)
        if there is not None and not request.again:
            progress.skip()
            return there, False
        progress.begin("diagnose", f"{dataset}/{subject.name}", len(checks.CHECKS), 0, 0)
        findings = []
        for check in checks.CHECKS:
            findings.append(checks.observe(check, examination))
            progress.advance(1, findings[-1].is_flag)
    result = Diagnosis(
        schema=SCHEMA,
        identity=identity,
        protocol=ProtocolBlock(protocol.name, protocol.version),
        dataset=DatasetBlock(dataset, examples.split, len(indices), indices, examples.fingerprint(), examples.note),
        model=DiagnosedModel(subject.name, model.weights_sha256, subject.source, model.code, subject.head),
        cells={name: cell.identity for name, cell in cells.items()},
        others=sorted({other.name for other in [*others, *([control] if control else [])]}),
        findings=findings,
        environment=EnvironmentBlock(**environment, seed=protocol.seed, started=started, finished=now()),
    )
    if there is not None and (changed := _other_verdicts(there, result)):
        progress.note(f"warning: {dataset}/{subject.name}: the diagnosis that was there said otherwise of check {changed}")
    write_diagnosis(result, path)
    progress.end()
    return result, True


def _there(path: Path, identity: str) -> Diagnosis | None:
    """The diagnosis in the file, if it is of the same model, cells and checks."""
    try:
        there = read_diagnosis(path)
    except InputError:
        return None
    return there if there.identity == identity else None


def _other_verdicts(there: Diagnosis, here: Diagnosis) -> str:
    both = zip(there.findings, here.findings, strict=True)
    return ", ".join(str(old.number) for old, new in both if old.verdict != new.verdict)


def _cells_of(request: DiagnoseRequest, subject: Subject, weights: str, code: str = "") -> dict[str, CellResult]:
    """The finished cells of this very model under this version of the protocol and its budgets, by attack; what does not read is
    for the report to say."""
    found, _ = read_folder(request.folder / subject.dataset / subject.name)
    plan = request.protocol.plan(subject.dataset)
    budgets = {"linf": plan.linf, "l2": plan.l2}
    mine = (weights, subject.source, code, request.protocol.version)
    here = [cell for cell in found if _origin(cell) == mine]
    return {cell.attack.name: cell for cell in here if cell.attack.eps == budgets.get(cell.attack.norm, cell.attack.eps)}


def _origin(cell: CellResult) -> tuple[str, str, str, int]:
    return cell.model.weights_sha256, cell.model.source, cell.model.code, cell.protocol.version


def _fellows(subject: Subject) -> tuple[list[Subject], Subject | None]:
    """The registry's models that candidates are taken over from, and its undefended one, both of the subject's data set. First
    the undefended one and those trained on adversarial examples, whose candidates carry farthest."""
    cards = {card.name.partition("/")[2]: card for card in registry.read_cards().values() if card.dataset == subject.dataset}
    known = {other.name: other for other in registry_subjects([f"{subject.dataset}/*"], [subject.dataset])} if cards else {}
    is_entry = subject.source == "registry"

    def farthest_first(name: str) -> tuple[bool, bool, str]:
        training = cards[name].training
        return name != CONTROL, training is None or training.epsilon == 0, name

    others = [known[name] for name in sorted(known, key=farthest_first) if not (is_entry and name == subject.name)]
    return others[:OTHERS], known.get(CONTROL)


def _identity(examination: Examination, model: BuiltModel) -> str:
    cards = attack_cards()
    fellows: Mapping[str, str] = {other.name: other.weights_sha256 for other in examination.others}
    parts = {
        "checks": checks.VERSION,
        "attacks": {name: cards[name].version for name in ATTACKS},
        "weights": model.weights_sha256,
        "source": model.subject.source,
        "code": model.code,
        "head": model.subject.head,
        "examples": examination.examples.fingerprint(),
        "indices": list(examination.indices),
        "cells": {name: cell.identity for name, cell in examination.cells.items()},
        "others": fellows,
        "control": examination.control.weights_sha256 if examination.control else "",
        "control's cell": examination.control_cell.identity if examination.control_cell else "",
        "plan": asdict(examination.plan),
        "protocol": [examination.protocol.name, examination.protocol.version, examination.protocol.seed],
        "precision": PRECISION,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
