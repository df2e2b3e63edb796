"""`robustboard train`: joins a data set, a recipe and, for adversarial training, an attack; writes the registry entry."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn
from tqdm import tqdm

from robustboard.attacks.adversaries import divergent, projected_gradient
from robustboard.benchmark.datasets import CLASSES, Dataset, check_dataset_name, load_dataset
from robustboard.benchmark.environment import choose_device, current_environment, multiplies_bfloat16
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.memory import forget_peak, peak_of
from robustboard.benchmark.results import write_atomically
from robustboard.models import registry
from robustboard.models.architectures import build_network
from robustboard.models.recipe import Recipe, RecipeError, parse_recipe
from robustboard.models.registry import ModelCard, RegistryError
from robustboard.models.training import TrainingError, TrainingSettings, default_settings, train
from robustboard.models.training.loop import FAILED, EpochRecord, Perturb, Workplace


def train_model(
    name: str,
    *,
    data: Path | None,
    device: str,
    home: Path = registry.HOME,
    seed: int | None = None,
    epochs: int | None = None,
    tags: tuple[str, ...] = (),
) -> ModelCard:
    """Train `name` ("mnist/relu"), resume if a run was cut short, and write checkpoint, curve and entry under `home`.

    The settings are the entry's where there is one, else the recipe's defaults; `seed` and `epochs` override them. Raises
    `InputError` where they would make the registry's own entry of that name say what its name or its defaults do not.
    """
    dataset_name, recipe = parse_name(name)
    known = registry.read_cards(home).get(name) or registry.read_cards().get(name)
    if home == registry.HOME:
        _refuse_overrides(name, dataset_name, recipe, seed, epochs if known else None)
    _require_writable(home)
    settings = (known.training if known else None) or default_settings(dataset_name, recipe)
    settings = replace(settings, seed=settings.seed if seed is None else seed, epochs=epochs or settings.epochs)
    torch.manual_seed(settings.seed)
    network = untrained(name)
    data_set, test = load_dataset(dataset_name, "train", data), load_dataset(dataset_name, "test", data)
    if recipe.half:
        data_set = data_set.select(half_of(data_set.labels, recipe.half))
    workplace = _workplace(name, dataset_name, home, choose_device(device))
    forget_peak(workplace.device)
    steps = settings.epochs * (len(data_set.labels) // settings.batch_size)
    with tqdm(total=steps, desc=name, unit="step", mininterval=1.0) as bar:
        try:
            curve = train(
                network,
                data_set.images,
                data_set.labels,
                recipe,
                settings,
                workplace,
                perturb=_perturb(settings),
                probe=_probe(settings),
                on_epoch=lambda record: _log(bar, record, settings, steps),
                on_step=lambda epoch, step, loss: _tick(bar, loss),
            )
        except TrainingError as trouble:
            raise InputError(f"{name}: {trouble}") from trouble
        except torch.OutOfMemoryError as trouble:
            raise InputError(f"{name}: the device's memory is full: free some, or train with --device cpu") from trouble
    peak = peak_of(workplace.device)
    tqdm.write(f"{name}: at most {peak / 1e9:.2f} GB of memory")
    kept = workplace.resume_file
    try:
        card = _store(name, network, curve, settings, home, test, known, tags, peak)
    except InputError as trouble:
        raise InputError(f"{trouble}; its epochs stay in {kept}: remove the file to train anew") from trouble
    if kept is not None:
        kept.unlink(missing_ok=True)
    return card


def _refuse_overrides(name: str, dataset: str, recipe: Recipe, seed: int | None, epochs: int | None) -> None:
    if seed is not None and seed != recipe.seed:
        other = replace(recipe, seed=seed)
        raise InputError(f"{name} has seed {recipe.seed}: train {dataset}/{other}, or give another folder with --out")
    if epochs is not None:
        raise InputError(f"{name} is in the registry: to train it for --epochs {epochs} give another folder with --out")


def accuracy(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of examples whose own logit is strictly the largest, in float32."""
    with torch.inference_mode():
        batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
        right = sum(int(_is_right(network(x.to(_device(network))).cpu(), y).sum()) for x, y in batches)
    return right / len(labels)


def _is_right(logits: Tensor, labels: Tensor) -> Tensor:
    own = logits.gather(1, labels[:, None])
    return (own > logits.scatter(1, labels[:, None], -torch.inf)).all(1)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _require_writable(home: Path) -> None:
    """Find out before the training, not after it, that its result cannot be written."""
    probe = home / "checkpoints" / ".probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as trouble:
        raise InputError(f"cannot write below {home}: {trouble.strerror}; choose another folder with --out") from trouble


