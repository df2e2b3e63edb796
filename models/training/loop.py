"""The training loop: seeded, resumable after any kill at the last finished epoch, loud when training goes wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustboard.models.recipe import Head
from robustboard.models.training.augmentation import augment
from robustboard.models.training.settings import TrainingSettings

Perturb = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""(model, images, labels, keys (N,) int64) -> perturbed images: the attack of adversarial training."""
Report = Callable[["EpochRecord"], None]
Tick = Callable[[int, int, float], None]


class TrainingError(RuntimeError):
    """Training cannot go on or did not work: the loss is not finite, or accuracy stays at chance."""


@dataclass(frozen=True)
class EpochRecord:
    """One point of the training curve: means over the epoch's (augmented, perhaps perturbed) training images."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Workplace:
    """Where and how to compute: device, whether to autocast to bfloat16, and the file that lets a run resume."""

    device: torch.device
    bfloat16: bool
    resume_file: Path | None = None


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
    head: Head,
    settings: TrainingSettings,
    workplace: Workplace,
    *,
    perturb: Perturb | None = None,
    on_epoch: Report = lambda record: None,
    on_step: Tick = lambda epoch, step, loss: None,
) -> list[EpochRecord]:
    """Train `network` in place on `images` (N, C, H, W) in [0, 1] and `labels` (N,); the curve comes back.

    The same settings give the same network on the same machine, resumed or not: every epoch draws from its own
    generator. Raises `TrainingError` when the loss is not finite, when accuracy is still at chance half-way, or when
    the resume file belongs to other settings.
    """
    network.to(workplace.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = images.to(workplace.device), labels.to(workplace.device)
    state = _begin(network, settings, len(images) // settings.batch_size)
    curve = _resume(workplace.resume_file, settings, state)
    for record in curve:
        on_epoch(record)
    for epoch in range(len(curve), settings.epochs):
        started = time.perf_counter()
        network.train()
        total_loss, correct, seen, classes = 0.0, 0, 0, 0
        for step, (batch, target, keys) in enumerate(_batches(images, labels, settings, epoch)):
            logits, loss = _step(state, batch, target, keys, head, settings, workplace, perturb)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}: lower the learning rate")
            total_loss += loss * len(target)
            correct += int((logits.argmax(1) == target).sum())
            seen, classes = seen + len(target), logits.shape[1]
            on_step(epoch, step, loss)
        record = EpochRecord(epoch + 1, total_loss / seen, correct / seen, time.perf_counter() - started)
        curve.append(record)
        _refuse_chance(curve, settings, classes, seen)
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
    batch: Tensor,
    target: Tensor,
    keys: Tensor,
    head: Head,
    settings: TrainingSettings,
    workplace: Workplace,
    perturb: Perturb | None,
) -> tuple[Tensor, float]:
    """One step of the optimiser: the logits it saw and its loss. A loss that is not finite moves nothing."""
    with torch.autocast(workplace.device.type, dtype=torch.bfloat16, enabled=workplace.bfloat16):
        try:
            seen = batch if perturb is None else perturb(state.network, batch, target, keys)
        except FloatingPointError as trouble:
            raise TrainingError(f"the adversary failed ({trouble}): lower the learning rate") from trouble
        logits: Tensor = state.network(seen.contiguous(memory_format=torch.channels_last)).float()
    loss = _loss(logits, target, head, settings)
    if math.isfinite(loss.item()):
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        state.schedule.step()
    return logits.detach(), loss.item()


def _batches(images: Tensor, labels: Tensor, settings: TrainingSettings, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - settings.batch_size + 1, settings.batch_size):
        rows = order[start : start + settings.batch_size]
        keys = torch.randint(2**62, (len(rows),), generator=generator)
        here = rows.to(images.device)
        yield augment(images[here], settings.augmentation, generator), labels[here], keys.to(images.device)


def _loss(logits: Tensor, target: Tensor, head: Head, settings: TrainingSettings) -> Tensor:
    if head == "sigmoid":
        one_hot = F.one_hot(target, logits.shape[1]).to(logits)
        # Summed over the outputs: the mean over ten outputs would shrink the gradient to a tenth of the softmax heads'.
        return (torch.sigmoid(logits) - one_hot).square().sum(1).mean()
    return F.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)


def _refuse_chance(curve: list[EpochRecord], settings: TrainingSettings, classes: int, seen: int) -> None:
    chance = 1 / classes
    bar = chance + 3 * math.sqrt(chance * (1 - chance) / seen)
    half_way = len(curve) >= max(1, settings.epochs // 2)
    if half_way and max(record.accuracy for record in curve) <= bar:
        raise TrainingError(
            f"accuracy is {curve[-1].accuracy:.1%} after {len(curve)} of {settings.epochs} epochs, no better than chance"
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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(saved, unfinished)
    unfinished.replace(path)


def _resume(path: Path | None, settings: TrainingSettings, state: _State) -> list[EpochRecord]:
    if path is None or not path.exists():
        return []
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True)
        same = saved["settings"] == asdict(settings)
    except Exception as trouble:  # damaged bytes can make the reader raise anything
        raise TrainingError(f"{path}, from which to resume, is damaged ({type(trouble).__name__}): remove it") from trouble
    if not same:
        raise TrainingError(f"{path} belongs to a run with other settings: remove it, or train with those settings")
    state.network.load_state_dict(saved["network"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.schedule.load_state_dict(saved["schedule"])
    return [EpochRecord(**record) for record in saved["curve"]]
