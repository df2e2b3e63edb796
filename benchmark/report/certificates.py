"""Certificates against attacks: which certificate a row may show, and whether any attack contradicts it."""

from __future__ import annotations

from collections.abc import Sequence

from robustboard.benchmark.certify.record import CertifiedResult
from robustboard.benchmark.radii import radius
from robustboard.benchmark.records import CellResult


def checked(certificates: Sequence[CertifiedResult], cells: Sequence[CellResult]) -> tuple[CertifiedResult | None, list[str]]:
    """Of one model's certificates the strongest that speaks of the same weights, examples and radius as its cells, and the
    marks: what is not shown and why, and every attack that fooled an example that is proved robust."""
    shown: list[CertifiedResult] = []
    marks = []
    for certificate in certificates:
        difference = _difference(certificate, cells)
        if difference:
            marks.append(f"its certificate by {certificate.method.name} is {difference} and is not shown: certify it again")
        else:
            shown.append(certificate)
    for certificate in shown:
        marks += [mark for cell in cells for mark in _contradictions(certificate, cell)]
    return max(shown, key=lambda found: (len(found.robust), found.method.name == "exact"), default=None), marks


def _difference(certificate: CertifiedResult, cells: Sequence[CellResult]) -> str:
    """What keeps a certificate from standing beside the cells, "" if nothing."""
    largest = max(cells, key=lambda cell: cell.outcome.n)
    mine = (certificate.model.weights_sha256, certificate.model.source)
    if mine != (largest.model.weights_sha256, largest.model.source):
        return "of other weights"
    if certificate.dataset.fingerprint != largest.dataset.fingerprint or certificate.dataset.indices != largest.dataset.indices:
        return "of other examples"
    radii = {cell.attack.eps for cell in cells if cell.attack.norm == "linf"}
    if radii and radii != {certificate.method.eps}:
        return f"for ε = {radius(certificate.method.eps)}"
    return ""


def _contradictions(certificate: CertifiedResult, cell: CellResult) -> list[str]:
    """One sentence where a judged attack fooled what is proved robust. In L2 a distance within ε is within ε in L∞ too."""
    robust, examples = certificate.robust, cell.per_example
    within = [
        bool(fooled)
        if cell.attack.norm == "linf"
        else cell.attack.norm == "l2" and bool(found) and _at_most(distance, certificate)
        for fooled, found, distance in zip(examples.fooled, examples.found, examples.distance, strict=True)
    ]
    clean = [not correct for correct in examples.correct_clean]
    hit = [
        index for index, fooled, wrong in zip(examples.index, within, clean, strict=True) if index in robust and (fooled or wrong)
    ]
    if not hit:
        return []
    others = f" and {len(hit) - 1} more" if len(hit) > 1 else ""
    return [
        f"contradiction: {cell.attack.name} fooled example {hit[0]}{others}, which {certificate.method.name} proves robust "
        f"within L∞ {radius(certificate.method.eps)}: one of the two is wrong"
    ]


def _at_most(distance: float | None, certificate: CertifiedResult) -> bool:
    # Distances are recorded to four digits.
    return distance is not None and distance + 5e-5 <= certificate.method.eps
