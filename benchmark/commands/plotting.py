"""`plot`: curves and pictures, from results or from a network, as SVG and PNG."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tabulate import tabulate

from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.commands.troubles import say_left_alone
from robustboard.benchmark.datasets import DATASETS, check_dataset_name
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.options import HEAD, checked_device, words
from robustboard.benchmark.report.escaping import for_terminal

FOLDERS = ("results", "distances", "exact")


@click.command("plot")
@click.argument("kind", required=False)
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="The kinds: what each shows, of a board or of a model, and what it needs.")
@click.option(
    "--results",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of results; default: the committed ones. Further folders add their cells.",
)
@click.option("--protocol", help="Whose board; default: standard, or the only one in the results.")
@click.option("--attack", "attacks", help="Comma-separated attacks instead of the kind's own choice.")
@click.option("--dataset", help=f"{', '.join(DATASETS)}; default: all. Needed for a MODEL of your own.")
@HEAD
@click.option("--n", type=click.IntRange(1), help="Examples that a network is run on; default: the kind's own number.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the data; the only place looked at.")
@click.option("--device", default="auto", show_default=True)
@click.option("--format", "formats", default="svg,png", show_default=True, help="Comma-separated: svg, png.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to; default: leaderboards/plots of the checkout.")
def plot_command(
    kind: str | None,
    models: tuple[str, ...],
    listed: bool,
    folders: tuple[Path, ...],
    protocol: str | None,
    attacks: str | None,
    dataset: str | None,
    head: str,
    n: int | None,
    data: Path | None,
    device: str,
    formats: str,
    out: Path | None,
) -> None:
    """Draw a KIND of picture, or "all" of them, for the models named (globs over results and registry, or FILE.py:FUNCTION and
    the like), or for all that have results."""
    from robustboard.benchmark.plots.asked import Asked, asked_views  # noqa: PLC0415  (only this command needs matplotlib)
    from robustboard.benchmark.plots.bench import Bench  # noqa: PLC0415
    from robustboard.benchmark.plots.kinds import KINDS, Missing, attempt  # noqa: PLC0415
    from robustboard.benchmark.plots.picture import parsed_formats, save  # noqa: PLC0415

    if listed:
        rows = [[each.name, " and ".join(each.scopes), each.needs, each.shows] for each in KINDS.values()]
        print(tabulate(rows, headers=["kind", "of a", "needs", "shows"], disable_numparse=True))
        return
    if kind is None:
        raise InputError("name a kind of picture, or all; see: robustboard plot --list")
    chosen = parsed_formats(formats)
    there = folders or tuple(path for path in (leaderboards() / name for name in FOLDERS) if path.is_dir())
    bench = Bench(data, checked_device(device), n)
    wanted = None if dataset is None else check_dataset_name(dataset)
    asked = Asked(
        kind, models, there, protocol, wanted, tuple(words(attacks)), "sigmoid" if head == "sigmoid" else "softmax", bench
    )
    views, troubles = asked_views(asked)
    say_left_alone(troubles)
    missing = []
    for each, view in views:
        made = attempt(each, view)
        if isinstance(made, Missing):
            missing.append(made)
            continue
        for path in save(made, out or leaderboards() / "plots", chosen):
            print(path, flush=True)
    if len(missing) == len(views):
        raise InputError(missing[0].reason)
    for gone in missing:
        print(for_terminal(f"not drawn: {gone.kind}: {gone.reason}"), file=sys.stderr)
