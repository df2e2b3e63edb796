r"""Sheets in LaTeX, with booktabs: a file that pdflatex sets as it is, and that a paper may \input."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustboard.benchmark.report.escaping import for_latex
from robustboard.benchmark.report.sheet import Grid, Sheet

PACKAGES = r"\usepackage{amssymb,array,booktabs,longtable}"
# Within a document \@nodocument is \relax: then the file brings no preamble and no end.
_BEGIN = rf"""% pdflatex sets this file as it is; a paper that says {PACKAGES} may \input it.
% A table breaks over pages. The columns that a line has no room for follow below, beside the models once more: pages on their
% side (landscape, of the package lscape) have more room. A paper of two columns has pages of one for it, as longtable wants.
\makeatletter
\ifx\@nodocument\relax
\if@twocolumn\onecolumn\let\robustboardend\twocolumn\else\let\robustboardend\relax\fi
\else
\documentclass{{article}}
\usepackage[a4paper,landscape,margin=10mm,includefoot]{{geometry}}
{PACKAGES}
\def\robustboardend{{\end{{document}}}}
\begin{{document}}
\fi
"""
_MACROS = r"""% The number of columns, the caption or nothing, the head, the rows.
\def\robustboardtable#1#2#3#4{\begingroup
  \scriptsize\setlength\LTcapwidth\linewidth
  % All rows at once: the widths are known, and a single run aligns them.
  \setcounter{LTchunksize}{100000}%
  \def\rb@count{#1}\def\rb@caption{#2}\def\rb@head{#3\\\midrule}\def\rb@rows{#4}\def\rb@from{2}%
  \rb@measure\rb@block
  \endgroup}
\def\robustboardhead#1{\begin{tabular}[b]{@{}r@{}}#1\end{tabular}}
\def\robustboardcell#1#2{\begin{tabular}[t]{@{}r@{}}#1\\[-1.5pt]\tiny#2\end{tabular}}
\def\rb@measure{\let\rb@columns\@empty
  \rb@each{\expandafter\gdef\csname rb@\number\@tempcnta\endcsname{0pt}\rb@hide}%
  \setbox\z@\hbox{\expandafter\tabular\expandafter{\rb@columns}\rb@head\rb@rows\endtabular}%
  \ifdim\csname rb@1\endcsname>.3\linewidth\expandafter\edef\csname rb@1\endcsname{\the\dimexpr.3\linewidth\relax}\fi}
\def\rb@block{\rb@choose
  \ifx\rb@caption\@empty
    \addtocounter{table}{-1}\let\rb@caption\rb@continued
  \fi
  \expandafter\rb@begin\expandafter{\rb@columns}\rb@caption\toprule\rb@head\endfirsthead
  \rb@continued\toprule\rb@head\endhead\bottomrule\endfoot\rb@rows\end{longtable}%
  \let\rb@caption\@empty\let\rb@from\rb@next
  \ifnum\rb@from>\z@\expandafter\rb@block\fi}
\def\rb@begin{\begin{longtable}}
\def\rb@continued{\multicolumn{\rb@count}{@{}l}{\tablename~\thetable, continued}\\[\smallskipamount]}
% The columns from \rb@from on that a line has room for; \rb@next is the first that it has not, or 0.
\def\rb@choose{\let\rb@columns\@empty\def\rb@next{0}\dimen@\dimexpr\linewidth-\csname rb@1\endcsname\relax
  \rb@each\rb@place\rb@add{@{}}}
\def\rb@place{\ifnum\@tempcnta=\@ne\rb@show{}\raggedright\else
  \dimen@ii\dimexpr\csname rb@\number\@tempcnta\endcsname+.7em\relax
  \ifdim\dimen@ii>\dimen@\ifnum\@tempcnta>\rb@from\relax\ifnum\rb@next=\z@\edef\rb@next{\number\@tempcnta}\fi\fi\fi
  \ifnum\@tempcnta<\rb@from\relax\rb@hide\else\ifnum\rb@next>\z@\rb@hide\else
    \advance\dimen@-\dimen@ii\rb@show{\hskip.7em\relax}\raggedleft
  \fi\fi\fi}
