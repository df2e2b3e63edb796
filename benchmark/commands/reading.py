"""`report`, `ablation`, `claims`, and the lists of models, attacks and protocols."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from tabulate import tabulate

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark import protocols
from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.commands.troubles import say_left_alone
from robustboard.benchmark.options import words
from robustboard.benchmark.report import ablation
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.claims import page as claims
from robustboard.benchmark.report.publish import STYLES, publish, read_boards
from robustboard.benchmark.results import write_atomically
from robustboard.models import registry


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(STYLES), default="terminal", show_default=True)
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    help="Also write them to this file, in the style of its suffix: .md, .tex, .csv or .txt; without one as Markdown.",
)
@click.option("--into", multiple=True, type=click.Path(path_type=Path), help="Also put them between the marks of this file.")
@click.option(
    "--known",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Tell optimality against the distances below this folder, too; its diagnoses stand in for missing ones.",
)
@click.option("--models", "shown", default="*", help="Show these only, comma-separated globs; the ranks are among all.")
def report_command(
    folders: tuple[Path, ...],
    style: str,
    write: Path | None,
    into: tuple[Path, ...],
    known: tuple[Path, ...],
    shown: str,
) -> None:
    """Render the results below FOLDERS as tables; csv has a line a cell, its numbers in full."""
    published = publish(list(folders), style, write, into, known, words(shown))
    say_left_alone(published.troubles)
    print(published.text, end="" if style == "csv" else "\n")


@click.command("ablation")
@click.option("--write", type=click.Path(path_type=Path), help="Also write the page to this file.")
def ablation_command(write: Path | None) -> None:
    """The logs' ablation tables, from the committed cells of standard."""
    _page(ablation.page(_committed(), registry.read_cards()), write)


@click.command("claims")
@click.option("--write", type=click.Path(path_type=Path), help="Also write the page to this file.")
def claims_command(write: Path | None) -> None:
    """What the logs claimed, and what the committed cells of standard say to it."""
    _page(claims.page(_committed()), write)


def _committed() -> list[Board]:
    boards, troubles = read_boards([leaderboards() / "results" / "standard"])
    say_left_alone(troubles)
    return boards


def _page(text: str, write: Path | None) -> None:
    print(text)
    if write is not None:
        write_atomically(write, text)


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
def models_command(as_json: bool) -> None:
    """List the registry."""
    cards = registry.read_cards().values()
    if as_json:
        print(json.dumps([asdict(card) for card in cards], indent=1))
        return
    rows = [
        [
            card.name,
            f"{card.parameters:,}",
            f"{card.multiply_adds:,}",
            f"{card.clean_accuracy:.2%}",
            card.head,
            ",".join(card.tags),
            card.command,
        ]
        for card in cards
    ]
    print(
        tabulate(
            rows,
            headers=["model", "parameters", "multiply-adds", "clean", "head", "tags", "training command"],
            disable_numparse=True,
        )
    )


@click.command("attacks")
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


@click.command("protocols")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
def protocols_command(as_json: bool) -> None:
    """List the protocols."""
    known = [protocols.load_protocol(name) for name in protocols.protocol_names()]
    if as_json:
        print(json.dumps([asdict(protocol) for protocol in known], indent=1))
        return
    rows = [[p.name, p.version, ", ".join(f"{k} {v.n}" for k, v in p.datasets.items()), ", ".join(p.attacks)] for p in known]
    print(tabulate(rows, headers=["protocol", "version", "examples", "attacks"], disable_numparse=True))
