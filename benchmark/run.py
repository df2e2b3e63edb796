"""A run: walk the planned cells, evaluate what is not finished, keep every finished batch, note what could not run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from robustboard.benchmark import store
from robustboard.benchmark.adversarials import FILE_NORMS, Adversarials, file_attack, plan_adversarials
from robustboard.benchmark.assembly import assemble, latest
from robustboard.benchmark.cascade import fooled_already
from robustboard.benchmark.cells import BuiltModel, Cell, PlannedAttack, build, cell_path, chosen_attacks, plan_attack
from robustboard.benchmark.datasets import Dataset, load_dataset
from robustboard.benchmark.environment import choose_device
from robustboard.benchmark.errors import DataNotFoundError, InputError, ModelFaultError
from robustboard.benchmark.evaluate import BatchRecord, Task, evaluate_examples, lacks_candidates, make_sizer
from robustboard.benchmark.judge import Clean, look_clean, prepared
from robustboard.benchmark.progress import Progress
from robustboard.benchmark.protocols import Protocol
from robustboard.benchmark.records import Manifest, NotRun, ProtocolBlock
from robustboard.benchmark.results import read_manifest, write_manifest, write_schema
from robustboard.benchmark.subjects import Subject


@dataclass(frozen=True)
class Request:
    """What was asked for. `subjects` are the models, of one data set each; `out` is the folder that holds protocols'
    folders; `shard` is (which, of how many); `batch_size` None means automatic; `adversarials` are files of candidates that
    are judged beside the attacks'; `keep_adversarials` stores what fooled a model beside the cell."""

    protocol: Protocol
    datasets: Sequence[str]
    subjects: Sequence[Subject]
    attacks: Sequence[str] | None
    out: Path
    data: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    shard: tuple[int, int] = (0, 1)
    adversarials: Sequence[Adversarials] = ()
    quiet: bool = False
    keep_adversarials: bool = False

    @property
    def folder(self) -> Path:
        """Where this protocol's cells go."""
        return self.out / self.protocol.name


@dataclass(frozen=True)
class Summary:
    """What a run did: cells evaluated, cells that were there already, rows that could not run."""

    evaluated: int
    reused: int
    not_run: list[NotRun]


def run(request: Request) -> Summary:
    """Evaluate every cell of the request that is not finished.

    Raises `InputError` for what cannot be asked; where one of several data sets or models cannot run, the others do and
    the row says why.
    """
    attacks = chosen_attacks(request.protocol, request.attacks)
    data_sets, not_run = _load_data(request)
    plans = {name: _plan(request, attacks, data) for name, data in data_sets.items()}
    subjects = [subject for subject in request.subjects if subject.dataset in data_sets]
    _write_plan(request, attacks)
    evaluated = reused = 0
    with Progress(sum(len(plans[subject.dataset]) for subject in subjects), request.quiet) as progress:
        for row in not_run:
            progress.note(f"not run: {row.reason.partition(' (')[0]}; the tables say how to provide it")
        for subject in subjects:
            data_set = data_sets[subject.dataset]
            try:
                done, kept = _run_model(request, subject, data_set, plans[subject.dataset], progress)
            except ModelFaultError as trouble:
                if len(request.subjects) == 1:
                    _write_outcome(request, [*not_run, NotRun(subject.dataset, subject.name, str(trouble))])
                    raise
                progress.note(f"not run: {subject.dataset}/{subject.name}: {trouble}")
                not_run.append(NotRun(subject.dataset, subject.name, str(trouble)))
                continue
            evaluated, reused = evaluated + done, reused + kept
    _write_outcome(request, not_run)
    return Summary(evaluated, reused, not_run)


def _plan(request: Request, attacks: Sequence[str], data_set: Dataset) -> list[PlannedAttack]:
    """The attacks on a data set, worst cases last: they go on from all others."""
    protocol = request.protocol
    from_files = [plan_adversarials(given, norm, protocol, data_set) for given in request.adversarials for norm in FILE_NORMS]
    planned = [plan_attack(protocol, name, data_set) for name in attacks]
    return sorted([*planned, *from_files], key=lambda plan: plan.is_cascade)