\def\rb@each#1{\@tempcnta\@ne\@whilenum\@tempcnta<\numexpr\rb@count+1\relax\do{#1\advance\@tempcnta\@ne}}
\def\rb@add#1{\edef\rb@columns{\unexpanded\expandafter{\rb@columns}#1}}
\def\rb@show#1#2{\rb@add{@{\unexpanded{#1}}>{\unexpanded{#2\arraybackslash}}p{\csname rb@\number\@tempcnta\endcsname}}}
% A column that is measured and not shown.
\def\rb@hide{\rb@add{@{}>{\unexpanded{\setbox\z@\hbox\bgroup}}l<{\unexpanded{\egroup\rb@widen}{\number\@tempcnta}}}}
\def\rb@widen#1{\ifdim\wd\z@>\csname rb@#1\endcsname\relax\expandafter\xdef\csname rb@#1\endcsname{\the\wd\z@}\fi}
\makeatother
"""
_END = "\\robustboardend\n"
_PARTED = re.compile(r"((?:[≤≥=] )?[\d.,–]+) (.+)")
_UNBROKEN = 30
"""Characters of a word after which a line may end."""


def document(sheets: Sequence[Sheet]) -> str:
    """The sheets, a table each, with its text below."""
    return _BEGIN + _MACROS + "".join(f"\n{_sheet(sheet)}\n" for sheet in sheets) + _END


def _sheet(sheet: Sheet) -> str:
    caption = rf"\caption{{{for_latex(sheet.heading)}}}\label{{{_label(sheet.heading)}}}\\"
    lines = [_grid(sheet.table or Grid(("model",), ()), caption)]
    if sheet.optimality is not None:
        lines.append(_grid(sheet.optimality, ""))
    lines.append(r"{\footnotesize\raggedright\parindent=0pt")
    lines += [rf"{for_latex(sheet.budgets)}\par"] if sheet.budgets else []
    lines += [rf"{_bold(text)}\par" for text in (sheet.legend, sheet.optimality_legend) if text]
    lines += [rf"{_breakable(bullet)}\par" for bullet in sheet.bullets]
    return "\n".join([*lines, "}"])


def _label(heading: str) -> str:
    """ "tab:mnist-standard-protocol-standard-v8" of "MNIST · standard · protocol standard v8"."""
    return "tab:" + re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _grid(table: Grid, caption: str) -> str:
    first, *others = table.headers
    lines = [rf"\robustboardtable{{{len(table.headers)}}}{{{caption}}}{{%"]
    lines.append(" & ".join([for_latex(first), *map(_header, others)]) + "}{%")
    lines += [rf"{' & '.join([_breakable(name), *map(_cell, cells)])} \\\addlinespace[2pt]" for name, *cells in table.rows]
    return "\n".join([*lines, "}"])


def _header(text: str) -> str:
    """A word a line."""
    words = r"\\".join(for_latex(word) for word in re.split(r" |(?<=_)", text))
    return rf"\robustboardhead{{{words}}}"


def _cell(text: str) -> str:
    """An interval, and what else follows a number, stands under it."""
    found = _PARTED.fullmatch(text)
    return rf"\robustboardcell{{{for_latex(found[1])}}}{{{for_latex(found[2])}}}" if found else for_latex(text)


def _breakable(text: str) -> str:
    """The text, in which long words may break as well."""
    words = [[word[at : at + _UNBROKEN] for at in range(0, len(word), _UNBROKEN)] for word in text.split()]
    return " ".join(r"\allowbreak{}".join(map(for_latex, parts)) for parts in words)


def _bold(text: str) -> str:
    """Words between ** in bold."""
    parts = text.split("**")
    return "".join(rf"\textbf{{{for_latex(part)}}}" if at % 2 else _spaced(part) for at, part in enumerate(parts))


def _spaced(text: str) -> str:
    """The text with a space kept at either end."""
    return f"{' ' * text.startswith(' ')}{for_latex(text)}{' ' * text.endswith(' ')}"
