"""`diagnose`: the 23 checks on models, one file a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from robustboard.benchmark import protocols
from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.datasets import DATASETS, check_dataset_name
from robustboard.benchmark.diagnose.record import as_json
from robustboard.benchmark.diagnose.run import DiagnoseRequest, diagnose
from robustboard.benchmark.diagnose.table import render
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.options import HEAD, chosen_subjects


@click.command("diagnose")
@click.argument("patterns", metavar="[MODEL]...", nargs=-1)
@click.option("--model", "references", multiple=True, help="FILE.py:FUNCTION, or another way to name a model of yours.")
@HEAD
@click.option("--dataset", "dataset_name", help=f"{', '.join(DATASETS)}; default: the data sets of the models.")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="Whose examples, budgets and cells.")
@click.option("--n", type=int, help="The first n test examples instead of the protocol's, as in run --n.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the test data; the only place looked at.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder that holds a folder a protocol: its cells are looked at, the diagnoses go beside them.",
)
@click.option("--again", is_flag=True, help="Look at those, too, that a diagnosis is there of.")
@click.option("--json", "as_json_", is_flag=True, help="Every field, as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
def diagnose_command(
    patterns: tuple[str, ...],
    references: tuple[str, ...],
    head: str,
    dataset_name: str | None,
    protocol_name: str,
    n: int | None,
    data: Path | None,
    out: Path | None,
    again: bool,
    as_json_: bool,
    quiet: bool,
) -> None:
    """Check whether a MODEL's numbers are robustness or a broken attack: globs over the registry, FILE.py:FUNCTION, or --model.

    23 checks, each with its evidence: some read the model's cells below --out, the others put a few dozen examples to it. A
    pass says that no failure was detected, never that the model is robust. What an earlier call found is kept as long as
    model and cells are the same: --again looks anew.
    """
    if not patterns and not references:
        raise InputError("diagnose needs a model: a glob over the registry (see: robustboard models) or --model FILE.py:FUNCTION")
    official = protocols.load_protocol(protocol_name)
    protocol = protocols.adjusted(official, n=n, epsilon=None, indices=None)
    datasets = [check_dataset_name(dataset_name)] if dataset_name else list(official.datasets)
    files = tuple(name for name in patterns if ".py:" in name)
    own = (*files, *references)
    subjects = chosen_subjects(",".join(name for name in patterns if name not in files), own, head, datasets, official)
    committed = protocol == official and protocol_name == "standard" and not own
    folder = out or leaderboards() / ("results" if committed else "runs")
    found = diagnose(DiagnoseRequest(protocol, subjects, folder, data, quiet, again))
    if as_json_:
        print(json.dumps([as_json(diagnosis) for diagnosis in found], indent=1))
        return
    print("\n".join(render(diagnosis) for diagnosis in found))
    print(f"diagnoses in {folder / protocol.name}")
