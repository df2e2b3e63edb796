"""`canaries` and `peers`: the attacks graded, and timed beside the libraries'."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.canaries import grades
from robustboard.benchmark.canaries.contender import settings_note
from robustboard.benchmark.canaries.run import canaries, chosen_cards, grade_all
from robustboard.benchmark.commands.folders import leaderboards
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.results import write_atomically


@click.command("canaries")
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
        print(card.name, grades.summary(mine, card.name, grades.card_version(card)), file=sys.stderr, flush=True)
        if write:
            grades.update(mine, folder)
    for note in notes:
        print(note, file=sys.stderr)
    if write:
        legend = {canary.name: canary.asks for canary in canaries().values()}
        grades.write_page(legend, [settings_note(), *notes], list(all_cards()), folder)
    print(grades.as_json(found) if as_json else grades.lines(found))


@click.command("peers")
@click.argument("names", metavar="[LINE]...", nargs=-1)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with MNIST/ and cifar-10-batches-py/.")
@click.option("--json", "as_json", is_flag=True, help="Every field, as JSON.")
@click.option("--write", type=click.Path(path_type=Path), help="Also write the page to this file.")
def peers_command(names: tuple[str, ...], data: Path | None, as_json: bool, write: Path | None) -> None:
    """Time each attack against the libraries' on the same model, images and threads, and against its own limits.

    LINES restrict it: contests (jsma, cw, …), and the tables limits, examples and models.
    """
    from robustboard.benchmark.peers import page as peers  # noqa: PLC0415  (only this command needs the contests)

    wanted = peers.chosen(names)
    if names and write is not None and write.exists():
        raise InputError(f"{write} is there already, and {', '.join(names)} alone would take its place: name another file")
    measured = peers.measure(wanted, data, lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(peers.as_json(measured), indent=1) if as_json else peers.terminal(measured))
    if write is not None:
        write_atomically(write, peers.markdown(measured))
