"""The command line. Every command parses, calls one room, prints. Exit codes: 0 done, 2 bad input, 130 interrupted."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click
from tabulate import tabulate

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark import protocols
from robustboard.benchmark.canaries import grades
from robustboard.benchmark.canaries.contender import settings_note
from robustboard.benchmark.canaries.run import canaries, chosen_cards, grade_all
from robustboard.benchmark.certify.methods import TIME_LIMIT_S
from robustboard.benchmark.certify.record import MethodName
from robustboard.benchmark.certify.run import CertifyRequest, certify, sentence
from robustboard.benchmark.datasets import DATASETS, check_dataset_name
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.memory import keep_freed_memory
from robustboard.benchmark.options import (
    checked_device,
    chosen_subjects,
    given_adversarials,
    parsed_batch_size,
    parsed_shard,
    words,
)
from robustboard.benchmark.report.publish import Published, publish
from robustboard.benchmark.results import write_atomically
from robustboard.benchmark.run import Request, run
from robustboard.benchmark.training import train_model
from robustboard.models import registry

PROJECT = Path(__file__).resolve().parents[1]
"""The checkout, when there is one; an installed copy writes below the current folder instead."""


def leaderboards() -> Path:
    """Where results go unless --out says otherwise."""
    return (PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()) / "leaderboards"


def main() -> None:
    """Run the command line; bad input ends in one sentence and exit code 2, Ctrl-C in 130."""
    keep_freed_memory()
    try:
        cli.main(standalone_mode=False)
    except InputError as trouble:
        _leave(f"error: {trouble}", 2)
    except registry.RegistryError as trouble:
        _leave(f"error: {trouble}", 2)
    except click.ClickException as trouble:
        trouble.show()
        sys.exit(trouble.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _leave(
            "interrupted: finished batches and epochs are saved; the same command goes on from there",
            130,
        )


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="robustboard")
def cli() -> None:
    """How robust is a small image classifier, and how far can that number be believed?"""


@cli.command("run")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="Name, or path of a TOML file of yours.")
@click.option(
    "--dataset",
    "dataset_names",
    help=f"Comma-separated; default: all of {', '.join(DATASETS)} that the protocol covers.",
)
@click.option("--models", "patterns", help="Comma-separated globs over the registry; default: the protocol's.")
@click.option("--model", "references", multiple=True, help="FILE.py:FUNCTION or robustbench:DATASET/THREAT/NAME.")
@click.option(
    "--head",
    type=click.Choice(["softmax", "sigmoid"]),
    default="softmax",
    help="How a --model's outputs become confidences.",
)
@click.option("--attacks", "attack_names", help="Comma-separated; default: the protocol's.")
@click.option(
    "--adversarials",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Candidates from elsewhere, judged likewise: .npz or .safetensors with images (n, C, H, W) and indices (n,).",
)
@click.option("--n", type=int, help="The first n test examples instead of the protocol's.")
@click.option("--indices", type=click.Path(path_type=Path), help="JSON list of test-set positions instead of the first n.")
@click.option("--eps", type=float, help="Another L∞ radius.")
@click.option("--seed", type=int, help="Another seed.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option("--batch-size", default="auto", show_default=True, help="auto, or a number of examples.")
@click.option("--shard", default="0/1", show_default=True, help="i/k: this process's share of every cell; shards share --out.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with MNIST/ and cifar-10-batches-py/; the only place looked at.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results, one folder a protocol inside; default: leaderboards/ of the checkout.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
def run_command(
    protocol_name: str,
    dataset_names: str | None,
    patterns: str | None,
    references: tuple[str, ...],
    head: str,
    attack_names: str | None,
    files: tuple[Path, ...],
    n: int | None,
    indices: Path | None,
    eps: float | None,
    seed: int | None,
    device: str,
    batch_size: str,
    shard: str,
    data: Path | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Attack models and write one JSON file a cell; finished cells are kept, unfinished ones go on where they stopped."""
    official = protocols.load_protocol(protocol_name)
    protocol = protocols.adjusted(official, n=n, epsilon=eps, indices=indices, seed=seed)
    datasets = [check_dataset_name(name) for name in words(dataset_names)] or list(official.datasets)
    subjects = chosen_subjects(patterns, references, head, datasets, official)
    committed = protocol == official and protocol_name == "standard" and not references
    request = Request(
        protocol=protocol,
        datasets=datasets,
        subjects=subjects,
        attacks=words(attack_names) or None,
        out=out or leaderboards() / ("results" if committed else "runs"),
        data=data,
        device=checked_device(device),
        batch_size=parsed_batch_size(batch_size),
        shard=parsed_shard(shard),
        adversarials=given_adversarials(files, datasets),
        quiet=quiet,
    )
    summary = run(request)
    published = publish([request.folder], "terminal", request.folder / "tables.md")
    _say_troubles(published)
    print(published.text)
    print(f"{summary.evaluated} cells finished, {summary.reused} kept as they were; results in {request.folder}")


