"""What a stranger asks first of a board, answered from its ranks: who is best, better than whom, and what is suspect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.plots.words import NORMS, budget
from robustboard.benchmark.report.board import Board, Row
from robustboard.benchmark.report.ranks.intervals import Ranking, main_column, rank_rows
from robustboard.benchmark.report.rows import flags_of
from robustboard.benchmark.report.tables import far_above, share


@dataclass(frozen=True)
class Standing:
    """A model, its sign where it is marked and the first of its marks, its worst case as text: "29.8 [27.0–32.7]", and how many
    examples stand in it."""

    model: str
    sign: str
    text: str
    mark: str = ""
    robust: int = 0


@dataclass(frozen=True)
class Suspect:
    """A model whose number is not ranked, that number, whether it is above the leader's, and why it is suspect."""

    model: str
    text: str
    is_above: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Flattery:
    """A number that flatters its model: the model, its sign, the attack, its robust accuracy and by how many points the worst
    case of the same examples is lower."""

    model: str
    sign: str
    attack: str
    text: str
    points: float


@dataclass(frozen=True)
class Answers:
    """The norm of the main column and its budget, the leader by the accuracies (None where nothing is ranked) and n; `next`: the
    best of those that a test puts behind the leader, `behind`: how many these are; those `tied` with it; the rows that
    are not ranked; how many of the others carry a mark that only informs; the attacks' numbers that flatter, the worst first;
    and how many rows there are."""

    norm: str
    budget: str
    leader: Standing | None
    n: int
    tied: tuple[Standing, ...]
    next: Standing | None
    behind: int
    suspects: tuple[Suspect, ...]
    informed: int
    flattering: tuple[Flattery, ...]
    rows: int

    @property
    def first(self) -> tuple[Standing, ...]:
        """The leader and whom it is told beside, as far as they carry a mark."""
        shown = (self.leader, *self.tied[:1], self.next)
        return tuple(each for each in shown if each is not None and each.sign)


def answers(board: Board) -> Answers | None:
    """The answers; None for a board without any L∞ or L2 attack."""
    column = main_column(board)
    if column is None:
        return None
    ranking, norm = rank_rows(board, column), CASCADES[column]
    ranked = [row for row in board.rows if row.model in ranking.n]
    ranked.sort(key=lambda row: -ranking.accuracy[row.model])
    leader = ranked[0] if ranked else None
    tied = [row for row in ranked[1:] if not _is_behind(row, ranked[0], ranking)]
    behind = [row for row in ranked[1:] if _is_behind(row, ranked[0], ranking)]
    above = ranking.accuracy[leader.model] if leader else -1.0
    radii = {cell.attack.norm: cell.attack for row in board.rows for cell in row.of_norm(norm)}
    return Answers(
        norm=NORMS[norm],
        budget=budget(radii[norm]),
        leader=_standing(leader, norm) if leader else None,
        n=ranking.n[leader.model] if leader else 0,
        tied=tuple(_standing(row, norm) for row in tied),
        next=_standing(behind[0], norm) if behind else None,
        behind=len(behind),
        suspects=_suspects([row for row in board.rows if row.model not in ranking.n], norm, above),
        informed=sum(row.sign == "△" for row in board.rows),
        flattering=_flattering(board),
        rows=len(board.rows),
    )


def _is_behind(row: Row, leader: Row, ranking: Ranking) -> bool:
    return (leader.model, row.model) in ranking.better


def _standing(row: Row, norm: str) -> Standing:
    worst = row.worst_case(norm)
    text = share(worst.robust, worst.n, worst.interval) if worst else "–"
    mark = next((text for _, text in row.told()), "")
    return Standing(row.model, row.sign, text, mark, worst.robust if worst else 0)


def _flattering(board: Board) -> tuple[Flattery, ...]:
    found = []
    for row in board.rows:
        for attack in board.attacks:
            cell = row.cells.get(attack)
            above = far_above(cell, row) if cell is not None else 0.0
            if cell is not None and above:
                found.append(Flattery(row.model, row.sign, attack, f"{100 * cell.outcome.robust_accuracy:.1f}", 100 * above))
    return tuple(sorted(found, key=lambda each: -each.points))


def _suspects(rows: Sequence[Row], norm: str, above: float) -> tuple[Suspect, ...]:
    found = []
    for row in rows:
        worst = row.worst_case(norm)
        is_above = worst is not None and worst.accuracy > above >= 0
        doubts = tuple(text for sign, text in row.told() if sign == "▲")
        found.append(Suspect(row.model, _standing(row, norm).text, is_above, doubts or flags_of(row) or ("no such number",)))
    return tuple(sorted(found, key=lambda suspect: not suspect.is_above))
