"""`train` and `add`: registry models, by their own recipes, or from a checkpoint trained elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from robustboard.benchmark.adding import add_model, doubt
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.options import checked_device
from robustboard.benchmark.training import train_model
from robustboard.models import plan, registry


@click.command("train")
@click.argument("names", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the training data; the only place looked at.")
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=int, help="Another seed than the entry's; wants --out.")
@click.option("--epochs", type=int, help="Another number of epochs; where there is an entry, wants --out.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write entry, checkpoint and curve there instead of into the registry.",
)
@click.option("--tag", "tags", multiple=True, help="Tag a new entry, for instance with quick.")
@click.option("--again", is_flag=True, help="Train those, too, that a glob names and the registry has.")
def train_command(
    names: tuple[str, ...],
    data: Path | None,
    device: str,
    seed: int | None,
    epochs: int | None,
    out: Path | None,
    tags: tuple[str, ...],
    again: bool,
) -> None:
    """Train models, NAME like mnist/relog-maxout_4, or globs over the registry and what is planned for it ('mnist/*-seed_*');
    a run that was cut short goes on at its last epoch. Of several the others go on where one fails."""
    if epochs is not None and epochs < 1:
        raise InputError(f"--epochs must be at least 1, got {epochs}")
    home = out or registry.HOME
    known = registry.read_cards(home)
    try:
        chosen = plan.matching(names, [*registry.read_cards(), *known])
    except ValueError as trouble:
        raise InputError(str(trouble)) from trouble
    failed: list[str] = []
    for name in chosen:
        if name in known and name not in names and not again:
            print(f"{name}: is in the registry; --again trains it again")
            continue
        try:
            card = train_model(name, data=data, device=checked_device(device), home=home, seed=seed, epochs=epochs, tags=tags)
        except InputError as trouble:
            if len(chosen) == 1:
                raise
            failed.append(name)
            print(f"error: {trouble}", file=sys.stderr)
            continue
        print(f"{card.name}: clean accuracy {card.clean_accuracy:.2%} on the full test set; written to {home}")
    if failed:
        raise InputError(f"{len(failed)} of {len(chosen)} models were not trained: {', '.join(failed)}")


@click.command("add")
@click.argument("name")
@click.option(
    "--from", "checkpoint", type=click.Path(path_type=Path), required=True, help=".safetensors, or .pth of tensors only."
)
@click.option("--sha256", help="The hash that the file is to have, as whoever trained it tells it.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the test data; the only place looked at.")
@click.option("--out", type=click.Path(path_type=Path), help="Write entry and checkpoint there instead of into the registry.")
@click.option("--tag", "tags", multiple=True, help="Tag the entry, for instance with quick.")
def add_command(
    name: str, checkpoint: Path, sha256: str | None, data: Path | None, out: Path | None, tags: tuple[str, ...]
) -> None:
    """Put a checkpoint trained elsewhere into the registry as NAME, like mnist/relog-maxout_4, after looking at it: hash, clean
    accuracy, the same answer twice and beside other images, a gradient, images in [0, 1], logits."""
    home = out or registry.HOME
    card = add_model(name, checkpoint, data=data, home=home, tags=tags, sha256=sha256)
    print(f"{card.name}: clean accuracy {card.clean_accuracy:.2%} on the full test set; written to {home}")
    if doubted := doubt(card):
        print(f"warning: {doubted}", file=sys.stderr)
