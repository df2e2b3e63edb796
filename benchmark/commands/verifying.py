"""`verify`: results checked against themselves, their weights, and the candidates that are kept beside them."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import click

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.options import checked_device
from robustboard.benchmark.verify.again import AT_MOST, PASSES, Draw
from robustboard.benchmark.verify.page import page
from robustboard.benchmark.verify.run import VerifyRequest, verify


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the test data; the only place looked at.")
@click.option("--model", "references", multiple=True, help="FILE.py:FUNCTION of results on a model that is not of the registry.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option("--strict", is_flag=True, help="Fail, too, where candidates of a cell are not kept.")
@click.option(
    "--again",
    metavar="K",
    type=click.IntRange(0),
    help="Attack K robust examples a cell again, whatever that takes; default: as far as "
    f"{PASSES:,} passes go, {AT_MOST} at most; 0: none.",
)
@click.option("--seed", type=click.IntRange(0), help="Which examples are drawn for that; default: others each time.")
def verify_command(
    folder: Path,
    data: Path | None,
    references: tuple[str, ...],
    device: str,
    strict: bool,
    again: int | None,
    seed: int | None,
) -> None:
    """Check the results below FOLDER: that each cell agrees with itself, its identity and, if it is of the project's, its
    protocol, that its weights and examples are those that are here, and, where it was run with --keep-adversarials, that every
    candidate is the one that was written, lies in the box and within the budget, and fools the model. Of the examples that a cell
    records as robust a few, which nobody can foresee, are attacked again: one that falls fails the cell.

    A pass says: what is recorded as fooled is fooled. Of what is recorded as robust only those few were looked at. Exit code 1
    where anything is not so, 2 where not a single cell could be verified, since its model or its data is not here."""
    draw = Draw(again, secrets.randbelow(2**31) if seed is None else seed)
    report = verify(VerifyRequest(folder, data, references, checked_device(device), draw=draw))
    print(page(report))
    if report.is_empty:
        raise InputError(
            "not a single cell could be verified: name the models with --model and the data with --data, as is said above; of "
            "results that were run with --keep-adversarials the attacks are verified, too"
        )
    if report.failed or (strict and not report.is_whole):
        sys.exit(1)
