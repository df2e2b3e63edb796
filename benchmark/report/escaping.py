"""Text that is shown as it is, whatever a model is called: nothing in it is a command to a terminal, to Markdown or to LaTeX."""

from __future__ import annotations

import re
import unicodedata

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "κ": r"$\kappa$",
    "−": r"$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "½": r"$\frac{1}{2}$",
    "₀": r"$_0$",
    "²": r"$^2$",
    "✓": r"$\surd$",
    "▲": r"$\blacktriangle$",
    "△": r"$\triangle$",
    "↓": r"$\downarrow$",
}
_ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
_MARKDOWN = re.compile(r"[\\|`*~]|\](?=[(\[])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What is a sign of Markdown's: an underscore within a word is none, a bracket only where a link could close."""


def for_markdown(text: str) -> str:
    """One line that Markdown, in a table or out of it, shows as `text`: no emphasis, code, link, image, tag or entity."""
    line = for_terminal(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\g<0>", line)


def for_terminal(text: str) -> str:
    """One line; what does not print, such as the signs by which a terminal could be driven, is spelled out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in " ".join(text.split()))


def for_latex(text: str) -> str:
    """One line that pdflatex sets as `text` with amssymb alone; a character that it has no font for is named: [U+4E2D]."""
    line = " ".join(text.split())
    return "".join(_latex_sign(sign, before) for before, sign in zip(f"\n{line}", line, strict=False))


def _latex_sign(sign: str, before: str) -> str:
    # Two of these become another sign; at the beginning of a row these belong to the end of the last one.
    if (sign in "-'," and sign == before) or (sign in "[*" and before == "\n"):
        return f"{{{sign}}}"
    if sign in _LATEX:
        return _LATEX[sign]
    if sign.isascii() and sign.isprintable():
        return sign
    plain = unicodedata.normalize("NFD", sign)
    if len(plain) == 2 and plain[0].isascii() and plain[1] in _ACCENTS:
        return f"{_ACCENTS[plain[1]]}{{{plain[0]}}}"
    return f"{{[}}U+{ord(sign):04X}]"
