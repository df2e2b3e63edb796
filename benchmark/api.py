"""`robustboard.evaluate`: the same attacks, judge and record as the command line's, for a model and images in memory."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import check_batch
from robustboard.benchmark import store
from robustboard.benchmark.assembly import assemble
from robustboard.benchmark.cascade import fooled_already
from robustboard.benchmark.cells import Cell, build, chosen_attacks, plan_attack
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.diagnose import checks
from robustboard.benchmark.diagnose.examination import EXAMPLES, Examination
from robustboard.benchmark.environment import choose_device
from robustboard.benchmark.errors import DoubtWarning, InputError
from robustboard.benchmark.evaluate import BatchRecord, Task, evaluate_examples, make_sizer
from robustboard.benchmark.judge import Clean, look_clean, prepared
from robustboard.benchmark.protocols import DatasetPlan, Protocol, load_protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.diagnoses import is_told
from robustboard.benchmark.report.marks import marks
from robustboard.benchmark.subjects import Subject
from robustboard.models.recipe import Head

QUICK = (1, 5, 6)
"""The checks of `robustboard diagnose` that cost a few passes: gradients that are zero or not there, answers that change."""
_BY_SHAPE: dict[tuple[int, ...], str] = {(1, 8, 8): "digits", (1, 28, 28): "mnist", (3, 32, 32): "cifar10"}


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[str] | None = None,
    *,
    protocol: str = "standard",
    budgets: dict[str, float] | None = None,
    head: Head | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
) -> dict[str, CellResult]:
    """Attack a model in memory; one record an attack, by name, the same that a run writes to its files.

    Images (N, C, H, W) float in [0, 1], labels (N,) integers, the model returns logits (N, K). The strengths are those of
    `protocol` for the data set whose images have this shape; for other shapes, or other radii, give `budgets` with the keys
    "linf" (L∞ radius), "l2" (L2 radius) and "gamma" (share of features). `attacks` None takes the protocol's. `head` says how
    logits become confidences; None takes a `load_model` network's own, "softmax" for any other. The model's modes, gradients and
    parameters are left as they were; so is how the process gets its memory, and on a processor `keep_freed_memory()` before it
    saves up to a third of the time. Warns, by `DoubtWarning`, of numbers that are not to be believed: attacks that failed,
    outputs that are no logits, gradients that are zero, answers that change from call to call.
    Raises `InputError` (or its `ModelFaultError`) for what cannot be evaluated.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}; an nn.Module is wanted")
    try:
        check_batch(images, labels)
    except ValueError as trouble:
        raise InputError(str(trouble)) from trouble
    attacks = [attacks] if isinstance(attacks, str) else attacks
    chosen = load_protocol(protocol)
    plan = _plan(chosen.datasets, tuple(images.shape[1:]), budgets, len(labels))
    chosen = replace(chosen, name=f"{chosen.name}@memory", datasets={"memory": plan}, seed=seed)
    data_set = Dataset("memory", "test", images.detach().cpu().float(), labels.detach().cpu().long())
    head = _head_of(model, head)
    built = build(Subject(type(model).__name__, "memory", "memory", head, lambda: model))
    where = choose_device(device)
    with prepared(model, where) as network:
        clean = look_clean(network, data_set.images.to(where), data_set.labels.to(where), head)
        clean = replace(clean, correct=clean.correct.cpu(), confidence=clean.confidence.cpu())
        results: dict[str, CellResult] = {}
        for name in chosen_attacks(chosen, attacks):
            planned = plan_attack(chosen, name, data_set)
            cell = Cell(chosen, built, planned, data_set, data_set.fingerprint(), Path(tempfile.gettempdir()))
            results[name] = _attack(cell, network, clean, where, batch_size, list(results.values()))
        doubts = [*marks(results), *_failed_checks(network, clean, data_set, chosen, where)] if results else []
    if doubts:
        warnings.warn(f"these numbers are not to be believed: {'; '.join(doubts)}", DoubtWarning, stacklevel=2)
    return results


def _head_of(model: nn.Module, given: Head | None) -> Head:
    head = given or getattr(model, "confidence_head", "softmax")
    if head not in get_args(Head):
        raise InputError(f"head {head!r} makes no confidences of logits; softmax and sigmoid do")
    return cast(Head, head)


def _attack(
    cell: Cell, network: nn.Module, clean: Clean, where: torch.device, batch_size: int | None, done: Sequence[CellResult]
) -> CellResult:
    """One cell in memory; a worst case goes on from what is `done` in its norm."""
    planned, examples = cell.attack, cell.examples
    task = Task(
        network,
        clean.head,
        examples,
        planned.indices,
        clean,
        planned.bind(clean.head),
        planned.name,
        planned.threat,
        cell.protocol.seed,
        where,
    )
    started = store.now()
    joined = [other for other in done if other.attack.norm == planned.threat.norm] if planned.is_cascade else []
    taken_over = fooled_already(joined, planned.indices)
    waiting = sorted(set(range(len(examples.labels))) - {example.index for example in taken_over})
    batches = list(evaluate_examples(task, waiting, make_sizer(batch_size, where)))
    return assemble(cell, clean, [BatchRecord(taken_over), *batches], str(where), started, joined)


def _failed_checks(network: nn.Module, clean: Clean, data_set: Dataset, protocol: Protocol, where: torch.device) -> list[str]:
    """What the quick checks find on the first few dozen examples, a sentence each."""
    indices = range(min(EXAMPLES, len(data_set.labels)))
    few = data_set.select(indices)
    few = replace(few, images=few.images.to(where), labels=few.labels.to(where))
    seen = replace(clean, correct=clean.correct[: len(indices)], confidence=clean.confidence[: len(indices)])
    examination = Examination(network, seen, few, indices, protocol)
    found = [checks.observe(check, examination) for check in checks.CHECKS if check.number in QUICK]
    return [f"check {finding.number}: {finding.reason}" for finding in found if is_told(finding)]


def _plan(
    plans: dict[str, DatasetPlan],
    shape: tuple[int, ...],
    budgets: dict[str, float] | None,
    n: int,
) -> DatasetPlan:
    unknown = sorted(set(budgets or {}) - {"linf", "l2", "gamma"})
    if unknown:
        raise InputError(f"budgets have no {unknown[0]!r}; they have linf, l2 and gamma")
    known = _BY_SHAPE.get(shape)
    plan = plans.get(known) if known else None
    if plan is None:
        if budgets is None or set(budgets) != {"linf", "l2", "gamma"}:
            raise InputError(
                f"the protocol has no budgets for images of shape {shape}: give budgets={{'linf': …, 'l2': …, 'gamma': …}}"
            )
        return DatasetPlan(n=n, linf=budgets["linf"], l2=budgets["l2"], gamma=budgets["gamma"])
    given = {"linf": plan.linf, "l2": plan.l2, "gamma": plan.gamma, **(budgets or {})}
    return replace(plan, n=n, fewer={}, linf=given["linf"], l2=given["l2"], gamma=given["gamma"])
