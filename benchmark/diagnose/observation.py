"""What a check answers: a verdict, one sentence, and the figures and examples behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from robustboard.benchmark.diagnose.record import Figure, LookedAt, Verdict


@dataclass(frozen=True)
class Observation:
    """A finding before it is given its check's number. `examples` are positions in the split."""

    verdict: Verdict
    reason: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    examples: Sequence[int] = ()
    looked_at: LookedAt = "model"


def not_applicable(reason: str, looked_at: LookedAt = "model") -> Observation:
    """The check asks nothing of this model, and why."""
    return Observation("not applicable", reason, looked_at=looked_at)


def counted(count: int, n: int, points: float = 0.0) -> Verdict:
    """The verdict on `count` of `n` examples that contradict: any is a fact, whatever n is. One warns, more fail where they
    are over `points` percent of n. With 0 points one is enough to fail."""
    if not count:
        return "pass"
    if points == 0:
        return "fail"
    return "fail" if count > 1 and 100 * count > points * n else "warn"


def differing(count: int, n: int, points: float) -> Verdict:
    """The verdict on two accuracies over the same `n` examples that are `count` examples apart: up to `points` percent they
    pass; beyond, a single example warns and more fail."""
    if 100 * count <= points * n:
        return "pass"
    return "fail" if count > 1 else "warn"


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The gravest of several verdicts."""
    order: list[Verdict] = ["fail", "warn", "pass"]
    return next((verdict for verdict in order if verdict in verdicts), "not applicable")


def named(examples: Sequence[int], most: int = 5) -> str:
    """ "(example 3)", "(examples 3, 17 and 8 more)", nothing for none."""
    if not examples:
        return ""
    shown = ", ".join(map(str, examples[:most])) + (f" and {len(examples) - most} more" if len(examples) > most else "")
    return f" (example{'s' if len(examples) > 1 else ''} {shown})"
