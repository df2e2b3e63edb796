"""What the pages hand on: rows as CSV and JSON, and for the comparison a script that holds every tested pair."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robustboard.benchmark.diagnose.record import as_json
from robustboard.benchmark.report.board import Board
from robustboard.benchmark.report.ranks.intervals import main_column, rank_rows
from robustboard.benchmark.report.rows import ResultRow
from robustboard.benchmark.report.tables import CASCADE_OF
from robustboard.benchmark.site.boards import BoardPage, Line
from robustboard.benchmark.site.models import ModelPage
from robustboard.benchmark.site.pairs import MOST, Pair, Side, pairs_of, sides_of
from robustboard.benchmark.site.pictures import Drawn, Shown

SHOWN_TOGETHER = ("gallery", "epsilon", "confidence")
"""The pictures of two models that stand side by side."""


def rows_json(rows: Sequence[ResultRow]) -> str:
    """The rows as a JSON list, one line a row, the flags as a list."""
    lines = [json.dumps({**row.plain(), "flags": list(row.flags)}, ensure_ascii=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def model_json(page: ModelPage) -> str:
    """A model's rows and its diagnosis."""
    rows = [{**each.row.plain(), "flags": list(each.row.flags)} for each in page.attacks]
    content = {"rows": rows, "diagnosis": as_json(page.diagnosis) if page.diagnosis else None}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def comparison(page: BoardPage, pictures: Mapping[str, Sequence[Drawn]], paths: Mapping[tuple[str, str], str]) -> str:
    """A script that hands the board over: its columns, its models with their cells as text and their verdicts, and every pair
    that was tested. `paths`: where the picture of a (model, kind) is."""
    sides = sides_of(page.board)
    keys = [_key(column.kind, column.of) for column in page.columns]
    examples = {key: sorted(set().union(*(side[key].robust for side in sides if key in side))) for key in keys if key}
    told = {
        "title": page.title,
        "heading": page.sheet.heading,
        "slug": page.slug,
        "dataset": page.board.dataset,
        "columns": [{"header": column.header, "key": key} for column, key in zip(page.columns, keys, strict=True)],
        "models": [_model(line, sides[at], examples, pictures.get(line.model, ()), paths) for at, line in enumerate(page.lines)],
        "examples": examples,
        "most": MOST,
        "ranked": _ranked(page.board),
        "pairs": {f"{a},{b}": {key: _numbers(pair) for key, pair in found.items()} for (a, b), found in pairs_of(sides).items()},
    }
    content = json.dumps(told, separators=(",", ":"))
    return f"(window.robustboard = window.robustboard || {{}})[{json.dumps(page.slug)}] = {content};\n"


def _ranked(board: Board) -> dict[str, Any]:
    """The column that the board is ranked by, as the pairs call it, and the places of every two models that the board tells
    apart there, among all of its pairs; none where it has more than `MOST`."""
    column = main_column(board)
    if column is None or len(board.rows) > MOST:
        return {"key": "", "apart": []}
    places = {row.model: at for at, row in enumerate(board.rows)}
    apart = sorted(sorted(places[model] for model in pair) for pair in rank_rows(board, column).better)
    return {"key": column, "apart": [f"{a},{b}" for a, b in apart]}


def _key(kind: str, of: str) -> str:
    """What a column is called among the tested ones, "" for one that holds no verdicts."""
    return of if kind == "attack" else CASCADE_OF[of] if kind == "worst" else ""


def _model(
    line: Line,
    sides: Mapping[str, Side],
    examples: Mapping[str, Sequence[int]],
    pictures: Sequence[Drawn],
    paths: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    together = [each for each in pictures if isinstance(each, Shown) and each.kind in SHOWN_TOGETHER]
    return {
        "name": line.model,
        "slug": line.slug,
        "sign": line.row.sign,
        "suspect": line.is_suspect,
        "cells": [[f"{cell.number} {cell.rest}".strip(), cell.interval] for cell in line.cells],
        "marks": [f"{mark_sign} {mark}" for mark_sign, mark in line.row.told()],
        "robust": {key: _bits(side, examples[key]) for key, side in sides.items() if key in examples},
        "pictures": [
            {
                "heading": each.heading,
                "path": paths[line.model, each.kind],
                "width": each.width,
                "height": each.height,
                "photo": each.is_photo,
            }
            for each in together
        ],
    }


def _bits(side: Side, indices: Sequence[int]) -> str:
    """A sign an example: 1 where it stands, 0 where not, "." where nothing looked at it."""
    return "".join("." if index not in side.robust else "01"[side.robust[index]] for index in indices)


def _numbers(pair: Pair) -> list[Any]:
    counts = [pair.both, pair.lost, pair.gained, pair.neither]
    if pair.tested is None or pair.p_holm is None:
        return counts
    points = [round(100 * value, 1) for value in (pair.tested.difference, pair.tested.low, pair.tested.high)]
    return [*counts, *points, f"{pair.tested.p_value:.2g}", f"{pair.p_holm:.2g}", pair.is_apart]