def parse_name(name: str) -> tuple[str, Recipe]:
    """Data set and recipe of "mnist/relu". Raises `InputError` where either does not read."""
    dataset_name, _, recipe_name = name.partition("/")
    check_dataset_name(dataset_name)
    try:
        return dataset_name, parse_recipe(recipe_name)
    except RecipeError as trouble:
        raise InputError(str(trouble)) from trouble


def untrained(name: str) -> nn.Module:
    """The network of "mnist/relu", drawn anew. Raises `InputError` where the data set's network cannot have the recipe's parts,
    and where its checkpoint would be too large for the registry."""
    dataset_name, recipe = parse_name(name)
    try:
        network = build_network(dataset_name, recipe)
        registry.compact(network, name)
    except (RecipeError, RegistryError) as trouble:
        raise InputError(str(trouble)) from trouble
    return network


def half_of(labels: Tensor, half: int) -> list[int]:
    """The indices of half 1 or 2 of the examples labelled so (N,), each class shared out evenly. Drawn once for all, because the
    order of a data set can tell where its images come from: MNIST's of even index are harder than those of odd index."""
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    by_class = drawn[labels[drawn].argsort(stable=True)]
    return sorted(by_class[half - 1 :: 2].tolist())


def _workplace(name: str, dataset_name: str, home: Path, device: torch.device) -> Workplace:
    root = home
    if home == registry.HOME:  # a checkout is no place for them; two checkouts' runs are two
        checkout = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]
        root = Path(platformdirs.user_cache_dir("robustboard")) / checkout
    # On digits the batches are too small for bfloat16 to repay its conversions.
    bfloat16 = dataset_name != "digits" and multiplies_bfloat16(device)
    resume_file = root / "training" / f"{name.replace('/', '-')}.pt"
    return Workplace(device, bfloat16, resume_file, current_environment()["git_commit"])


def _perturb(settings: TrainingSettings) -> Perturb | None:
    if not settings.epsilon:
        return None
    adversary = divergent if settings.divergence_weight else projected_gradient
    return partial(adversary, epsilon=settings.epsilon, step=settings.step, steps=settings.attack_steps)


def _probe(settings: TrainingSettings) -> Perturb | None:
    """Ten steps, where the adversary takes one."""
    if not settings.epsilon or settings.attack_steps > 1:
        return None
    return partial(projected_gradient, epsilon=settings.epsilon, step=0.25, steps=10)


def _log(bar: tqdm[Any], record: EpochRecord, settings: TrainingSettings, steps: int) -> None:
    known = record.epoch * steps // settings.epochs
    if known > bar.n:  # kept from a run that was cut short: no part of this one's speed
        bar.initial = bar.last_print_n = known
    bar.n = known
    bar.write(
        f"epoch {record.epoch}/{settings.epochs}  loss {record.loss:.4f}  "
        f"training accuracy {record.accuracy:.2%}  {record.seconds:.0f} s"
    )


def _tick(bar: tqdm[Any], loss: float) -> None:
    bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
    bar.update()


def _store(
    name: str,
    network: nn.Module,
    curve: list[EpochRecord],
    settings: TrainingSettings,
    home: Path,
    test: Dataset,
    known: ModelCard | None,
    tags: tuple[str, ...],
    peak_memory_bytes: int,
) -> ModelCard:
    _, recipe = parse_name(name)
    environment = current_environment()  # before files are written that git does not know
    try:
        card = registry.stored(
            network.float().cpu().eval(),
            name,
            f"robustboard train {shlex.quote(name)}",
            lambda found: accuracy(found, test.images, test.labels),
            home,
            above=FAILED / CLASSES,
            training=settings,
            tags=list(tags) or (known.tags if known else []),
            references=known.references if known else _references(recipe),
        )
    except RegistryError as trouble:
        raise InputError(str(trouble)) from trouble
    log = {
        "name": name,
        "settings": asdict(settings),
        "environment": environment,
        "peak_memory_bytes": peak_memory_bytes,
        "epochs": [asdict(record) for record in curve],
        "clean_accuracy": card.clean_accuracy,
    }
    write_atomically(home / "curves" / f"{card.stem}.json", json.dumps(log, indent=1) + "\n")
    # The entry last: a new model that the registry names has all that belongs to it.
    registry.write_card(card, home)
    return card


def _references(recipe: Recipe) -> list[str]:
    sources = []
    if recipe.pieces.total > 1:
        sources.append("Goodfellow et al. 2013, Maxout networks")
    if recipe.neuron in {"elliptical", "spherical"}:
        sources.append("Moody & Darken 1989, Fast learning in networks of locally-tuned processing units")
    adversaries = {
        "fast_at": "Wong, Rice & Kolter 2020, Fast is better than free",
        "pgd_at": "Madry et al. 2018, Towards deep learning models resistant to adversarial attacks",
        "trades": "Zhang et al. 2019, Theoretically principled trade-off between robustness and accuracy",
    }
    return [*sources, *(source for name, source in adversaries.items() if name == recipe.adversary)]
