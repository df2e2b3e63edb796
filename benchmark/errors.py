"""The errors a person can cause and mend. Each message is one sentence: what was wrong, its value, the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


class InputError(Exception):
    """What was asked for cannot be done. The command line prints the message and exits with 2, without a traceback."""


class DataNotFoundError(InputError):
    """A data set is not on this machine. A run over several data sets goes on with the others and says so."""

    def __init__(self, title: str, message: str) -> None:
        super().__init__(message)
        self.title = title


class ModelFaultError(InputError):
    """A model cannot be evaluated: it raises, or answers with the wrong shape or with values that are not finite."""


class DoubtWarning(UserWarning):
    """The numbers that come back are not to be believed as they are; the message says why."""


def suggest(word: str, known: Iterable[str]) -> str:
    """', did you mean …?' when something known is close to `word`, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def first_line(trouble: BaseException) -> str:
    """The first 200 characters of an exception's first line, without the colours of a terminal; of one that ends in a colon
    also the next line, which says what it announces."""
    lines = [line.strip() for line in click.unstyle(str(trouble)).splitlines() if line.strip()] or [""]
    announced = lines[1:2] if lines[0].endswith(":") else []
    return " ".join([lines[0], *announced])[:200]
