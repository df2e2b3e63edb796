"""Folders of results in, a folder of pages out: the same results give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from jinja2 import Environment
from tqdm import tqdm

from robustboard.benchmark.canaries.grades import Grade, find_grades
from robustboard.benchmark.diagnose.checks import CHECKS
from robustboard.benchmark.diagnose.record import Diagnosis, read_diagnoses
from robustboard.benchmark.diagnose.table import PASS, verdict_text
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.plots.kinds import KINDS, Missing
from robustboard.benchmark.report import tables
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.diagnoses import INFORMING
from robustboard.benchmark.report.publish import read_boards
from robustboard.benchmark.report.ranks import page as ranks
from robustboard.benchmark.report.rows import to_csv
from robustboard.benchmark.site import datatables, legend
from robustboard.benchmark.site.boards import AT_ONCE, BoardPage, board_pages
from robustboard.benchmark.site.data import comparison, model_json, rows_json
from robustboard.benchmark.site.folder import check_folder, write_folder
from robustboard.benchmark.site.kept import LIST, Kept, read_kept
from robustboard.benchmark.site.models import ModelPage, model_page
from robustboard.benchmark.site.pictures import Chosen, Drawn, Shown, drawn, views
from robustboard.benchmark.site.rendering import environment
from robustboard.benchmark.site.reproduce import citation
from robustboard.models import registry
from robustboard.models.registry import RegistryError

Files = dict[str, bytes]


@dataclass(frozen=True)
class SiteRequest:
    """Folders of results; folders whose cells pictures and optimality may take in; where to; which pictures; the bench that
    those need which run a network; and whether to show no progress."""

    folders: Sequence[Path]
    out: Path
    known: Sequence[Path] = ()
    pictures: Chosen = "all"
    bench: Bench = field(default_factory=Bench)
    quiet: bool = True


@dataclass(frozen=True)
class Built:
    """How many files of how many bytes, what could not be drawn, and one sentence a file that could not be read."""

    files: int
    size: int
    missing: tuple[Missing, ...]
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    """What stands beside the boards: grades, diagnoses, boards of other folders, and sentences on what does not read."""

    grades: Sequence[Grade]
    diagnoses: Sequence[Diagnosis]
    others: Sequence[Board]
    troubles: list[str]


def build(request: SiteRequest) -> Built:
    """Write the site. Raises `InputError` when there is nothing to show, and for a folder that holds something else."""
    check_folder(request.out)
    boards, troubles = read_boards(request.folders, request.known)
    if not boards:
        told = f" ({'; '.join(troubles)})" if troubles else ""
        raise InputError(f"there is nothing to show in {', '.join(map(str, request.folders))}{told}")
    boards = sorted(boards, key=lambda board: not board.rows)  # what has numbers comes first
    known = _known(request, troubles)
    cells = [cell for board in known.others for row in board.rows for cell in row.cells.values()]
    pages, kept = board_pages(boards, known.grades, cells), read_kept(request.out)
    pictures = _pictures(request, pages, known.others, kept)
    files = _assets() | _written(pages, pictures, known)
    write_folder(request.out, files)
    kept.finish()
    gone = [each for of_board in pictures for found in of_board.values() for each in found if isinstance(each, Missing)]
    return Built(len(files), sum(map(len, files.values())), tuple(gone), tuple(known.troubles))


def _known(request: SiteRequest, troubles: list[str]) -> _Known:
    grades: Sequence[Grade] = []
    try:
        grades = find_grades(request.folders)
    except InputError as trouble:
        troubles = [*troubles, str(trouble)]
    diagnoses = [diagnosis for folder in request.folders for diagnosis in read_diagnoses(folder)[0]]
    others = [board for folder in request.known for board in read_boards([folder])[0]]
    return _Known(grades, diagnoses, others, troubles)


def _pictures(
    request: SiteRequest, pages: Sequence[BoardPage], others: Sequence[Board], kept: Kept
) -> list[dict[str, list[Drawn]]]:
    """Of each board its pictures by model."""
    boards = [page.board for page in pages]
    more = [*boards, *others]
    total = sum(1 for board in boards for _ in views(board, more, request.bench))
    with tqdm(total=total, unit=" pictures", disable=request.quiet or request.pictures == "none") as bar:
        return [drawn(board, more, request.bench, request.pictures, kept, bar.update) for board in boards]


def _written(pages: Sequence[BoardPage], pictures: Sequence[Mapping[str, list[Drawn]]], known: _Known) -> Files:
    """Every page with its pictures and data, path -> content."""
    templates = _templates(pages, known.troubles)
    files: Files = {}
    homes, entries = [], {}
    for page, found in zip(pages, pictures, strict=True):
        paths = _picture_paths(page, found)
        for (model, kind), path in paths.items():
            picture = next(each for each in found[model] if isinstance(each, Shown) and each.kind == kind)
            files[path], entries[picture.identity] = picture.content, picture.entry(path)
        shown = {"page": page, "pictures": found.get("", []), "paths": paths, "gallery": _gallery(page, found)}
        homes.append(shown)
        files[f"{page.slug}.html"] = _page(templates, "board.html", "", **shown, citation=citation(page.board))
        for each in _model_pages(page, [*(each.board for each in pages), *known.others], known):
            files[f"models/{page.slug}/{each.slug}.html"] = _page(
                templates, "model.html", "../../", each=each, page=page, pictures=found.get(each.model, []), paths=paths
            )
            files[f"data/{page.slug}/{each.slug}.json"] = model_json(each).encode()
        files[f"data/{page.slug}.csv"] = to_csv(page.rows).encode()
        files[f"data/{page.slug}.json"] = rows_json(page.rows).encode()
        files[f"data/{page.slug}.js"] = comparison(page, found, paths).encode()
    files[LIST] = (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode()
    files["index.html"] = _page(templates, "index.html", "", homes=homes)
    files["compare.html"] = _page(templates, "compare.html", "")
    files["read.html"] = _page(templates, "read.html", "")
    return files


def _templates(pages: Sequence[BoardPage], troubles: Sequence[str]) -> Environment:
    found = environment()
    found.tests["missing_picture"] = lambda drawn: isinstance(drawn, Missing)
    found.globals |= {
        "boards": pages,
        "at_once": AT_ONCE,
        "troubles": troubles,
        "tables": tables,
        "ranks": ranks,
        "legend": legend,
        "checks": CHECKS,
        "informing": INFORMING,
        "passed": PASS,
        "verdict_text": verdict_text,
        "kinds": KINDS,
        "titles": [page.title for page in pages],
    }
    return found


def _page(templates: Environment, name: str, root: str, **shown: object) -> bytes:
    """A template filled in; `root` is the way from the page to the site's folder."""
    return templates.get_template(name).render(root=root, **shown).encode()


