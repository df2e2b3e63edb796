"""The board of one data set under one protocol: rows of models, their cells, what is missing and what is suspect."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from robustboard.attacks.libraries.library import all_cards
from robustboard.benchmark.adversarials import FILE
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.certify.record import CertifiedResult
from robustboard.benchmark.diagnose.record import Diagnosis
from robustboard.benchmark.protocols import load_protocol, protocol_names
from robustboard.benchmark.records import CellResult, Manifest, NotRun
from robustboard.benchmark.report.alike import refuse_unlike
from robustboard.benchmark.report.certificates import checked
from robustboard.benchmark.report.diagnoses import Flags, flags_by_model
from robustboard.benchmark.report.marks import marks
from robustboard.benchmark.report.newest import newest
from robustboard.benchmark.report.verdicts import jointly_robust_examples, robust_examples
from robustboard.benchmark.statistics import wilson


@dataclass(frozen=True)
class WorstCase:
    """Examples right clean and fooled by no attack of a norm: count, n, and the attacks that were joined."""

    robust: int
    n: int
    attacks: tuple[str, ...]
    upper_bound_only: bool

    @property
    def accuracy(self) -> float:
        return self.robust / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.robust, self.n)


@dataclass(frozen=True)
class Row:
    """A model with its cells by attack, and its marks: sentences on why its numbers are to be distrusted. Those that only
    inform, which `informing` names once more, leave the number what it is. `missing`: planned attacks without a result."""

    model: str
    cells: Mapping[str, CellResult]
    missing: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    certificate: CertifiedResult | None = None
    informing: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    """The protocol's attacks that no run was asked for."""
    stopped: str = ""
    """Why its last run ended before all was done."""

    @property
    def is_doubted(self) -> bool:
        """Whether a mark puts its numbers in doubt."""
        return bool(set(self.marks) - set(self.informing))

    @property
    def main_norm(self) -> str:
        """The norm of the worst case that sorts it: L∞ if it has one."""
        return "linf" if self.of_norm("linf") else "l2"

    def lacks(self, norm: str) -> bool:
        """Whether an attack of the norm, or one of which no norm is known, is missing or was not asked for: the worst case is
        not whole, and what is left of it could fall."""
        worst = self.worst_case(norm)
        return (worst is None or worst.robust > 0) and _are_of(norm, (*self.missing, *self.unasked))

    @property
    def is_suspect(self) -> bool:
        """Whether the worst case that sorts it is in doubt, or not whole: such rows stand last."""
        return self.is_doubted or self.lacks(self.main_norm)

    @property
    def sign(self) -> str:
        """▲ where the row `is_suspect`, △ where a mark, or what is missing, leaves the number that sorts it what it is."""
        return "▲" if self.is_suspect else "△" if self.told() else ""

    def told(self) -> list[tuple[str, str]]:
        """Its marks and what is missing, a sentence each behind its own sign."""
        found = [("△" if mark in self.informing else "▲", mark) for mark in self.marks]
        why = f": its last run stopped, {self.stopped}" if self.stopped else ""
        gone = [
            (self.unasked, f"not asked for, of its protocol: {', '.join(self.unasked)}"),
            (self.missing, f"no result here of {', '.join(self.missing)}{why}"),
        ]
        lacks = self.lacks(self.main_norm)
        return found + [("▲" if lacks and _are_of(self.main_norm, names) else "△", text) for names, text in gone if names]

    def any_cell(self) -> CellResult:
        """The cell with the most examples: it knows the model and its clean accuracy best."""
        return max(self.cells.values(), key=lambda cell: cell.outcome.n)

    def worst_case(self, norm: str) -> WorstCase | None:
        """The union per example over the row's attacks of a norm; None where there are none."""
        cells = self.of_norm(norm)
        return worst_case(cells) if cells else None

    def of_norm(self, norm: str) -> list[CellResult]:
        """The cells of the row's attacks of a norm, the cascade's among them; none where only files of candidates were judged:
        what somebody's file did not fool nobody attacked."""
        found = [cell for cell in self.cells.values() if cell.attack.norm == norm]
        return found if any(cell.attack.implementation != FILE for cell in found) else []

    def above_worst_case(self, cell: CellResult) -> float | None:
        """By what share of its examples the cell's robust accuracy lies above the worst case over all that the row has of its
        norm, on the same examples; None where the norm has no worst case. An example that another cell has wrong clean counts as
        fallen: the row is marked for that."""
        if cell.attack.norm not in CASCADES.values():
            return None
        robust = self._standing[cell.attack.norm]
        stand = [index for index, stands in robust_examples(cell).items() if stands]
        return sum(not robust[index] for index in stand) / cell.outcome.n if robust else None

    @cached_property
    def _standing(self) -> Mapping[str, Mapping[int, bool]]:
        """Norm -> example -> whether it withstands all that the row has of the norm."""
        return {norm: jointly_robust_examples(self.of_norm(norm)) for norm in CASCADES.values()}


