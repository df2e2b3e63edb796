"""Diagnoses on the board: which one a row may show, and which of its flags put the row last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustboard.benchmark.diagnose.record import Diagnosis, Finding
from robustboard.benchmark.records import CellResult

INFORMING: Mapping[int, str] = {
    2: "which loss finds more depends on the model; a worst case goes on with APGD on cross-entropy and on DLR, and without one "
    "checks 7, 10 and 11 may find what a loss left",
    3: "the board's FGSM and BIM climb the margin, whose direction no scale changes; a move by cross-entropy says that an attack "
    "on cross-entropy would be the weaker",
    8: "the worst case joins FGSM and BIM, where both were run, example by example: what either fooled is fooled",
    17: "a hint why an attack may fail, and no example that falls",
    19: "the column of that attack is weak, and the worst case joins the others of its norm; where there are none, it is as weak",
    22: "modes are put back after a run; where a side effect changes answers, checks 5 and 21 see it",
}
"""The checks whose failure is told beside a row's number and does not put the row last, and why the number does not hang on it.

A failed check puts the row last where it shows that the number is too high or cannot be had again: an example that counts as
robust was fooled (7, 9, 10, 11, 15), gradient attacks had nothing to climb or nowhere to go (1, 4, 6, 13, 16, 20, 23), an
answer is not the same twice (5, 12, 14, 21), an attack broke a rule (18).
"""


_OF_THE_ATTACKS = frozenset({18, 19})
"""The checks of what attacks did, not of what the model is: they say nothing where other attacks ran."""
NOT_DIAGNOSED = "not diagnosed: whether its attacks had a chance is not known (robustboard diagnose)"


@dataclass(frozen=True)
class Flags:
    """A row's marks from its diagnosis: those that put it in doubt and those that only inform."""

    doubts: tuple[str, ...] = ()
    informs: tuple[str, ...] = ()


def flags_of(
    diagnoses: Sequence[Diagnosis],
    cells: Mapping[str, CellResult],
    lent: Sequence[Diagnosis] = (),
    *,
    known: Sequence[Diagnosis] = (),
) -> Flags:
    """The failed checks of one model's newest diagnosis that speaks of the same weights, code and cells as the row's: it alone
    speaks, its attacks are those of the row; of cells that came later it says that it does not know them. Without one the row
    says so, or why the one that is there does not fit, and has the failed checks of the same model's older diagnoses and of
    those elsewhere, `lent` by other protocols or by results that are `known`: what a model hides it hides from every attack.
    Only one that is known stands in with what it passed, too. A check that warns is for the diagnosis' own table: one example
    in a thousand is no reason to mark a row."""
    newest = shown(diagnoses, cells)
    if newest is not None:
        return _with(_told([finding for finding in newest.findings if not _is_said(finding, cells)]), _later(newest, cells))
    found = [_borrowed(older, cells, "before") for older in _newest_of_each(diagnoses, cells)]
    found += [_borrowed(other, cells, _where(other)) for other in _newest_of_each([*lent, *known], cells)]
    informs = [text for flags in found for text in flags.informs]
    informs += _differences(diagnoses, cells)
    if not diagnoses and not _newest_of_each(known, cells):
        informs.append(NOT_DIAGNOSED)
    return Flags(tuple(text for flags in found for text in flags.doubts), tuple(informs))


def flags_by_model(
    cells: Mapping[str, Mapping[str, CellResult]],
    board: tuple[str, str],
    diagnoses: Sequence[Diagnosis],
    known: Sequence[Diagnosis],
) -> dict[str, Flags]:
    """The flags of every model of a board, (protocol, data set), from its cells by attack: its own diagnoses are among
    `diagnoses`, where those under other protocols stand, too."""
    protocol, dataset = board
    return {
        name: flags_of(
            of_model(diagnoses, protocol, dataset, name),
            shown_cells,
            under_others(diagnoses, protocol, dataset, name),
            known=[look for look in known if (look.dataset.name, look.model.name) == (dataset, name)],
        )
        for name, shown_cells in cells.items()
    }


def _with(flags: Flags, informs: Sequence[str]) -> Flags:
    return Flags(flags.doubts, (*flags.informs, *informs))


def _later(diagnosis: Diagnosis, cells: Mapping[str, CellResult]) -> list[str]:
    """A sentence on the cells that a diagnosis does not know, if there are any."""
    later = [name for name in cells if name not in diagnosis.cells]
    return [f"its diagnosis was made before {' and '.join(later)} {_were(later)} run: diagnose it again"] if later else []