def _model_pages(page: BoardPage, boards: Sequence[Board], known: _Known) -> list[ModelPage]:
    try:
        cards = registry.read_cards()
    except RegistryError as trouble:
        raise InputError(str(trouble)) from trouble
    return [model_page(page, line, known.diagnoses, cards, boards) for line in page.lines]


def _picture_paths(page: BoardPage, pictures: Mapping[str, Sequence[Drawn]]) -> dict[tuple[str, str], str]:
    """(model, kind) -> where its picture is, "" for the board's own."""
    return {
        (model, each.kind): f"pictures/{page.slug}/{f'models/{page.slugs[model]}/' if model else ''}{each.kind}.webp"
        for model, found in pictures.items()
        for each in found
        if isinstance(each, Shown)
    }


def _gallery(page: BoardPage, pictures: Mapping[str, Sequence[Drawn]]) -> tuple[str, Shown] | None:
    """The first model from the top whose gallery could be drawn, and the gallery: what a fooled image looks like."""
    found = [
        (line.model, each)
        for line in page.lines
        for each in pictures.get(line.model, ())
        if isinstance(each, Shown) and each.kind == "gallery"
    ]
    return found[0] if found else None


def _assets() -> Files:
    """Style sheets and scripts, DataTables among them with its licence."""
    folder = resources.files("robustboard.benchmark.site") / "assets"
    found = {f"assets/{each.name}": each.read_bytes() for each in folder.iterdir() if each.is_file()}
    found["assets/datatables.js"] = datatables.script().encode()
    found["assets/datatables.LICENCE.txt"] = datatables.licence().encode()
    return found