@dataclass(frozen=True)
class Board:
    """One table: rows sorted by their worst case, the rows that could not run, the attacks in the order of the plan."""

    title: str
    protocol: str
    version: int
    dataset: str
    attacks: tuple[str, ...]
    rows: tuple[Row, ...]
    not_run: tuple[NotRun, ...] = ()
    notes: tuple[str, ...] = field(default=())


def worst_case(cells: Sequence[CellResult]) -> WorstCase:
    """Over every example that any of the cells covers: right clean and fooled by none that covers it."""
    robust = jointly_robust_examples(cells)
    names = tuple(sorted(cell.attack.name for cell in cells))
    return WorstCase(sum(robust.values()), len(robust), names, any(cell.outcome.upper_bound_only for cell in cells))


def make_boards(
    cells: Iterable[CellResult],
    manifests: Iterable[Manifest],
    certificates: Iterable[CertifiedResult] = (),
    diagnoses: Sequence[Diagnosis] = (),
    known: Sequence[Diagnosis] = (),
) -> list[Board]:
    """One board a protocol and data set, in the order of names. Cells of different versions of a protocol, of different
    examples or of different attack parameters never share a board: `InputError` names the difference. A certificate and a
    diagnosis stand in their model's row, or the row says why not; where a model has no diagnosis of its own, those of other
    protocols lend theirs, and those that are `known` from elsewhere stand in."""
    plans: dict[str, Manifest] = {}
    for manifest in manifests:
        name = manifest.protocol.name
        plans[name] = _joined(plans[name], manifest) if name in plans else manifest
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for cell in cells:
        groups.setdefault((cell.protocol.name, cell.dataset.name), []).append(cell)
    for name, manifest in plans.items():
        for dataset in [*manifest.planned, *(row.dataset for row in manifest.not_run)]:
            groups.setdefault((name, dataset), [])
    proofs: dict[tuple[str, str], list[CertifiedResult]] = {}
    for certificate in certificates:
        key = (certificate.protocol.name, certificate.dataset.name)
        proofs.setdefault(key, []).append(certificate)
        groups.setdefault(key, [])
    for diagnosis in diagnoses:
        groups.setdefault((diagnosis.protocol.name, diagnosis.dataset.name), [])
    order = ["digits", "mnist", "cifar10"]
    keys = sorted(groups, key=lambda key: (key[0], order.index(key[1]) if key[1] in order else len(order), key[1]))
    return [_make_board(*key, groups[key], plans.get(key[0]), proofs.get(key, []), diagnoses, known) for key in keys]


