"""Result files: which names they have, reading that validates, writing that is atomic. What is in them: `records.py`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult, Manifest

if TYPE_CHECKING:
    from robustboard.benchmark.report.results_table import Results

SCHEMA_FILE = "cell.schema.json"
MANIFEST_FILE = "manifest.json"
CERTIFICATE_FILES = ("interval.json", "crown.json", "exact.json")
"""One a method. Certificates lie beside the cells; their contract is `certify/record.py`'s."""
CERTIFICATE_SCHEMA_FILE = "certified.schema.json"
DIAGNOSIS_FILE = "diagnosis.json"
"""What the 23 checks found about a model, beside its cells; its contract is `diagnose/record.py`'s."""
DIAGNOSIS_SCHEMA_FILE = "diagnosis.schema.json"
CANARIES_FILE = "canaries.json"
"""The grades of the attacks' implementations, beside the results: no cell."""
SITE_FILE = "pictures.json"
"""Names the pictures of pages made of results: what lies beside or below it is theirs."""
_NO_CELLS = (
    SCHEMA_FILE,
    MANIFEST_FILE,
    CERTIFICATE_SCHEMA_FILE,
    *CERTIFICATE_FILES,
    DIAGNOSIS_FILE,
    DIAGNOSIS_SCHEMA_FILE,
    CANARIES_FILE,
)

_CELL = TypeAdapter(CellResult)
_MANIFEST = TypeAdapter(Manifest)


def write_cell(result: CellResult, path: Path) -> None:
    """Write atomically; `write_schema` puts the contract beside the results."""
    write_atomically(path, json_by_line(_CELL.dump_python(result, mode="json")))


def read_cell(path: Path) -> CellResult:
    """The result in a file. Raises `InputError` naming the file and the first thing that is wrong with it."""
    try:
        return _CELL.validate_json(path.read_bytes())
    except (OSError, ValidationError) as trouble:
        raise InputError(f"{path} is no result of this program: {first_trouble(trouble)}") from trouble


def write_schema(folder: Path) -> None:
    """Put the JSON Schema of result files into `folder`."""
    write_atomically(folder / SCHEMA_FILE, json.dumps(_CELL.json_schema(), indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a protocol's folder, None without one. Raises `InputError` when it does not read."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        return _MANIFEST.validate_json(path.read_bytes())
    except (OSError, ValidationError) as trouble:
        raise InputError(f"{path} is no manifest of this program: {first_trouble(trouble)}") from trouble


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest atomically."""
    write_atomically(folder / MANIFEST_FILE, json.dumps(_MANIFEST.dump_python(manifest, mode="json"), indent=1) + "\n")


def write_atomically(path: Path, content: str | bytes) -> None:
    """The whole text, as UTF-8, or the bytes; or nothing. Raises `InputError` when the folder cannot be written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        unfinished.replace(path)
    except OSError as trouble:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {trouble.strerror}; choose another folder with --out") from trouble


def files_below(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern below a folder of results, in the order of paths. What is hidden, or belongs to pages made of
    results, is left out."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    sites = {path.parent for path in folder.rglob(SITE_FILE)}
    return [
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and not sites.intersection(path.parents)
    ]


def read_folder(folder: Path) -> tuple[list[CellResult], list[str]]:
    """Every readable cell below `folder` that agrees with itself, in the order of paths, and one sentence a file that is none."""
    cells, troubles = [], []
    for path in files_below(folder, "*.json"):
        if path.name in _NO_CELLS:
            continue
        try:
            cell = read_cell(path)
        except InputError as trouble:
            troubles.append(str(trouble))
            continue
        wrong = cell.contradiction()
        if wrong:
            troubles.append(f"{path} contradicts itself: {wrong}; run it again")
        else:
            cells.append(cell)
    return cells, troubles


def read_manifests(folder: Path) -> tuple[list[Manifest], list[str]]:
    """Every readable manifest at or below `folder`, and one sentence a file that is not one."""
    manifests, troubles = [], []
    for path in files_below(folder, MANIFEST_FILE):
        try:
            manifest = read_manifest(path.parent)
        except InputError as trouble:
            troubles.append(str(trouble))
            continue
        if manifest is not None:
            manifests.append(manifest)
    return manifests, troubles


def load(*folders: str | Path) -> Results:
    """Everything below the folders as a table, one row a cell: `to_pandas()` makes a DataFrame of it, a notebook shows it.

    Raises `InputError` for a folder that is not there, and naming the difference between cells that cannot share a table.
    """
    from robustboard.benchmark.report.results_table import load_results  # noqa: PLC0415  (reports know results, not they them)

    return load_results(*folders)


def json_by_line(blocks: Mapping[str, Any]) -> str:
    """JSON with a line for every field of every block, and for every block of a list, so that two versions of a file can be
    compared."""
    lines = [f" {json.dumps(key)}: {_block(value)}" for key, value in blocks.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _block(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        return "[\n" + ",\n".join(f"  {json.dumps(inner)}" for inner in value) + "\n ]"
    if not isinstance(value, Mapping):
        return json.dumps(value)
    lines = [f"  {json.dumps(key)}: {json.dumps(inner, separators=(', ', ': '))}" for key, inner in value.items()]
    return "{\n" + ",\n".join(lines) + "\n }"


def first_trouble(trouble: Exception) -> str:
    """The first thing that is wrong with a file, in one line."""
    if isinstance(trouble, ValidationError):
        first = trouble.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where + ': ' if where else ''}{first['msg']}"
    return str(trouble).splitlines()[0]