def _load_data(request: Request) -> tuple[dict[str, Dataset], list[NotRun]]:
    found: dict[str, Dataset] = {}
    not_run: list[NotRun] = []
    for name in request.datasets:
        request.protocol.plan(name)
        try:
            found[name] = load_dataset(name, "test", request.data)
        except DataNotFoundError as trouble:
            if len(request.datasets) == 1:
                raise
            not_run.append(NotRun(name, "", str(trouble)))
    return found, not_run


def _run_model(
    request: Request, subject: Subject, data_set: Dataset, plans: Sequence[PlannedAttack], progress: Progress
) -> tuple[int, int]:
    """Evaluate a model's unfinished cells: how many got finished, how many were there."""
    done, keep = 0, request.keep_adversarials
    model = build(subject)
    cells = [_cell(request, model, plan, data_set) for plan in plans]
    waiting: list[Cell] = []
    for cell in cells:
        # A worst case is looked at again when the cells that it joins are there.
        if (not waiting or not cell.attack.is_cascade) and store.is_finished(cell, with_candidates=keep):
            store.tidy(cell)
            progress.skip()
        else:
            waiting.append(cell)
            if keep and store.is_finished(cell):
                name = f"{cell.attack.name} {subject.dataset}/{subject.name}"
                progress.note(f"{name} was finished without its candidates: attacked again to keep them")
    if not waiting:
        return 0, len(cells)
    others = [cell.attack.name for cell in waiting if store.is_of_another_model(cell)]
    if others:
        progress.note(
            f"warning: {subject.dataset}/{subject.name} has cells of other weights or other code, which are replaced "
            f"({', '.join(others)}): another --out keeps both"
        )
    kept = len(cells) - len(waiting)
    device = choose_device(request.device)
    with prepared(model.network, device, channels_last=subject.source == "registry") as network:
        seen = sorted({index for cell in waiting for index in cell.attack.indices})
        place, everything = {index: at for at, index in enumerate(seen)}, data_set.select(seen)
        clean = look_clean(network, everything.images.to(device), everything.labels.to(device), subject.head)
        if clean.output != "logits":
            progress.note(f"warning: {subject.dataset}/{subject.name} returns {clean.output}, not logits: its row is marked")
        for cell in waiting:
            if cell.attack.is_cascade and store.is_finished(cell, with_candidates=keep):
                progress.skip()
                kept += 1
                continue
            moved = store.make_room(cell)
            if moved:
                progress.note(f"warning: {moved}")
            own = torch.as_tensor([place[index] for index in cell.attack.indices])
            part = replace(clean, correct=clean.correct.cpu()[own], confidence=clean.confidence.cpu()[own])
            done += _run_cell(request, cell, network, part, device, progress)
    return done, kept


def _cell(request: Request, model: BuiltModel, plan: PlannedAttack, data_set: Dataset) -> Cell:
    examples = data_set.select(plan.indices)
    path = cell_path(request.folder, data_set.name, model.subject.name, plan.name)
    return Cell(request.protocol, model, plan, examples, examples.fingerprint(), path)


