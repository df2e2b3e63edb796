"""The training loop: seeded, resumable after any kill at the last finished epoch, loud when training goes wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustboard.models.recipe import Recipe
from robustboard.models.training.batches import Batch, batches
from robustboard.models.training.initialisation import initialise_from
from robustboard.models.training.objective import objective
from robustboard.models.training.settings import TrainingSettings
from robustboard.models.units import ReLUReLog

Perturb = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""(model, images, labels, keys (N,) int64) -> perturbed images: the attack of adversarial training."""
Report = Callable[["EpochRecord"], None]
Tick = Callable[[int, int, float], None]
FAILED = 2.0
"""How many times chance a trained network has to be right more often than: networks of 17 % had gone into the logs' tables."""
PROBED = 256
"""How many training images the network is probed on after each epoch."""


class TrainingError(RuntimeError):
    """Training cannot go on or did not work: the loss is not finite, accuracy stays at chance, or it holds against one step
    only."""


@dataclass(frozen=True)
class EpochRecord:
    """One point of the training curve: means over the epoch's (augmented, perhaps perturbed) training images. `probed`: the
    accuracy against several steps where the adversary takes one (see `_refuse_overfitting`). `commit`: of the code that trained
    it, since a run can be resumed by another."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    probed: float | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Workplace:
    """Where and how to compute: device, whether to autocast to bfloat16, the file that lets a run resume, the code's commit."""

    device: torch.device
    bfloat16: bool
    resume_file: Path | None = None
    commit: str | None = None


@dataclass(frozen=True)
class _State:
    """What a resumed run needs back."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    settings: TrainingSettings,
    workplace: Workplace,
    *,
    perturb: Perturb | None = None,
    probe: Perturb | None = None,
    on_epoch: Report = lambda record: None,
    on_step: Tick = lambda epoch, step, loss: None,
) -> list[EpochRecord]:
    """Train `network` in place on `images` (N, C, H, W) in [0, 1] and `labels` (N,); the curve comes back.

    The same settings give the same network on the same machine, resumed or not: every epoch draws from its own generator.
    `perturb` is the adversary, `probe` a stronger one, which the network is shown after each epoch without learning from it.
    Raises `TrainingError` when the loss is not finite, when accuracy is near chance from half-way on, when the probe finds
    catastrophic overfitting, or when the resume file belongs to other settings or another network.
    """
    network.to(workplace.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = images.to(workplace.device), labels.to(workplace.device)
    steps = len(images) // settings.batch_size
    state = _begin(network, settings, steps)
    curve = _resume(workplace.resume_file, settings, state)
    if settings.initialise and not curve:
        initialise_from(network, next(batches(images, labels, recipe, settings, 0)).images)
    for record in curve:
        on_epoch(record)
    for epoch in range(len(curve), settings.epochs):
        started = time.perf_counter()
        network.train()
        total_loss, correct, seen, classes = 0.0, 0, 0, 0
        for step, batch in enumerate(batches(images, labels, recipe, settings, epoch)):
            _anneal(network, settings, (epoch * steps + step) / (settings.epochs * steps))
            logits, loss = _step(state, batch, recipe, settings, workplace, perturb)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}: lower the learning rate")
            total_loss += loss * len(logits)
            correct += int((logits.argmax(1) == batch.labels).sum())
            seen, classes = seen + len(logits), logits.shape[1]
            on_step(epoch, step, loss)
        _anneal(network, settings, (epoch + 1) / settings.epochs)
        probed = None if probe is None else _probe(network, images[:PROBED], labels[:PROBED], probe)
        seconds = time.perf_counter() - started
        record = EpochRecord(epoch + 1, total_loss / seen, correct / seen, seconds, probed, workplace.commit)
        curve.append(record)
        _refuse_chance(curve, settings, classes)
        if perturb is not None and probed is not None:
            _refuse_overfitting(epoch + 1, _probe(network, images[:PROBED], labels[:PROBED], perturb), probed, classes)
        _save(workplace.resume_file, settings, state, curve)
        on_epoch(record)
    network.eval()
    return curve


def _begin(network: nn.Module, settings: TrainingSettings, steps: int) -> _State:
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=steps * settings.epochs, pct_start=0.25
    )
    return _State(network, optimizer, schedule)


def _step(
    state: _State,
    batch: Batch,
    recipe: Recipe,
    settings: TrainingSettings,
    workplace: Workplace,
    perturb: Perturb | None,
) -> tuple[Tensor, float]:
    """One step of the optimiser: the logits it saw and its loss. A loss that is not finite moves nothing."""
    with torch.autocast(workplace.device.type, dtype=torch.bfloat16, enabled=workplace.bfloat16):
        try:
            seen = batch.images if perturb is None else _perturbed(state.network, batch, perturb)
        except FloatingPointError as trouble:
            raise TrainingError(f"the adversary failed ({trouble}): lower the learning rate") from trouble
        logits, loss = objective(state.network, batch.images, seen, batch.labels, batch.negatives, recipe, settings)
    if math.isfinite(loss.item()):
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        state.schedule.step()
    return logits.detach(), loss.item()


def _perturbed(network: nn.Module, batch: Batch, perturb: Perturb) -> Tensor:
    """The adversary's images. It asks for no gradient of the weights, and networks that know take a faster way back."""
    network.requires_grad_(False)
    try:
        return perturb(network, batch.images, batch.labels, batch.keys)
    finally:
        network.requires_grad_(True)


