"""What lies in a folder of results: cells, files that are no cell and are not meant to be, and what should not be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustboard.benchmark.candidates import CANDIDATES_SUFFIX, candidates_path
from robustboard.benchmark.certify.record import read_certificate
from robustboard.benchmark.diagnose.record import read_diagnosis
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.results import (
    CANARIES_FILE,
    CERTIFICATE_FILES,
    CERTIFICATE_SCHEMA_FILE,
    DIAGNOSIS_FILE,
    DIAGNOSIS_SCHEMA_FILE,
    MANIFEST_FILE,
    SCHEMA_FILE,
    read_cell,
    read_manifest,
)
from robustboard.benchmark.verify.findings import Finding

_KINDS = {
    "schema": "the contract of the files beside them",
    "manifest": "what the runs were meant to fill",
    "grades": "how the attacks did on the canaries",
    "certificate": "a proof, which is checked by proving again: robustboard certify --again",
    "diagnosis": "what the 23 checks found, which is checked by looking again: robustboard diagnose --again",
    "journal": "batches of a run that is not finished",
    "other": "left alone",
}

_READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    MANIFEST_FILE: ("manifest", lambda path: read_manifest(path.parent)),
    DIAGNOSIS_FILE: ("diagnosis", read_diagnosis),
    **dict.fromkeys(CERTIFICATE_FILES, ("certificate", read_certificate)),
}
_UNREAD = {
    CANARIES_FILE: "grades",
    **dict.fromkeys((SCHEMA_FILE, CERTIFICATE_SCHEMA_FILE, DIAGNOSIS_SCHEMA_FILE), "schema"),
}


@dataclass(frozen=True)
class Files:
    """The readable cells by path, findings on files that are not what their names say, and a sentence a kind of other file."""

    cells: Mapping[Path, CellResult]
    findings: tuple[Finding, ...]
    others: tuple[str, ...]


def sorted_out(folder: Path) -> Files:
    """Look at every file below `folder` but hidden ones. Raises `InputError` when there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: name one that robustboard run wrote")
    cells: dict[Path, CellResult] = {}
    findings: list[Finding] = []
    others: dict[str, list[str]] = {}
    candidates: list[Path] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        name = str(path.relative_to(folder))
        if path.name.endswith(CANDIDATES_SUFFIX):
            candidates.append(path)
            continue
        try:
            kind = _kind(path)
            if kind == "cell":
                cells[path] = read_cell(path)
            else:
                others.setdefault(kind, []).append(name)
        except InputError as trouble:
            findings.append(Finding(name, "FAIL", causes=(str(trouble),)))
    named = {candidates_path(path) for path, cell in cells.items() if cell.candidates is not None}
    for path in candidates:
        if path not in named:
            cause = "no cell names these candidates: remove the file, or run the attack again with --keep-adversarials"
            findings.append(Finding(str(path.relative_to(folder)), "FAIL", causes=(cause,)))
    return Files(cells, tuple(findings), tuple(_sentence(kind, names) for kind, names in others.items()))


def _kind(path: Path) -> str:
    """What a file is by its name; of certificates, diagnoses and manifests that they read. Raises `InputError` where one does
    not."""
    if path.name in _READERS:
        kind, read = _READERS[path.name]
        read(path)
        return kind
    if path.name in _UNREAD:
        return _UNREAD[path.name]
    if path.suffix == ".json":
        return "cell"
    return "journal" if ".partial-" in path.name and path.suffix == ".jsonl" else "other"


def _sentence(kind: str, names: Sequence[str]) -> str:
    """ "3 certificate files (digits/relu/crown.json, …): a proof, …"."""
    more = ", …" if len(names) > 1 else ""
    return f"{len(names)} {kind} file{'s' if len(names) > 1 else ''} ({names[0]}{more}): {_KINDS[kind]}"
