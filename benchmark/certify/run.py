"""From models and a method to certificates on disk: reused where they are the same, resumed where they were cut short."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import scipy
import torch
from pydantic import TypeAdapter, ValidationError

from robustboard.benchmark.cells import PRECISION, BuiltModel, build
from robustboard.benchmark.certify import methods
from robustboard.benchmark.certify.crown import crown_boxes
from robustboard.benchmark.certify.interval import ball
from robustboard.benchmark.certify.methods import ExampleAnswer, Task, answers
from robustboard.benchmark.certify.record import (
    SCHEMA,
    CertifiedExamples,
    CertifiedModel,
    CertifiedOutcome,
    CertifiedResult,
    MethodBlock,
    MethodName,
    file_of,
    read_certificate,
    write_certificate,
    write_certificate_schema,
)
from robustboard.benchmark.datasets import Dataset, load_dataset
from robustboard.benchmark.environment import current_environment
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.judge import look_clean, prepared
from robustboard.benchmark.progress import Progress
from robustboard.benchmark.protocols import Protocol
from robustboard.benchmark.radii import radius
from robustboard.benchmark.records import DatasetBlock, EnvironmentBlock, ProtocolBlock
from robustboard.benchmark.results import write_atomically
from robustboard.benchmark.statistics import wilson
from robustboard.benchmark.store import now
from robustboard.benchmark.subjects import Subject

SAVE_EVERY_S = 1.0


@dataclass(frozen=True)
class CertifyRequest:
    """What was asked for: a protocol's examples and ε, models, a method, and the folder that holds protocols' folders. `again`:
    also what is proved there, from the start."""

    protocol: Protocol
    subjects: Sequence[Subject]
    method: MethodName
    out: Path
    data: Path | None = None
    time_limit: float = methods.TIME_LIMIT_S
    quiet: bool = False
    again: bool = False


def certify(request: CertifyRequest) -> list[CertifiedResult]:
    """One certificate a model, in the order of the models that could be certified.

    Raises `InputError` for what cannot be asked, and where no model can be certified; of several, the others are.
    """
    found = []
    folder = request.out / request.protocol.name
    with Progress(len(request.subjects), request.quiet, "proved robust") as progress:
        for subject in request.subjects:
            try:
                found.append(_certify_model(request, subject, folder, progress))
            except InputError as trouble:
                if len(request.subjects) == 1:
                    raise
                progress.note(f"not certified: {subject.dataset}/{subject.name}: {trouble}")
    if not found:
        raise InputError(f"none of the {len(request.subjects)} models can be certified by {request.method}: see above")
    write_certificate_schema(folder)
    return found


def sentence(result: CertifiedResult) -> str:
    """A certificate in one line."""
    outcome, method = result.outcome, result.method
    low, high = outcome.certified_accuracy_ci95
    sign = "=" if result.is_exact else "≥"
    text = (
        f"{result.dataset.name}/{result.model.name}: robust accuracy {sign} {outcome.certified_accuracy:.1%} "
        f"[{100 * low:.1f}–{100 * high:.1f}] within L∞ {radius(method.eps)}, by {method.name} (n = {outcome.n})"
    )
    if method.name == "exact" and outcome.undecided:
        text += f"; {outcome.undecided} undecided"
        if near := len(result.robust_but_for_rounding - result.robust):
            text += f", {near} of them robust if nothing is rounded"
    if method.interval_layers:
        text += f"; non-linear layers {', '.join(map(str, method.interval_layers))} of the chain too large: interval bounds there"
    return text


def _certify_model(request: CertifyRequest, subject: Subject, folder: Path, progress: Progress) -> CertifiedResult:
    data_set = load_dataset(subject.dataset, "test", request.data)
    indices = request.protocol.examples(subject.dataset, "certify", len(data_set.labels))
    examples = data_set.select(indices)
    model = build(subject)
    environment = current_environment()  # now, not when it is done: the checkout may move on meanwhile
    path = file_of(folder, subject.dataset, subject.name, request.method)
    started = now()
    epsilon = request.protocol.plan(subject.dataset).linf
    with prepared(model.network, torch.device("cpu")) as network:
        clean = look_clean(network, examples.images, examples.labels, subject.head)
        task = Task(network, clean.head, examples, indices, clean.correct, epsilon, request.protocol.seed)
        method = _method(request, task)
        identity = _identity(request, model, task, method, request.protocol.version)
        there = _there(path)
        # Of another version of the protocol, but of the same examples and radius: nothing would come out otherwise.
        if there is not None and there.identity != _identity(request, model, task, method, there.protocol.version):
            there = None
        if there is not None and not request.again:
            progress.skip()
            return there
        partial = _Partial(path, identity)
        done = {} if request.again else partial.read()
        missing = [place for place, index in enumerate(indices) if index not in done]
        proved = sum(answer.verdict == "robust" for answer in done.values())
        progress.begin(f"certify ({request.method})", f"{subject.dataset}/{subject.name}", len(indices), len(done), proved)
        for answer in answers(task, request.method, missing, request.time_limit):
            done[answer.index] = answer
            partial.save(done)
            progress.advance(1, answer.verdict == "robust")
    block = EnvironmentBlock(**environment, seed=request.protocol.seed, started=started, finished=now())
    result = _assemble(request, model, examples, identity, method, [done[index] for index in indices], block)
    if there is not None and (changed := _other_verdicts(there, result)):
        told = f"the certificate that was there said otherwise of {changed} examples"
        progress.note(f"warning: {subject.dataset}/{subject.name}: {told}")
    write_certificate(result, path)
    partial.remove()
    progress.end()
    return result


def _there(path: Path) -> CertifiedResult | None:
    try:
        return read_certificate(path)
    except InputError:
        return None


def _other_verdicts(there: CertifiedResult, here: CertifiedResult) -> int:
    return sum(old != new for old, new in zip(there.per_example.verdict, here.per_example.verdict, strict=True))


class _Partial:
    """The answers so far, beside the certificate; written again after every answer that took long."""

    _answers = TypeAdapter(dict[int, ExampleAnswer])

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path.with_name(f".{path.stem}.partial")
        self._identity = identity
        self._saved = 0.0

    def read(self) -> dict[int, ExampleAnswer]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return self._answers.validate_python(content["answers"]) if content["identity"] == self._identity else {}
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return {}

    def save(self, done: dict[int, ExampleAnswer]) -> None:
        if time.monotonic() - self._saved < SAVE_EVERY_S:
            return
        content = {"identity": self._identity, "answers": {index: asdict(answer) for index, answer in done.items()}}
        write_atomically(self._path, json.dumps(content))
        self._saved = time.monotonic()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _method(request: CertifyRequest, task: Task) -> MethodBlock:
    layers = task.layers()
    by_interval = [] if request.method == "interval" else crown_boxes(layers, ball(task.examples.images[:1], task.radius))[1]
    is_exact = request.method == "exact"
    return MethodBlock(
        name=request.method,
        version=methods.VERSIONS[request.method],
        eps=task.epsilon,
        radius=task.radius,
        interval_layers=by_interval,
        time_limit=request.time_limit if is_exact else None,
        solver=f"HiGHS of SciPy {scipy.__version__}" if is_exact else "",
    )


def _identity(request: CertifyRequest, model: BuiltModel, task: Task, method: MethodBlock, version: int) -> str:
    parts = {
        "weights": model.weights_sha256,
        "source": model.subject.source,
        "code": model.code,
        "head": task.head,
        "examples": task.examples.fingerprint(),
        "indices": list(task.indices),
        "method": asdict(method),
        "seed": task.seed,
        "precision": PRECISION,
        "protocol": [request.protocol.name, version],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _assemble(
    request: CertifyRequest,
    model: BuiltModel,
    examples: Dataset,
    identity: str,
    method: MethodBlock,
    found: Sequence[ExampleAnswer],
    environment: EnvironmentBlock,
) -> CertifiedResult:
    n = len(found)
    verdicts = [answer.verdict for answer in found]
    robust = verdicts.count("robust")
    indices = [answer.index for answer in found]
    return CertifiedResult(
        schema=SCHEMA,
        identity=identity,
        protocol=ProtocolBlock(request.protocol.name, request.protocol.version),
        dataset=DatasetBlock(examples.name, examples.split, n, indices, examples.fingerprint(), examples.note),
        model=CertifiedModel(model.subject.name, model.weights_sha256, model.subject.source),
        method=method,
        outcome=CertifiedOutcome(
            n=n,
            clean_accuracy=1 - verdicts.count("misclassified") / n,
            certified_accuracy=robust / n,
            certified_accuracy_ci95=wilson(robust, n),
            undecided=verdicts.count("undecided"),
            rounding=round(max(answer.rounding for answer in found), 6),
        ),
        per_example=CertifiedExamples(
            index=indices,
            verdict=verdicts,
            means=[answer.means for answer in found],
            margin=[None if answer.margin is None else round(answer.margin, 9) for answer in found],
            seconds=[round(answer.seconds, 3) for answer in found],
        ),
        environment=environment,
    )
