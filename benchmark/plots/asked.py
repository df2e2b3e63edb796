"""What the command line asks for, as views: which results, which protocol, which models, the registry's or the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.datasets import DATASETS
from robustboard.benchmark.errors import InputError, suggest
from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.plots.kinds import KINDS, Kind
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.publish import read_boards
from robustboard.benchmark.subjects import Subject, registry_subjects, user_subject
from robustboard.models.recipe import Head

USUAL_PROTOCOL = "standard"


@dataclass(frozen=True)
class Asked:
    """The options of `plot`: a kind or "all", models (globs over results and registry, or FILE.py:FUNCTION and the like),
    folders of results, a protocol (None: standard, or the only one there), data sets (None: all), attacks, the head of the
    user's own models, and the bench."""

    kind: str
    models: Sequence[str] = ()
    folders: Sequence[Path] = ()
    protocol: str | None = None
    dataset: str | None = None
    attacks: tuple[str, ...] = ()
    head: Head = "softmax"
    bench: Bench = field(default_factory=Bench)


def asked_views(asked: Asked) -> tuple[list[tuple[Kind, View]], list[str]]:
    """A view for every picture that was asked for, with its kind, and a sentence a file of results that could not be read.
    Raises `InputError` for what is not there."""
    kinds = _kinds(asked.kind)
    boards, troubles = read_boards(asked.folders) if asked.folders else ([], [])
    _check_attacks(asked.attacks, boards)
    protocol = _protocol(asked, boards)
    own = [_user_subject(reference, asked) for reference in asked.models if ":" in reference]
    bench = replace(asked.bench, subjects={(subject.dataset, subject.name): subject for subject in own})
    asked = replace(asked, bench=bench, protocol=protocol)
    shown = [board for board in boards if board.protocol == protocol and asked.dataset in (None, board.dataset)]
    found = list(_chosen(asked, shown, own, any(kind.needs != "cells" for kind in kinds)))
    views = [(kind, view) for kind in kinds for board, rows in found for view in _views(kind, board, rows, boards, asked)]
    if not views:
        raise InputError(
            f"there is nothing to plot in {', '.join(map(str, asked.folders)) or 'no folder'}: name a MODEL or --results"
        )
    return views, troubles


def _kinds(name: str) -> list[Kind]:
    if name == "all":
        return list(KINDS.values())
    if name not in KINDS:
        raise InputError(f"there is no kind {name!r}{suggest(name, [*KINDS, 'all'])}; the kinds are {', '.join(KINDS)}, all")
    return [KINDS[name]]


def _check_attacks(names: Sequence[str], boards: Sequence[Board]) -> None:
    seen = {name for board in boards for row in board.rows for name in row.cells}
    known = [*all_cards(), *CASCADES, *sorted(seen - set(all_cards()) - set(CASCADES))]
    for name in names:
        if name not in known:
            raise InputError(f"there is no attack {name!r}{suggest(name, known)}; see: robustboard attacks")


def _protocol(asked: Asked, boards: Sequence[Board]) -> str:
    there = sorted({board.protocol for board in boards})
    if asked.protocol is not None:
        if there and asked.protocol not in there:
            raise InputError(
                f"the results have no protocol {asked.protocol!r}{suggest(asked.protocol, there)}; {', '.join(there)}"
            )
        return asked.protocol
    if USUAL_PROTOCOL in there or not there:
        return USUAL_PROTOCOL
    if len(there) > 1:
        raise InputError(f"the results are of several protocols: choose with --protocol {' or '.join(there)}")
    return there[0]


def _user_subject(reference: str, asked: Asked) -> Subject:
    if asked.dataset is None:
        raise InputError(f"{reference!r} needs the --dataset that it classifies: {', '.join(DATASETS)}")
    return user_subject(reference, asked.dataset, asked.head)


def _chosen(
    asked: Asked, boards: Sequence[Board], own: Sequence[Subject], networks: bool
) -> Iterator[tuple[Board, tuple[Row, ...] | None]]:
    """Boards and the rows of them that are meant, None for all. Models that have no cells come from the registry where
    `networks` are run."""
    if not asked.models:
        yield from ((board, None) for board in boards)
        return
    rows: dict[str, list[Row]] = {}
    for pattern in (name for name in asked.models if ":" not in name):
        for dataset, row in _matching(pattern, asked, boards, networks):
            rows.setdefault(dataset, []).append(row)
    for subject in own:
        board = _board(asked, boards, subject.dataset)
        row = next((row for row in board.rows if row.model == subject.name), Row(subject.name, {}))
        rows.setdefault(subject.dataset, []).append(row)
    for dataset, wanted in rows.items():
        once = {row.model: row for row in wanted}
        yield _board(asked, boards, dataset), tuple(once.values())


def _matching(pattern: str, asked: Asked, boards: Sequence[Board], networks: bool) -> list[tuple[str, Row]]:
    found = [(board.dataset, row) for board in boards for row in board.rows if _means(pattern, f"{board.dataset}/{row.model}")]
    if not found and networks:
        subjects = registry_subjects([pattern], [asked.dataset] if asked.dataset else DATASETS)
        found = [(subject.dataset, Row(subject.name, {})) for subject in subjects]
    if not found:
        names = [f"{board.dataset}/{row.model}" for board in boards for row in board.rows]
        names += [name.partition("/")[2] for name in names]
        where = f"results of protocol {asked.protocol}" if boards else "results"
        raise InputError(f"there is no model {pattern!r} in the {where}{suggest(pattern, names)}")
    return found


def _means(pattern: str, name: str) -> bool:
    """Whether a model called "mnist/relu" is meant by a glob over "mnist/relu" or "relu", or by either name as it is."""
    names = (name, name.partition("/")[2])
    return any(each == pattern or fnmatchcase(each, pattern) for each in names)


def _board(asked: Asked, boards: Sequence[Board], dataset: str) -> Board:
    """The board of a data set, an empty one of the protocol where there are no results."""
    there = next((board for board in boards if board.dataset == dataset), None)
    if there is not None:
        return there
    protocol = load_protocol((asked.protocol or USUAL_PROTOCOL).partition("@")[0])
    return Board(protocol.title, protocol.name, protocol.version, dataset, (), ())


def _views(kind: Kind, board: Board, rows: tuple[Row, ...] | None, boards: Sequence[Board], asked: Asked) -> Iterator[View]:
    """The kind's views of the rows: together, unless only one was named and the kind has a view of one; and each alone, unless
    several were named for a kind that has a view of them together."""
    others = tuple(other for other in boards if other is not board)
    together = "board" in kind.scopes and not (rows is not None and len(rows) == 1 and "model" in kind.scopes)
    if together:
        yield View(
            board, rows if rows is not None else tuple(kind.choose(board.rows)), "board", others, asked.attacks, asked.bench
        )
        return
    for row in rows if rows is not None else board.rows:
        yield View(board, (row,), "model", others, asked.attacks, asked.bench)
