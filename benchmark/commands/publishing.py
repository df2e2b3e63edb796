"""`site`: the pages of a folder of results."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.options import checked_device


@click.command("site")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to; default: leaderboards/site of the checkout.")
@click.option(
    "--known",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Further results: pictures and optimality take in their cells of the same weights; diagnoses stand in for missing ones.",
)
@click.option(
    "--pictures",
    type=click.Choice(["all", "cells", "none"]),
    default="all",
    show_default=True,
    help="All; those made from results alone, without running a network; or none.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the test data; the only place looked at.")
@click.option("--device", default="auto", show_default=True)
@click.option("--quiet", is_flag=True, help="No progress.")
def site_command(
    folders: tuple[Path, ...],
    out: Path | None,
    known: tuple[Path, ...],
    pictures: str,
    data: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Make a static site of the results below FOLDERS: a board a data set, a page a model, a page that compares any two. It opens
    from the file system, and the same results give the same pages."""
    from robustboard.benchmark.plots.bench import Bench  # noqa: PLC0415  (only this command needs matplotlib and templates)
    from robustboard.benchmark.site.build import SiteRequest, build  # noqa: PLC0415
    from robustboard.benchmark.site.pictures import CHOICES  # noqa: PLC0415

    chosen = next(choice for choice in CHOICES if choice == pictures)
    place = out or leaderboards() / "site"
    built = build(SiteRequest(folders, place, known, chosen, Bench(data, checked_device(device)), quiet))
    for trouble in built.troubles:
        print(f"left alone: {trouble}", file=sys.stderr)
    if pictures == "all":
        for gone in built.missing:
            print(f"not drawn: {gone.kind}: {gone.reason}", file=sys.stderr)
    print(f"{built.files} files, {built.size / 1e6:.1f} MB: open {place / 'index.html'}")