def _run_cell(
    request: Request, cell: Cell, network: torch.nn.Module, clean: Clean, device: torch.device, progress: Progress
) -> bool:
    """Evaluate this process's share of a cell; whether the cell is finished with it."""
    which, shards = request.shard
    journal = store.Journal(cell, f"{which}-of-{shards}")
    batches = journal.read(with_candidates=request.keep_adversarials)
    if not batches:
        for record in store.left_before(cell):
            journal.append(record)
        batches = journal.read(with_candidates=request.keep_adversarials)
    started = store.now()
    n = len(cell.attack.indices)
    joined = store.fellows(cell) if cell.attack.is_cascade else []
    taken_over = BatchRecord(fooled_already(joined, cell.attack.indices))
    finished = {example.index for batch in [*batches, taken_over] for example in batch.examples}
    mine = [position for position in range(which, n, shards) if cell.attack.indices[position] not in finished]
    task = Task(
        network,
        clean.head,
        cell.examples,
        cell.attack.indices,
        clean,
        cell.attack.bind(clean.head),
        cell.attack.name,
        cell.attack.threat,
        cell.protocol.seed,
        device,
        request.keep_adversarials,
    )
    sizer = make_sizer(request.batch_size, device, first=8 if cell.attack.is_cascade else 32)
    title = f"{cell.examples.name}/{cell.model.subject.name}"
    progress.begin(cell.attack.name, title, n, len(finished), _fooled([*batches, taken_over]))
    for record in evaluate_examples(task, mine, sizer):
        journal.append(record)
        progress.advance(len(record.examples), _fooled([record]))
    # Other shards may have finished meanwhile: whoever finds every example there writes the cell. A cell that a worst case
    # joins may have been finished after an example survived the cascade: what it fooled is fooled.
    joined = store.fellows(cell) if cell.attack.is_cascade else []
    batches = journal.read(with_candidates=request.keep_adversarials)
    batches = [*batches, BatchRecord(fooled_already(joined, cell.attack.indices))]
    examples = latest(batches)
    complete = len(examples) == n
    if complete:
        result = assemble(cell, clean, batches, str(device), started, joined)
        store.finish(cell, result, examples, with_candidates=request.keep_adversarials)
        if result.outcome.n_attack_failures:
            reason = next(iter(result.outcome.failure_reasons))
            progress.note(
                f"warning: {cell.attack.name} failed on {result.outcome.n_attack_failures} examples of {title}: {reason}"
            )
    elif request.keep_adversarials and any(lacks_candidates(record) for record in journal.read(with_candidates=False)):
        progress.note(f"{cell.attack.name} {title} waits: another shard keeps no candidates; run it with --keep-adversarials too")
    progress.end()
    return complete


def _fooled(batches: Sequence[BatchRecord]) -> int:
    """How many an attack brought down: an example that is wrong from the start is none, whatever became of its confidence."""
    return sum(example.fooled and example.correct_clean for batch in batches for example in batch.examples)


def _write_plan(request: Request, names: Sequence[str]) -> None:
    """Say in the manifest what this run means to fill, before it starts, so that a missing cell shows."""
    old = read_manifest(request.folder)
    planned = {name: dict(models) for name, models in (old.planned if old else {}).items()}
    for subject in request.subjects:
        attacks = planned.setdefault(subject.dataset, {}).setdefault(subject.name, [])
        from_files = [file_attack(given, norm) for given in request.adversarials for norm in FILE_NORMS]
        wanted = dict.fromkeys([*attacks, *names, *from_files])
        planned[subject.dataset][subject.name] = _in_order(wanted, request.protocol.attacks)
    block = ProtocolBlock(request.protocol.name, request.protocol.version)
    not_run, own = list(old.not_run) if old else [], list(request.protocol.attacks)
    write_manifest(Manifest(block, request.protocol.title, planned, not_run, own), request.folder)
    write_schema(request.folder)


def _in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """The protocol's order; a library's attack stands beside the attack here that does the same."""

    def place(name: str) -> tuple[int, bool]:
        own = name.rpartition(":")[2]
        return order.index(own) if own in order else len(order), ":" in name

    return sorted(names, key=place)


def _write_outcome(request: Request, not_run: Sequence[NotRun]) -> None:
    """Replace the notes on what this run covered by what it found."""
    manifest = read_manifest(request.folder)
    if manifest is None:
        raise InputError(f"{request.folder} lost its manifest while the run was going on: run again")
    covered = {(subject.dataset, subject.name) for subject in request.subjects} | {(name, "") for name in request.datasets}
    kept = [row for row in manifest.not_run if (row.dataset, row.model) not in covered]
    write_manifest(replace(manifest, not_run=[*kept, *not_run]), request.folder)
