"""Whether a cell agrees with itself: what follows from its own numbers, with no model asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from robustboard.benchmark.assembly import outcome
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.evaluate import ExampleRecord
from robustboard.benchmark.judge import TOLERANCE, Threat
from robustboard.benchmark.records import CellResult

RECORDED = 5e-5
"""What a distance or a confidence loses when it is recorded to four digits."""
_SUMMED_UP = 3 * RECORDED
"""How far a mean or a quantile of recorded values can be from the recorded mean: the values, and either mean, were rounded."""
_COUNTED = (
    "clean_accuracy",
    "robust_accuracy",
    "robust_accuracy_ci95",
    "n",
    "n_fooled",
    "n_attack_failures",
    "unfooled",
    "upper_bound_only",
)


@dataclass
class Causes:
    """What is wrong with a cell, by kind, so that a hundred examples with one fault make one sentence; and what of it could
    not be checked."""

    _examples: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _sentences: list[str] = field(default_factory=list)
    _remarks: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """A fault of the cell as a whole."""
        self._sentences.append(sentence)

    def blame(self, index: int, kind: str, sentence: str) -> None:
        """A fault of one example; of the further examples of the same `kind` only the number is told."""
        self._examples.setdefault(kind, []).append((index, sentence))

    def remark(self, sentence: str) -> None:
        """No fault: what could not be checked."""
        self._remarks.append(sentence)

    def remarked(self) -> tuple[str, ...]:
        """What was not checked, a sentence each."""
        return tuple(self._remarks)

    def told(self) -> tuple[str, ...]:
        """One sentence a kind."""
        examples = [
            f"example {found[0][0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {found[0][1]}"
            for found in self._examples.values()
        ]
        return (*self._sentences, *examples)


def threat_of(cell: CellResult) -> Threat:
    """What the attack of a cell was allowed."""
    return Threat(cell.attack.norm, cell.attack.eps, cell.attack.aim)


def disagreements(cell: CellResult, causes: Causes) -> None:
    """Add what in a cell contradicts the rest of it."""
    if cell.identity != recorded_identity(cell):
        causes.say("its identity is not the hash of weights, examples, attack, parameters, ε, seed and protocol: one was changed")
    if cell.per_example.index != cell.dataset.indices:
        causes.say("its examples are not those that its data set block lists")
    if len(set(cell.dataset.indices)) != cell.dataset.n:
        causes.say("it counts an example twice")
    for example in _examples(cell):
        for kind, sentence in _broken(example, threat_of(cell)).items():
            causes.blame(example.index, kind, sentence)
    for sentence in _outcome_disagreements(cell):
        causes.say(sentence)


def _examples(cell: CellResult) -> list[ExampleRecord]:
    """The examples as the records they were made from, as far as a cell tells."""
    rows = cell.per_example
    return [
        ExampleRecord(
            index=rows.index[at],
            correct_clean=bool(rows.correct_clean[at]),
            clean_confidence=rows.clean_confidence[at],
            fooled=bool(rows.fooled[at]),
            found=bool(rows.found[at]),
            distance=rows.distance[at],
            confidence=rows.confidence[at],
            failure="failed" if rows.attack_failed[at] else "",
            iterations=rows.iterations[at],
        )
        for at in range(len(rows.index))
    ]


def _broken(example: ExampleRecord, threat: Threat) -> dict[str, str]:
    """The rules of a record that one example breaks: kind -> sentence."""
    found, distance, slack = example.found, example.distance, TOLERANCE + RECORDED
    clean_error = not example.correct_clean and distance == 0
    at = "" if distance is None else f"at distance {distance:g} for ε = {threat.epsilon:g}"
    over = found and distance is not None and distance > threat.epsilon + slack
    within = found and distance is not None and distance < threat.epsilon - slack
    rules = {
        "it is fooled, and yet nothing was found": example.fooled and not found,
        "something was found, and yet it has no distance or no confidence": found
        and (distance is None or example.confidence is None),
        "nothing was found, and yet it has a distance or a confidence": not found
        and not (example.confidence is None and (distance is None or clean_error)),
        "it is wrong clean, and yet it was attacked": found and not example.correct_clean and threat.aim != "confidence",
        "the attack failed, and yet something was found": found and bool(example.failure) and example.correct_clean,
        "something was found, and yet it is not fooled": found and not example.fooled and (threat.is_bound or within),
        "it is fooled over budget": example.fooled and over,
    }
    return {kind: f"{kind} {at}".rstrip() for kind, is_broken in rules.items() if is_broken}


def _outcome_disagreements(cell: CellResult) -> Iterator[str]:
    """Where the outcome is not what the examples come to."""
    examples, told = _examples(cell), cell.outcome
    counted = outcome(examples, threat_of(cell), has_start=False)
    for name in _COUNTED:
        if not _near(getattr(told, name), getattr(counted, name), 1e-9):
            yield f"its {name} is {_shown(getattr(told, name))}, but its examples come to {_shown(getattr(counted, name))}"
    if sum(told.failure_reasons.values()) != counted.n_attack_failures:
        yield "its failure_reasons do not sum up to its attack failures"
    if told.fooled_after_rounding > sum(example.fooled and example.correct_clean for example in examples):
        yield "more of its examples are fooled after rounding than before"
    if set(told.distance_quantiles) != set(counted.distance_quantiles) or not all(
        _near(value, counted.distance_quantiles[name], _SUMMED_UP) for name, value in told.distance_quantiles.items()
    ):
        yield "its distance_quantiles are not those of its distances"
    if not _near(told.confidence_on_fooled, counted.confidence_on_fooled, _SUMMED_UP):
        yield (
            f"its confidence_on_fooled is {_shown(told.confidence_on_fooled)}, but its examples come to "
            f"{_shown(counted.confidence_on_fooled)}"
        )
    yield from _curve_disagreements(told.robust_accuracy_at, counted.robust_accuracy_at, examples)


def _curve_disagreements(
    told: Sequence[tuple[float, float]], counted: Sequence[tuple[float, float]], examples: Sequence[ExampleRecord]
) -> Iterator[str]:
    if [radius for radius, _ in told] != [radius for radius, _ in counted]:
        yield "its robust_accuracy_at is told at other radii than its ε asks for"
        return
    for (radius, mine), (_, theirs) in zip(told, counted, strict=True):
        # Of a distance recorded to four digits it is not known on which side of the radius it lay.
        open_ones = sum(e.distance is not None and abs(e.distance - radius) <= TOLERANCE + RECORDED for e in examples)
        if not _near(mine, theirs, open_ones / len(examples) + 1e-9):
            yield f"its robust accuracy at {radius:g} is {_shown(mine)}, but its distances come to {_shown(theirs)}"
            return


def _near(mine: object, theirs: object, slack: float) -> bool:
    if isinstance(mine, tuple) and isinstance(theirs, tuple):
        return all(_near(first, second, slack) for first, second in zip(mine, theirs, strict=True))
    if isinstance(mine, float) and isinstance(theirs, float):
        return abs(mine - theirs) <= slack
    return mine == theirs


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
