r"""Sheets in LaTeX, with booktabs: a file that pdflatex sets as it is, and that a paper may \input."""

from __future__ import annotations

from collections.abc import Sequence

from robustboard.benchmark.report.escaping import for_latex
from robustboard.benchmark.report.sheet import Grid, Sheet

PACKAGES = r"\usepackage{amssymb,booktabs,graphicx}"
# Within a document \@nodocument is \relax: then the file brings no preamble and no end.
_BEGIN = rf"""% pdflatex sets this file as it is; a paper that says {PACKAGES} may \input it.
\makeatletter
\ifx\@nodocument\relax\let\robustboardend\relax\else
\documentclass{{article}}
\usepackage[landscape,margin=15mm]{{geometry}}
{PACKAGES}
\def\robustboardend{{\end{{document}}}}
\begin{{document}}
\fi
\makeatother
"""
_END = "\\robustboardend\n"


def document(sheets: Sequence[Sheet]) -> str:
    """The sheets, one table environment each."""
    return _BEGIN + "".join(f"\n{_table(sheet)}\n" for sheet in sheets) + _END


def _table(sheet: Sheet) -> str:
    lines = [r"\begin{table}[htbp]", r"\centering", rf"\caption{{{for_latex(sheet.heading)}}}"]
    if sheet.table is not None:
        lines += [_grid(sheet.table), r"\par\medskip"]
    if sheet.optimality is not None:
        lines += [_grid(sheet.optimality), r"\par\medskip"]
    lines += [r"\begin{minipage}{\linewidth}\footnotesize"]
    lines += [rf"{for_latex(text)}\par" for text in (sheet.budgets,) if text]
    lines += [rf"{_bold(text)}\par" for text in (sheet.legend, sheet.optimality_legend) if text]
    lines += [rf"{for_latex(bullet)}\par" for bullet in sheet.bullets]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"])


def _grid(table: Grid) -> str:
    """A table no wider than the line; a row's intervals stand under its numbers."""
    columns = "l" + "r" * (len(table.headers) - 1)
    lines = [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"]
    first, *others = table.headers
    lines += [r"\toprule", _row([for_latex(first), *map(_header, others)]), r"\midrule"]
    for row in table.rows:
        parts = [(row[0], ""), *(_parted(cell) for cell in row[1:])]
        lines.append(_row([for_latex(number) for number, _ in parts]))
        if any(interval for _, interval in parts):
            lines.append(_row([rf"{{\scriptsize {for_latex(interval)}}}" if interval else "" for _, interval in parts]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}"])


def _row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _header(text: str) -> str:
    """A word a line."""
    words = [for_latex(word) for word in text.split(" ")]
    return r"\shortstack[r]{" + r"\\".join(words) + "}"


def _parted(cell: str) -> tuple[str, str]:
    """ "≤ 89.5" and "[87.4–91.3] ▲" of "≤ 89.5 [87.4–91.3] ▲"."""
    number, bracket, rest = cell.partition(" [")
    return number, f"[{rest}" if bracket else ""


def _bold(text: str) -> str:
    """Words between ** in bold."""
    parts = text.split("**")
    return "".join(rf"\textbf{{{for_latex(part)}}}" if at % 2 else _spaced(part) for at, part in enumerate(parts))


def _spaced(text: str) -> str:
    """The text with a space kept at either end."""
    return f"{' ' * text.startswith(' ')}{for_latex(text)}{' ' * text.endswith(' ')}"