def _were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _newest_of_each(diagnoses: Sequence[Diagnosis], cells: Mapping[str, CellResult]) -> list[Diagnosis]:
    """Of the diagnoses of the same weights and code the newest under each version of each protocol."""
    newest: dict[tuple[str, int], Diagnosis] = {}
    for diagnosis in sorted(diagnoses, key=_finished):
        if not _other_model(diagnosis, _largest(cells)):
            newest[diagnosis.protocol.name, diagnosis.protocol.version] = diagnosis
    return list(newest.values())


def _where(diagnosis: Diagnosis) -> str:
    return f"elsewhere, under {diagnosis.protocol.name} v{diagnosis.protocol.version}"


def _borrowed(diagnosis: Diagnosis, cells: Mapping[str, CellResult], where: str) -> Flags:
    findings = [each for each in diagnosis.findings if each.number not in _OF_THE_ATTACKS]
    return _told([each for each in findings if not _is_said(each, cells)], where)


def _told(findings: Iterable[Finding], where: str = "") -> Flags:
    told = [(sign_of(each), f"check {each.number}{' ' * bool(where)}{where}: {each.reason}") for each in findings]
    return Flags(tuple(text for sign, text in told if sign == "▲"), tuple(text for sign, text in told if sign == "△"))


def is_told(finding: Finding) -> bool:
    """Whether a finding marks its model wherever its numbers stand: a check that failed, or that an exception stopped."""
    return finding.verdict in ("fail", "not made")


def sign_of(finding: Finding) -> str:
    """▲ for a finding that puts its model's row in doubt, △ for one that informs, "" for the others."""
    return "" if not is_told(finding) else "△" if finding.number in INFORMING else "▲"


def shown(diagnoses: Sequence[Diagnosis], cells: Mapping[str, CellResult]) -> Diagnosis | None:
    """Of one model's diagnoses the newest that speaks of the same weights, code and cells as the row's; None without one."""
    fitting = [diagnosis for diagnosis in diagnoses if not _difference(diagnosis, cells)]
    return max(fitting, key=_finished, default=None)


def of_model(diagnoses: Iterable[Diagnosis], protocol: str, dataset: str, model: str) -> list[Diagnosis]:
    """Those of one model on one data set under one protocol."""
    wanted = (protocol, dataset, model)
    return [found for found in diagnoses if (found.protocol.name, found.dataset.name, found.model.name) == wanted]


def under_others(diagnoses: Iterable[Diagnosis], protocol: str, dataset: str, model: str) -> list[Diagnosis]:
    """Those of one model on one data set under all protocols but one."""
    return [
        found
        for found in diagnoses
        if found.protocol.name != protocol and (found.dataset.name, found.model.name) == (dataset, model)
    ]


def _finished(diagnosis: Diagnosis) -> str:
    return diagnosis.environment.finished


def _largest(cells: Mapping[str, CellResult]) -> CellResult:
    return max(cells.values(), key=lambda cell: cell.outcome.n)


def _differences(diagnoses: Iterable[Diagnosis], cells: Mapping[str, CellResult]) -> list[str]:
    """A sentence a reason why the model's diagnoses do not fit its cells."""
    told = []
    for diagnosis in diagnoses:
        hidden = " and is not shown" if _other_model(diagnosis, _largest(cells)) else ""
        told.append(f"its diagnosis {_difference(diagnosis, cells)}{hidden}: diagnose it again")
    return list(dict.fromkeys(told))


def _difference(diagnosis: Diagnosis, cells: Mapping[str, CellResult]) -> str:
    """What keeps a diagnosis from standing beside the cells, "" if nothing."""
    cell = _largest(cells)
    other = _other_model(diagnosis, cell)
    if other:
        return other
    if diagnosis.protocol.version != cell.protocol.version:
        return f"is of version {diagnosis.protocol.version} of the protocol"
    older = [name for name, identity in diagnosis.cells.items() if name not in cells or cells[name].identity != identity]
    return f"went by an older {' and '.join(older)}" if older else ""


def _other_model(diagnosis: Diagnosis, cell: CellResult) -> str:
    """What says that a diagnosis is of another model than the cell, "" if nothing."""
    if diagnosis.model.weights_sha256 != cell.model.weights_sha256:
        drawn = cell.model.source != "registry"
        return "is of other weights" + (" (a model that draws its own at every start needs a seed)" if drawn else "")
    if (diagnosis.model.source, diagnosis.model.code) != (cell.model.source, cell.model.code):
        return "is of other code"
    return ""


def _is_said(finding: Finding, cells: Mapping[str, CellResult]) -> bool:
    """Whether the row's cells say it themselves: that outputs are no logits (check 4), that their attacks failed (check 18)."""
    if finding.number == 4:
        return any(cell.model.output != "logits" for cell in cells.values())
    return (
        finding.number == 18
        and finding.looked_at == "cells"
        and all(name in cells for name, count in finding.figures.items() if count)
    )
