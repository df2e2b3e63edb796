"""What a run shows while it works: two bars on a terminal, plain lines elsewhere. On stderr, so that tables can be piped."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE_EVERY_S = 15.0


class Progress:
    """One bar over cells with a time to the end, one inside the cell. Without a terminal a line a finished cell, and one
    now and then inside a long one. `unit` is what a cell is done by, `counted` what is told of those that are counted."""

    def __init__(self, cells: int, quiet: bool = False, counted: str = "fooled", unit: str = "examples") -> None:
        self._cells = cells
        self._finished = 0
        self._quiet = quiet
        self._counted = counted
        self._unit = unit
        self._terminal = sys.stderr.isatty() and not quiet
        self._outer: tqdm[Any] | None = None
        self._inner: tqdm[Any] | None = None
        self._title, self._total, self._done, self._count = "", 0, 0, 0
        self._said = time.monotonic()
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        if self._terminal:
            self._outer = tqdm(total=self._cells, desc="cells", unit="cell", position=0, smoothing=0.1)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for bar in (self._inner, self._outer):
            if bar is not None:
                bar.close()

    def begin(self, attack: str, model: str, total: int, done: int, count: int) -> None:
        """A cell starts, perhaps with examples that an earlier run finished, `count` of them to be counted."""
        self._title, self._total, self._done, self._count = f"{attack}  {model}", total, done, count
        self._said = time.monotonic()
        if self._terminal:
            self._inner = tqdm(total=total, initial=done, desc=self._title, unit=f" {self._unit}", position=1, leave=False)

    def advance(self, done: int, count: int) -> None:
        """A batch of the cell is finished, `count` of it to be counted."""
        self._done += done
        self._count += count
        if self._inner is not None:
            self._inner.set_postfix_str(self._share(), refresh=False)
            self._inner.update(done)
        elif time.monotonic() - self._said > LINE_EVERY_S:
            self._line(f"{self._title}  {self._so_far()}")

    def end(self) -> None:
        """The cell is finished."""
        self.skip()
        if self._inner is not None:
            self._inner.close()
            self._inner = None
        else:
            self._line(
                f"[{self._finished}/{self._cells}] {self._title}  {self._so_far()}  ({time.monotonic() - self._started:.0f} s)"
            )

    def skip(self) -> None:
        """A cell needs no work."""
        self._finished += 1
        if self._outer is not None:
            self._outer.update()

    def note(self, text: str) -> None:
        """One sentence that a person must see."""
        if self._quiet:
            return
        tqdm.write(text, file=sys.stderr)

    def _so_far(self) -> str:
        return f"{self._done}/{self._total} {self._unit} done, {self._share()}"

    def _share(self) -> str:
        return f"{self._count / max(1, self._done):.1%} of them {self._counted}"

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)