def _make_board(
    protocol: str,
    dataset: str,
    cells: Sequence[CellResult],
    manifest: Manifest | None,
    certificates: Sequence[CertifiedResult],
    diagnoses: Sequence[Diagnosis],
    known: Sequence[Diagnosis],
) -> Board:
    planned = manifest.planned.get(dataset, {}) if manifest else {}
    by_model: dict[str, list[CellResult]] = {}
    for cell in cells:
        by_model.setdefault(cell.model.name, []).append(cell)
    current = {model: newest(found) for model, found in by_model.items()}
    counted = [cell for shown, _ in current.values() for cell in shown.values()]
    refuse_unlike(counted)
    attacks = list(dict.fromkeys(name for names in planned.values() for name in names))
    attacks += sorted({cell.attack.name for cell in cells} - set(attacks))
    columns = tuple(name for name in attacks if name not in CASCADES)
    proofs = {name: [proof for proof in certificates if proof.model.name == name] for name in current}
    flags = flags_by_model({name: shown for name, (shown, _) in current.items()}, (protocol, dataset), diagnoses, known)
    of_protocol = manifest.attacks if manifest else _official(protocol, counted)
    not_run = [row for row in manifest.not_run if row.dataset == dataset] if manifest else []
    stopped = {row.model: row.reason for row in not_run if row.model}
    rows = [
        _make_row(
            name,
            shown,
            planned.get(name, attacks),
            of_protocol,
            stale,
            proofs[name],
            flags[name],
            stopped.get(name, ""),
        )
        for name, (shown, stale) in current.items()
    ]
    here = [look for look in diagnoses if (look.protocol.name, look.dataset.name) == (protocol, dataset)]
    alone = {look.model.name: "diagnosed" for look in here} | {proof.model.name: "certified" for proof in certificates}
    # What the numbers are of goes before what was planned.
    sources: tuple[Sequence[CellResult | Manifest | CertifiedResult | Diagnosis], ...]
    sources = (counted, [manifest] if manifest else [], certificates, here)
    version = next(found.protocol.version for source in sources for found in source)
    return Board(
        title=manifest.title if manifest else protocol,
        protocol=protocol,
        version=version,
        dataset=dataset,
        attacks=columns,
        rows=tuple(sorted(rows, key=partial(_rank, "linf" if any(row.of_norm("linf") for row in rows) else "l2"))),
        not_run=tuple(_without_result(dataset, by_model, not_run, planned, alone)),
        notes=tuple(sorted({cell.dataset.note for cell in cells if cell.dataset.note})),
    )


def _without_result(
    dataset: str, present: Collection[str], not_run: Sequence[NotRun], planned: Iterable[str], alone: Mapping[str, str]
) -> list[NotRun]:
    """What could not be run, what was planned and is not there, and models of which all that is there is what stands `alone`."""
    # What one folder could not run another may hold.
    found = [row for row in not_run if (row.model not in present if row.model else not present)]
    excused = {row.model for row in found}
    absent = [name for name in planned if name not in present and name not in excused and "" not in excused]
    found += [NotRun(dataset, name, "planned, but no result is here: run again") for name in absent]
    told = {*present, *(row.model for row in found)}
    without = "but no attack's result is here: run the attacks"
    return found + [NotRun(dataset, name, f"{what}, {without}") for name, what in sorted(alone.items()) if name not in told]


def _official(protocol: str, cells: Sequence[CellResult]) -> Sequence[str]:
    """The attacks of an official protocol whose manifest is not here; none where the cells are of another version of it."""
    name = protocol.partition("@")[0]
    if name not in protocol_names():
        return ()
    official = load_protocol(name)
    return official.attacks if any(cell.protocol.version == official.version for cell in cells) else ()


def _are_of(norm: str, attacks: Iterable[str]) -> bool:
    return any(_norm_of(name) in (norm, None) for name in attacks)


def _norm_of(attack: str) -> str | None:
    """The norm of an attack or of a worst case by name; None for one that is not known here."""
    card = all_cards().get(attack)
    return card.norm if card else CASCADES.get(attack)


def _joined(first: Manifest, second: Manifest) -> Manifest:
    """Both manifests' plans, and what either could not run."""
    planned = {dataset: dict(models) for dataset, models in first.planned.items()}
    for dataset, models in second.planned.items():
        for model, attacks in models.items():
            mine = planned.setdefault(dataset, {}).get(model, [])
            planned[dataset][model] = list(dict.fromkeys([*mine, *attacks]))
    return replace(first, planned=planned, not_run=list(dict.fromkeys([*first.not_run, *second.not_run])))


def _make_row(
    model: str,
    cells: Mapping[str, CellResult],
    planned: Sequence[str],
    of_protocol: Sequence[str],
    stale: Sequence[str],
    certificates: Sequence[CertifiedResult],
    flags: Flags,
    stopped: str,
) -> Row:
    missing = tuple(name for name in planned if name not in cells)
    unasked = tuple(name for name in of_protocol if name not in planned and name not in cells)
    certificate, troubles = checked(certificates, list(cells.values()))
    found = (*marks(cells), *stale, *troubles, *flags.doubts, *flags.informs)
    return Row(model, cells, missing, found, certificate, flags.informs, unasked, stopped)


def _rank(norm: str, row: Row) -> tuple[bool, float, str]:
    """The most robust in a norm first, who has nothing in it after them; rows that are no more than upper bounds last."""
    worst = row.worst_case(norm)
    return row.is_suspect, -(worst.accuracy if worst else -1.0), row.model
