"""`compare` and `ranks`: two things side by side, and how far an order of models can be believed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.commands.troubles import say_left_alone
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.options import words
from robustboard.benchmark.report.compare import differences, gate, page, sides
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.benchmark.report.ranks import page as ranks_page
from robustboard.benchmark.report.ranks import study
from robustboard.benchmark.results import write_atomically


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--results", type=click.Path(path_type=Path), help="Where the models' results are; default: the committed ones of standard."
)
@click.option("--attacks", help="Only these attacks' cells.")
@click.option("--json", "as_json", is_flag=True, help="Every number and every flipped example, as JSON.")
@click.option(
    "--fail-if-worse",
    "points",
    metavar="POINTS",
    type=float,
    help="Exit with 1 where B's robust accuracy is more than so many percentage points below A's in any cell, with 2 where B "
    "lacks one of A's cells or a file does not read.",
)
@click.option(
    "--worse-by",
    "by",
    type=click.Choice(["difference", "interval"]),
    default="difference",
    show_default=True,
    help="What has to lie below −POINTS: the difference on these examples, or the whole of its 95 % interval.",
)
def compare_command(
    a: str, b: str, results: Path | None, attacks: str | None, as_json: bool, points: float | None, by: gate.Measure
) -> None:
    """Two things side by side, paired over the same examples: models (mnist/relu mnist/relog), attacks on a model or their
    implementations (mnist/relu:cw mnist/relu:torchattacks:cw), or two folders, of two runs or two versions of a protocol.

    Models are compared under the same attacks alone; between folders and implementations other parameters are told. Other
    examples or another ε are refused. Exit codes: 0, 1 where --fail-if-worse says so, 2 for what cannot be compared, which with
    --fail-if-worse is a cell that only A has, or a file of either side that does not read, too; what only B has is no reason.
    """
    if points is not None and not 0 <= points <= 100:
        raise InputError(f"--fail-if-worse takes 0 to 100 percentage points, got {points:g}")
    folder = results or leaderboards() / "results" / "standard"
    found = sides.read_sides(a, b, folder, words(attacks))
    comparisons = differences.compare_sides(found)
    if as_json:
        print(json.dumps(page.as_json(a, b, found, comparisons), indent=1, allow_nan=False))
    else:
        print(page.render(a, b, found, comparisons, folder), end="")
    if points is None:
        return
    gate.refuse_gaps(found)
    worse = gate.worse_cells(comparisons, points, by)
    if worse:
        print(for_terminal(f"worse: B is more than {points:g} points below A in {', '.join(worse)}"), file=sys.stderr)
        sys.exit(1)


@click.command("ranks")
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--columns", help="Only these: attacks, worst_case, worst_case_l2; default: all.")
@click.option("--changes", "changes_only", is_flag=True, help="Only how the order changes from each folder to the next.")
@click.option(
    "--known", multiple=True, type=click.Path(path_type=Path), help="Further results: their diagnoses stand in for missing ones."
)
@click.option("--json", "as_json", is_flag=True, help="Every rank, swap and spread, as JSON.")
@click.option("--write", type=click.Path(path_type=Path), help="Also write the page as Markdown to this file.")
def ranks_command(
    folders: tuple[Path, ...],
    columns: str | None,
    changes_only: bool,
    known: tuple[Path, ...],
    as_json: bool,
    write: Path | None,
) -> None:
    """How far the order of the models below DIR can be believed: ranks as intervals, by every column; how the order changes from
    attack to attack and between implementations of one; the spread over seeds. Of several folders, such as two versions of
    a protocol, also how the order changes from each to the next. Default: the committed results.
    """
    found = study.study(folders or [leaderboards() / "results" / "standard"], words(columns), known)
    say_left_alone(found.troubles)
    if as_json:
        print(json.dumps(ranks_page.as_json(found, changes_only=changes_only), indent=1))
    else:
        print(ranks_page.render(found, "terminal", changes_only=changes_only))
    if write is not None:
        write_atomically(write, ranks_page.render(found, "markdown", changes_only=changes_only))