def _anneal(network: nn.Module, settings: TrainingSettings, progress: float) -> None:
    """Where ReLU turns into ReLog: by how much it has, `progress` (0 to 1) into the training."""
    for module in network.modules():
        if isinstance(module, ReLUReLog):
            module.anneal(1.0 if not settings.anneal else min(1.0, progress / settings.anneal))


def _probe(network: nn.Module, images: Tensor, labels: Tensor, probe: Perturb) -> float:
    """Accuracy, in evaluation mode, against an adversary."""
    network.eval()
    keys = torch.arange(len(labels), device=labels.device)
    with torch.no_grad():
        answers = network(probe(network, images, labels, keys)).argmax(1)
    return float((answers == labels).float().mean())


def _refuse_overfitting(epoch: int, trained: float, probed: float, classes: int) -> None:
    """Catastrophic overfitting (Wong, Rice & Kolter 2020, section 5.4): right, on the same images, against the one step it
    trains with, wrong against several."""
    if trained > FAILED / classes and probed < trained / 4:
        raise TrainingError(
            f"catastrophic overfitting at epoch {epoch}: {trained:.1%} right against one step, "
            f"{probed:.1%} against several; train with pgd_at"
        )


def _refuse_chance(curve: list[EpochRecord], settings: TrainingSettings, classes: int) -> None:
    """From half-way on; the latest two epochs, so that a network is refused that had learnt and lost it."""
    half_way = len(curve) >= max(1, settings.epochs // 2)
    if half_way and max(record.accuracy for record in curve[-2:]) <= FAILED / classes:
        raise TrainingError(
            f"accuracy is {curve[-1].accuracy:.1%} after {len(curve)} of {settings.epochs} epochs, little better than chance: "
            "lower the learning rate"
        )


def _save(path: Path | None, settings: TrainingSettings, state: _State, curve: list[EpochRecord]) -> None:
    if path is None:
        return
    saved = {
        "settings": asdict(settings),
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": {key: value for key, value in state.schedule.state_dict().items() if not callable(value)},
        "curve": [asdict(record) for record in curve],
    }
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(saved, unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as trouble:  # of a full disk torch says the latter
        why = getattr(trouble, "strerror", None) or str(trouble).partition("\n")[0]
        raise TrainingError(f"cannot save the run in {path}: {why}; the epochs before this one are kept") from trouble


def _resume(path: Path | None, settings: TrainingSettings, state: _State) -> list[EpochRecord]:
    if path is None or not path.exists():
        return []
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        same = saved["settings"] == asdict(settings)
    except Exception as trouble:  # damaged bytes can make the reader raise anything
        raise TrainingError(f"{path}, from which to resume, is damaged ({type(trouble).__name__}): remove it") from trouble
    if not same:
        raise TrainingError(f"{path} belongs to a run with other settings: remove it, or train with those settings")
    try:
        state.network.load_state_dict(saved["network"])
    except RuntimeError as trouble:
        raise TrainingError(f"{path} belongs to another network: remove it") from trouble
    state.optimizer.load_state_dict(saved["optimizer"])
    state.schedule.load_state_dict(saved["schedule"])
    return [EpochRecord(**record) for record in saved["curve"]]