@cli.command("certify")
@click.argument("models", nargs=-1, required=True)
@click.option("--dataset", "dataset_name", help=f"{', '.join(DATASETS)}; default: the data sets of the models.")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="Whose examples and ε.")
@click.option("--method", type=click.Choice(get_args(MethodName)), default="crown", show_default=True)
@click.option("--eps", type=float, help="Another L∞ radius than the protocol's.")
@click.option("--n", type=int, help="The first n test examples instead of the protocol's.")
@click.option("--time-limit", type=float, default=TIME_LIMIT_S, show_default=True, help="Seconds a search of --method exact.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the test data; the only place looked at.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the certificates, one folder a protocol inside.")
@click.option("--quiet", is_flag=True, help="No progress.")
def certify_command(
    models: tuple[str, ...],
    dataset_name: str | None,
    protocol_name: str,
    method: MethodName,
    eps: float | None,
    n: int | None,
    time_limit: float,
    data: Path | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Prove a lower bound on robust accuracy for MODELS (globs over the registry, or FILE.py:FUNCTION).

    "interval" is fast and loose, "crown" tighter, "exact" decides every example of a small ReLU network. What an earlier
    call proved is kept.
    """
    if not time_limit > 0:
        raise InputError(f"--time-limit must be above 0 seconds, got {time_limit:g}")
    official = protocols.load_protocol(protocol_name)
    protocol = protocols.adjusted(official, n=n, epsilon=eps, indices=None)
    datasets = [check_dataset_name(dataset_name)] if dataset_name else list(official.datasets)
    files = tuple(name for name in models if ".py:" in name)
    subjects = chosen_subjects(",".join(name for name in models if name not in files), files, "softmax", datasets, official)
    committed = protocol == official and protocol_name == "standard" and not files
    folder = out or leaderboards() / ("results" if committed else "runs")
    for result in certify(CertifyRequest(protocol, subjects, method, folder, data, time_limit, quiet)):
        print(sentence(result))
    print(f"certificates in {folder / protocol.name}")


@cli.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["terminal", "markdown"]), default="terminal", show_default=True)
@click.option("--write", type=click.Path(path_type=Path), help="Also write the tables as Markdown to this file.")
@click.option("--into", multiple=True, type=click.Path(path_type=Path), help="Also put them between the marks of this file.")
def report_command(folders: tuple[Path, ...], style: str, write: Path | None, into: tuple[Path, ...]) -> None:
    """Render the results below FOLDERS as tables."""
    published = publish(list(folders), style, write, into)
    _say_troubles(published)
    print(published.text)


@cli.command("compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--results", type=click.Path(path_type=Path), help="Where the two models' results are; default: the committed ones."
)
def compare_command(a: str, b: str, results: Path | None) -> None:
    """Two models, or two folders of results, side by side with paired differences."""
    from robustboard.benchmark.report.compare import compare  # noqa: PLC0415  (only this command needs it)

    print(compare(a, b, results or leaderboards() / "results" / "standard"), end="")


@cli.command("models")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
def models_command(as_json: bool) -> None:
    """List the registry."""
    cards = registry.read_cards().values()
    if as_json:
        print(json.dumps([asdict(card) for card in cards], indent=1))
        return
    rows = [
        [card.name, f"{card.parameters:,}", f"{card.clean_accuracy:.2%}", card.head, ",".join(card.tags), card.command]
        for card in cards
    ]
    print(tabulate(rows, headers=["model", "parameters", "clean", "head", "tags", "training command"], disable_numparse=True))


@cli.command("attacks")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
def attacks_command(as_json: bool) -> None:
    """List the attacks, and those of the libraries."""
    cards = all_cards().values()
    if as_json:
        keys = ("name", "norm", "aim", "implementation", "version", "source", "needs_gradient")
        print(json.dumps([{key: getattr(c, key) for key in keys} | {"parameters": c.parameters()} for c in cards], indent=1))
        return
    rows = [[c.name, c.norm, c.aim, c.implementation, c.version, c.source] for c in cards]
    print(tabulate(rows, headers=["attack", "norm", "aim", "implementation", "version", "source"], disable_numparse=True))


@cli.command("canaries")
@click.argument("names", metavar="[ATTACK]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Every grade, as JSON.")
@click.option(
    "--write", is_flag=True, help="Also write leaderboards/canaries.md and canaries.json; named attacks replace theirs."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for --write; default: leaderboards/ of the checkout, beside the results.",
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
def canaries_command(names: tuple[str, ...], as_json: bool, write: bool, out: Path | None, workers: int) -> None:
    """Grade implementations, ours and the libraries', on models with known answers; default: all that are installed."""

    cards, notes = chosen_cards(names)
    folder = out or leaderboards()
    found: list[grades.Grade] = []
    for card, mine in zip(cards, grade_all(cards, min(workers, len(cards))), strict=True):
        found += mine
        print(grades.summary(mine, card.name, grades.card_version(card)), file=sys.stderr, flush=True)
        if write:
            grades.update(mine, folder)
    for note in notes:
        print(note, file=sys.stderr)
    if write:
        legend = {canary.name: canary.asks for canary in canaries().values()}
        grades.write_page(legend, [settings_note(), *notes], list(all_cards()), folder)
    print(grades.as_json(found) if as_json else grades.lines(found))


@cli.command("protocols")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
def protocols_command(as_json: bool) -> None:
    """List the protocols."""
    known = [protocols.load_protocol(name) for name in protocols.protocol_names()]
    if as_json:
        print(json.dumps([asdict(protocol) for protocol in known], indent=1))
        return
    rows = [[p.name, p.version, ", ".join(f"{k} {v.n}" for k, v in p.datasets.items()), ", ".join(p.attacks)] for p in known]
    print(tabulate(rows, headers=["protocol", "version", "examples", "attacks"], disable_numparse=True))


@cli.command("train")
@click.argument("names", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the training data; the only place looked at.")
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=int, help="Another seed than the entry's.")
@click.option("--epochs", type=int, help="Another number of epochs than the entry's.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write entry, checkpoint and curve there instead of into the registry.",
)
@click.option("--tag", "tags", multiple=True, help="Tag a new entry, for instance with quick.")
def train_command(
    names: tuple[str, ...],
    data: Path | None,
    device: str,
    seed: int | None,
    epochs: int | None,
    out: Path | None,
    tags: tuple[str, ...],
) -> None:
    """Train registry models, NAME like mnist/relog-maxout_4; a run that was cut short goes on at its last epoch."""
    if epochs is not None and epochs < 1:
        raise InputError(f"--epochs must be at least 1, got {epochs}")
    for name in names:
        home = out or registry.HOME
        card = train_model(name, data=data, device=checked_device(device), home=home, seed=seed, epochs=epochs, tags=tags)
        print(f"{card.name}: clean accuracy {card.clean_accuracy:.2%} on the full test set; written to {home}")


@cli.command("peers")
@click.argument("names", metavar="[LINE]...", nargs=-1)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with MNIST/ and cifar-10-batches-py/.")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
@click.option("--write", type=click.Path(path_type=Path), help="Also write the page to this file.")
def peers_command(names: tuple[str, ...], data: Path | None, as_json: bool, write: Path | None) -> None:
    """Time each attack against the libraries' on the same model, images and threads, and against its own limits.

    LINES restrict it: contests (jsma, cw, …), and the tables limits, examples and models.
    """
    from robustboard.benchmark.peers import page as peers  # noqa: PLC0415  (only this command needs the contests)

    measured = peers.measure(peers.chosen(names), data, lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(peers.as_json(measured), indent=1) if as_json else peers.terminal(measured))
    if write is not None:
        write_atomically(write, peers.markdown(measured))


def _say_troubles(published: Published) -> None:
    for trouble in published.troubles:
        print(f"left alone: {trouble}", file=sys.stderr)
