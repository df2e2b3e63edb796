"""How a row is made again, as commands for a shell, and how it is cited."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from robustboard.benchmark.protocols import protocol_names
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.escaping import for_latex, for_terminal

_OPTIONS = ((r"\d+", "--n {}"), (r"eps-(.+)", "--eps {}"), (r"seed-(\d+)", "--seed {}"), (r"indices-\w+", "--indices FILE.json"))
_HASHED = re.compile(r" \(sha256 [0-9a-f]+\)$")


@dataclass(frozen=True)
class Reproduction:
    """The commands, a line each, in a checkout of the project, the one that diagnoses the model, and what has to be known."""

    commands: tuple[str, ...]
    diagnose: str
    notes: tuple[str, ...]


def reproduction(board: Board, row: Row, others: Sequence[Board] = ()) -> Reproduction:
    """The commands that make the row's cells anew and render them, and those that `others`, the board among them or not, have of
    the same model."""
    cell = row.any_cell()
    source = _HASHED.sub("", cell.model.source)
    elsewhere = [other for other in others if other is not board and other.dataset == board.dataset]
    made = [(board, row), *((other, its) for other in elsewhere for its in other.rows if _is_of(its, row))]
    commits = sorted({each.environment.git_commit for _, its in made for each in its.cells.values()})
    commands = [f"git checkout {commits[0]}"] if len(commits) == 1 and commits[0] != "unknown" else []
    commands += ["make setup && . .venv/bin/activate", *(_run(*its) for its in made if _attacks(its[1]))]
    if row.certificate is not None and source == "registry":
        proof = row.certificate.method.name
        commands.append(f"robustboard certify {_named(f'{board.dataset}/{row.model}')} --method {proof} --out again")
    commands.append("robustboard report again")
    whom = _named(f"{board.dataset}/{row.model}") if source == "registry" else f"--dataset {_named(board.dataset)} {_who(cell)}"
    diagnose = f"robustboard diagnose {whom}"
    return Reproduction(tuple(commands), diagnose, tuple(_notes(board, row, [its for _, its in made], source)))


def _run(board: Board, row: Row) -> str:
    """The command that makes the row's cells."""
    run = f"robustboard run --protocol {_protocol(board.protocol)} --dataset {_named(board.dataset)} {_who(row.any_cell())}"
    return f"{run} --attacks {','.join(_attacks(row))} --out again"


def _attacks(row: Row) -> list[str]:
    """The row's attacks, without the files of candidates that were judged."""
    return [name for name in row.cells if not name.startswith("adversarials_")]


def _who(cell: CellResult) -> str:
    """The options that name the cell's model."""
    source = _HASHED.sub("", cell.model.source)
    if source == "registry":
        return f"--models {_named(cell.model.name)}"
    return f"--model {shlex.quote(source)}{' --head sigmoid' if cell.model.head == 'sigmoid' else ''}"


def _is_of(row: Row, other: Row) -> bool:
    """Whether two rows have a model of the same name, weights and code."""
    if row.model != other.model or not (row.cells and other.cells):
        return False
    one, two = row.any_cell().model, other.any_cell().model
    return (one.weights_sha256, one.code) == (two.weights_sha256, two.code)


def _cost(row: Row) -> str:
    """What the row's cells took, by what they ran on: "12 min on a processor"."""
    spent: dict[str, float] = {}
    for cell in row.cells.values():
        where = "a GPU" if cell.cost.device.startswith("cuda") else "a processor"
        spent[where] = spent.get(where, 0.0) + cell.cost.seconds
    return " and ".join(
        f"{seconds / 60:.0f} min on {where}" if seconds >= 60 else f"{seconds:.0f} s on {where}"
        for where, seconds in spent.items()
    )


def citation(board: Board, row: Row | None = None) -> str:
    """A BibTeX entry of a board, or of a row of it; the year is that in which the newest cell was finished."""
    cells = [cell for each in ([row] if row else board.rows) for cell in each.cells.values()]
    newest = max((cell.environment.finished for cell in cells), default="")
    versions = ", ".join(sorted({cell.environment.robustboard for cell in cells}))
    what = f"{board.dataset}/{row.model}" if row else board.dataset
    weights = f", weights sha256 {row.any_cell().model.weights_sha256[:16]}" if row else ""
    key = re.sub(r"[^A-Za-z0-9]+", "-", f"robustboard-{board.protocol}-v{board.version}-{what}").strip("-")
    lines = [
        f"@software{{{key[:80]},",
        "  author  = {{The Robustboard maintainers}},",
        f"  title   = {{{{Robustboard: {_latex(what)}, protocol {_latex(board.protocol)} v{board.version}}}}},",
        *([f"  year    = {{{newest[:4]}}},"] if newest else []),
        *([f"  version = {{{_latex(versions)}}},"] if versions else []),
        f"  note    = {{Adversarial robustness of small image classifiers{weights}}}",
        "}",
    ]
    return "\n".join(lines)


def _latex(text: str) -> str:
    return for_latex(for_terminal(text))


def _named(text: str) -> str:
    """One word for a shell; what does not print is spelled out, and stands in a note."""
    return shlex.quote(for_terminal(text))


def _protocol(name: str) -> str:
    """ "standard@eps-0.1" as the options that made it."""
    base, *changes = name.split("@")
    words = [_named(base)]
    for change in changes:
        for pattern, option in _OPTIONS:
            found = re.fullmatch(pattern, change)
            if found:
                words.append(option.format(shlex.quote(found[found.re.groups])))
                break
    return " ".join(words)


def _by_commit(rows: Sequence[Row]) -> str:
    """The rows' attacks by the commit that they were run at: "316168a5dc17 for bim, cw; 77fb4c5c4793 for fgsm"."""
    attacks: dict[str, list[str]] = {}
    for row in rows:
        for name, cell in row.cells.items():
            attacks.setdefault(cell.environment.git_commit[:12], []).append(name)
    return "; ".join(f"{commit} for {', '.join(names)}" for commit, names in sorted(attacks.items()))


def _notes(board: Board, row: Row, made: Sequence[Row], source: str) -> list[str]:
    commits = {cell.environment.git_commit for each in made for cell in each.cells.values()}
    found = []
    if board.dataset != "digits":
        found.append("The data is looked for in the folder that ROBUSTBOARD_DATA or --data names, and downloaded without either.")
    if source == "memory":
        found.append("The model was evaluated in memory, by robustboard.evaluate: only the code that had it can do so again.")
    elif source != "registry":
        found.append(f"The model is not of the registry: {source} has to be there, with the same weights.")
    if len(commits) > 1:
        found.append(f"The cells were run at {len(commits)} commits, to be checked out in turn: {_by_commit(made)}.")
    if any(cell.environment.git_dirty for cell in row.cells.values()):
        found.append("Some were run with changes that were not committed.")
    own = board.protocol.partition("@")[0]
    if own not in protocol_names():
        found.append(f"The protocol {own} is not one of ours: give --protocol the path of its TOML file.")
    if "@indices-" in board.protocol:
        found.append("FILE.json is a JSON list of the test-set positions that every cell's file holds.")
    files = [name for name in row.cells if name.startswith("adversarials_")]
    if files:
        found.append(f"{', '.join(files)} were candidates from files: give each with --adversarials FILE.")
    found.append(f"The board's own cells took {_cost(row)}, all attacks together.")
    found.append("The same weights, examples, parameters and seed give the same verdicts; seconds are those of the machine.")
    return found
