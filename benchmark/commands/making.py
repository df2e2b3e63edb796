"""`run` and `certify`: attacks and proofs, one file a cell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark import protocols
from robustboard.benchmark.certify.methods import TIME_LIMIT_S
from robustboard.benchmark.certify.record import MethodName
from robustboard.benchmark.certify.run import CertifyRequest, certify, sentence
from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.commands.troubles import say_left_alone
from robustboard.benchmark.datasets import DATASETS, check_dataset_name
from robustboard.benchmark.diagnose.run import DiagnoseRequest, diagnose
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.options import (
    HEAD,
    checked_device,
    chosen_subjects,
    given_adversarials,
    parsed_batch_size,
    parsed_shard,
    words,
)
from robustboard.benchmark.report.publish import publish
from robustboard.benchmark.run import Request, Summary, run


@click.command("run")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="Name, or path of a TOML file of yours.")
@click.option(
    "--dataset",
    "dataset_names",
    help=f"Comma-separated; default: all of {', '.join(DATASETS)} that the protocol covers.",
)
@click.option("--models", "patterns", help="Comma-separated globs over the registry; default: the protocol's.")
@click.option(
    "--model",
    "references",
    multiple=True,
    help="FILE.py:FUNCTION, torchvision:NAME@WEIGHTS, robustbench:DATASET/THREAT/NAME or hub:OWNER/NAME.",
)
@HEAD
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
@click.option("--keep-adversarials", is_flag=True, help="Store what fooled the model beside each cell, for robustboard verify.")
@click.option(
    "--diagnose/--no-diagnose",
    "diagnosed",
    default=True,
    show_default=True,
    help="Afterwards put the 23 checks of robustboard diagnose to each model; a shard leaves that to you.",
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
    keep_adversarials: bool,
    diagnosed: bool,
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
        keep_adversarials=keep_adversarials,
    )
    summary = run(request)
    if diagnosed and request.shard[1] == 1:
        _diagnose_what_ran(request, summary)
    published = publish([request.folder], "terminal", request.folder / "tables.md")
    say_left_alone(published.troubles)
    print(published.text)
    finished = "1 cell" if summary.evaluated == 1 else f"{summary.evaluated} cells"
    print(f"{finished} finished, {summary.reused} kept as they were; results in {request.folder}")


def _diagnose_what_ran(request: Request, summary: Summary) -> None:
    """The checks on every model that has cells; a model that cannot be looked at keeps its numbers, marked as not diagnosed."""
    norms = {all_cards()[name].norm for name in request.protocol.attacks if name in all_cards()}
    if "linf" not in norms:
        return  # The checks walk in an L∞ ball, of which such a protocol says nothing.
    gone = {(row.dataset, row.model) for row in summary.not_run}
    there = [subject for subject in request.subjects if not gone & {(subject.dataset, subject.name), (subject.dataset, "")}]
    if not there:
        return
    try:
        diagnose(DiagnoseRequest(request.protocol, there, request.out, request.data, request.quiet))
    except InputError as trouble:
        print(f"not diagnosed: {trouble}", file=sys.stderr)


@click.command("certify")
@click.argument("models", nargs=-1, required=True)
@click.option("--dataset", "dataset_name", help=f"{', '.join(DATASETS)}; default: the data sets of the models.")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="Whose examples and ε.")
@click.option("--method", type=click.Choice(get_args(MethodName)), default="crown", show_default=True)
@click.option("--eps", type=float, help="Another L∞ radius than the protocol's.")
@click.option("--n", type=int, help="The first n test examples instead of the protocol's.")
@click.option("--time-limit", type=float, default=TIME_LIMIT_S, show_default=True, help="Seconds a search of --method exact.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the test data; the only place looked at.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the certificates, one folder a protocol inside.")
@click.option("--again", is_flag=True, help="Certify those, too, that a certificate is there of.")
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
    again: bool,
    quiet: bool,
) -> None:
    """Prove a lower bound on robust accuracy for MODELS (globs over the registry, or FILE.py:FUNCTION).

    "interval" is fast and loose, "crown" tighter, "exact" decides every example of a small ReLU network. What an earlier
    call proved is kept: --again proves it anew.
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
    for result in certify(CertifyRequest(protocol, subjects, method, folder, data, time_limit, quiet, again)):
        print(sentence(result))
    print(f"certificates in {folder / protocol.name}")
