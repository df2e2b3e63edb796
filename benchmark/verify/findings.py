"""What verifying came to: one finding a cell, and what else lay in the folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "pass in part", "attack not verified", "not verified", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One cell, or file. `recorded` is the cell's robust accuracy, `shown` what its candidates alone show, `judged` how many
    there are; of `robust` examples that it records as robust `again` were attacked again, None where none could be; `causes` say
    why it fails, `remarks` what was not or not wholly checked."""

    name: str
    status: Status
    recorded: float | None = None
    shown: float | None = None
    judged: int = 0
    robust: int = 0
    again: int | None = None
    causes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All findings, in the order of paths, one sentence a kind of file that is no cell, and the seed by which the examples were
    drawn that were attacked again."""

    findings: tuple[Finding, ...]
    others: tuple[str, ...]
    seed: int = 0

    @property
    def failed(self) -> bool:
        """Whether anything is not what it says."""
        return any(finding.status == "FAIL" for finding in self.findings)

    @property
    def is_empty(self) -> bool:
        """Whether neither model nor data of any cell was here, so that nothing was put to a network."""
        return all(finding.status == "not verified" for finding in self.findings)

    @property
    def is_whole(self) -> bool:
        """Whether every cell's candidates were judged and fool the model as it says."""
        return all(finding.status == "pass" for finding in self.findings)
