"""What the command line's options mean: words into subjects, files, devices, sizes and shards, or one clear sentence."""

from __future__ import annotations

from pathlib import Path

import click

from robustboard.benchmark import protocols
from robustboard.benchmark.adversarials import Adversarials, read_adversarials
from robustboard.benchmark.datasets import DATASETS
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.subjects import Subject, registry_subjects, user_subject

HEAD = click.option(
    "--head",
    type=click.Choice(["softmax", "sigmoid"]),
    default="softmax",
    show_default=True,
    help="How the outputs of a model of yours become confidences.",
)
"""The option that every command has which takes a model from elsewhere."""


def chosen_subjects(
    patterns: str | None, references: tuple[str, ...], head: str, datasets: list[str], protocol: protocols.Protocol
) -> list[Subject]:
    """The models of a run, the user's and the registry's. Raises `InputError` when there are none, or two of one name."""
    if references and len(datasets) != 1:
        raise InputError(f"--model needs one --dataset that it classifies: {', '.join(DATASETS)}")
    own = [user_subject(reference, datasets[0], "sigmoid" if head == "sigmoid" else "softmax") for reference in references]
    globs = words(patterns)
    if not globs and not own:
        globs = protocol.models
    subjects = own + (registry_subjects(globs, datasets) if globs else [])
    names = [(subject.dataset, subject.name) for subject in subjects]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"two models are called {twice[0]}/{twice[1]}: rename a file or a function")
    if not subjects:
        raise InputError(f"no model of {', '.join(datasets)} matches {', '.join(globs)}; see: robustboard models")
    return subjects


def given_adversarials(files: tuple[Path, ...], datasets: list[str]) -> list[Adversarials]:
    """Read the files. Raises `InputError` without one data set, for a file that does not read, and for two of one name."""
    if files and len(datasets) != 1:
        raise InputError(f"--adversarials needs one --dataset that its images belong to: {', '.join(DATASETS)}")
    given = [read_adversarials(file) for file in files]
    names = [one.name for one in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"two files of --adversarials are called {twice}: rename one")
    return given


def words(text: str | None) -> list[str]:
    """The comma-separated words of an option, none for None."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def checked_device(name: str) -> str:
    """The device's name. Raises `InputError` where there is none such."""
    import torch  # noqa: PLC0415  (other commands start faster without)

    try:
        if name != "auto":
            torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as trouble:
        here = ["auto", "cpu", *(f"cuda:{at}" for at in range(torch.cuda.device_count()))]
        meant = "" if name.partition(":")[0] == "cuda" else suggest(name, [*here, "cuda"])
        raise InputError(f"there is no device {name!r} here{meant}; there are {', '.join(here)}") from trouble
    return name


def parsed_batch_size(text: str) -> int | None:
    """A number, None for "auto". Raises `InputError` for anything else."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch-size is auto or a number of at least 1, got {text!r}")
    return int(text)


def parsed_shard(text: str) -> tuple[int, int]:
    """(i, k) of "i/k". Raises `InputError` for anything else."""
    which, slash, count = text.partition("/")
    if not slash or not which.isdecimal() or not count.isdecimal() or int(which) >= int(count):
        raise InputError(f"--shard is i/k with i from 0 to k − 1, got {text!r}")
    return int(which), int(count)
