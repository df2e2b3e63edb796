"""Who fools whom: adversarial examples made on every model, put to every other; within families and across."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from robustboard.benchmark.errors import InputError
from robustboard.benchmark.judge import TOLERANCE, judge
from robustboard.benchmark.plots.bands import Counts, Values
from robustboard.benchmark.plots.bench import Attacked, Setting, Sitter, attacked, sitting
from robustboard.benchmark.plots.heat import matrix
from robustboard.benchmark.plots.picture import WIDTH, About, Picture, sheet
from robustboard.benchmark.plots.style import SMALL, plain, styled, text_width
from robustboard.benchmark.plots.view import View
from robustboard.benchmark.plots.words import attack_words, name_of, percent, where
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.statistics import wilson
from robustboard.models.recipe import RecipeError, parse_recipe

USUAL_N = 200
ATTACK = "fgsm"
MOST = 12
CELL, AXIS, FOOT = 0.75, 0.75, 0.5
"""Inches of the largest cell, of what stands left of the names, and of what stands below the cells."""
HALF = "half"
NOTE = (
    "Rows: the model that the adversarial examples were made on; columns: the model that looks at them. In each cell: of the "
    "examples that both models have right clean, the share in % that fool the column's (what is wrong is not attacked). On the "
    "diagonal the attack itself. Attacks that stop as soon as they fool their own model carry over less than those that go on. "
    "Run anew on the first n test examples."
)


@dataclass(frozen=True)
class Transfer:
    """`fooled[s, t]`: how many of the `right[s, t]` examples that models s and t both have right are misclassified by t, within
    ε, as made on s, (S, S) both; the models' names and families, and n."""

    names: tuple[str, ...]
    families: tuple[str, ...]
    fooled: Counts
    right: Counts
    n: int

    @property
    def shares(self) -> Values:
        """(S, S); NaN for two models that have nothing right together."""
        with np.errstate(invalid="ignore"):
            return self.fooled / np.where(self.right > 0, self.right, np.nan)

    def mean(self, *, within: bool) -> tuple[float, int] | None:
        """The mean share over pairs of different models of one family, or of two, and how many; None where there is none."""
        families = np.array(self.families)
        pairs = (families[:, None] == families[None, :]) == within
        np.fill_diagonal(pairs, False)
        values = self.shares[pairs & np.isfinite(self.shares)]
        return (float(values.mean()), len(values)) if len(values) else None


def family_of(name: str) -> str:
    """A model's units and how it was trained against adversaries: "relog-quadratic" for "relog-quadratic-maxout_4-overlay",
    "relu-pgd_at"; "relu-half" for networks that share no training image; of a user's FILE.FUNCTION the file, so that the
    functions of one file are a family."""
    try:
        recipe = parse_recipe(name)
    except RecipeError:
        return name.rpartition(".")[0] or name
    parts = {recipe.neuron: recipe.neuron != "linear", recipe.adversary: recipe.adversary != "none", HALF: bool(recipe.half)}
    return "-".join([recipe.activation, *(part for part, has in parts.items() if has)])


def choose(rows: Sequence[Row]) -> list[Row]:
    """Of more than twelve rows twelve, one of each family in turn, in their order; halves come together."""
    seen: dict[str, int] = {}
    turns = []
    for row in rows:
        family = family_of(row.model)
        turns.append(seen.setdefault(family, 0))
        seen[family] += not family.endswith(f"-{HALF}")
    first = sorted(range(len(rows)), key=lambda place: (turns[place], place))[:MOST]
    return [rows[place] for place in sorted(first)]


def measure(sitters: Sequence[Sitter], setting: Setting) -> Transfer:
    """Attack every network and put what comes out to every other; all have the same examples."""
    made = [attacked(sitter, setting) for sitter in sitters]
    fooled = np.array([[_fooled(target, candidates, setting) for target in sitters] for candidates in made], dtype=np.int64)
    correct = np.array([candidates.correct.numpy() for candidates in made], dtype=np.int64)
    names = tuple(sitter.name for sitter in sitters)
    return Transfer(names, tuple(family_of(name) for name in names), fooled, correct @ correct.T, len(sitters[0].indices))


def picture(view: View) -> Picture:
    """The picture of a board's models, by family. Raises `InputError` for fewer than two, for more than twelve, and for a
    network that is not to be had."""
    dataset, count = view.board.dataset, len(view.rows)
    if not 2 <= count <= MOST:
        raise InputError(f"a transfer matrix takes 2 to {MOST} models, {dataset} has {count} here: name them")
    rows = sorted(view.rows, key=lambda row: (family_of(row.model), row.model))
    setting = view.setting((view.attacks or (ATTACK,))[0], USUAL_N)
    examples = view.bench.examples(dataset, USUAL_N)
    with ExitStack() as stack:
        sitters = [stack.enter_context(sitting(view.bench, dataset, row.model, examples)) for row in rows]
        found = measure(sitters, setting)
    left = len(view.board.rows) - len(rows)
    some = (f"{len(rows)} of the board's {len(view.board.rows)} models.",) if left > 0 else ()
    notes = (NOTE, *some, *means(found), attack_words(setting.block), *view.notes(rows))
    about = About(f"Transfer of {plain(setting.block.name)}", where(view.board, [found.n]), notes)
    return Picture("transfer", dataset, "", about, draw(found, [name_of(row) for row in rows], about))


def means(found: Transfer) -> tuple[str, ...]:
    """What transfers within families and across, and how wide the intervals are."""
    texts = []
    for within, what in ((True, "within families"), (False, "across families")):
        mean = found.mean(within=within)
        texts.append(f"{what} {percent(mean[0])} % (mean of {mean[1]} pairs)" if mean else f"{what}: no pair")
    widest = max(_half_width(*pair) for pair in zip(found.fooled.ravel().tolist(), found.right.ravel().tolist(), strict=True))
    families = ", ".join(dict.fromkeys(plain(family) for family in found.families))
    return (
        f"Fooled by another model's examples: {'; '.join(texts)}. Families by units and adversarial training: {families}; lines "
        f"part them. Wilson's 95 % intervals reach at most {100 * widest:.1f} points to either side.",
    )


@styled
def draw(found: Transfer, names: Sequence[str], about: About) -> Figure:
    """The matrix, models of a family side by side, with lines between families."""
    count = len(names)
    # The cells are squares: the sheet is no higher than the names leave room beside them.
    room = WIDTH - max(text_width(f"{name}  {count}", SMALL) for name in names) - AXIS
    figure = sheet(about, min(room, CELL * count) + FOOT)
    axes = figure.subplots()
    shares = found.shares
    texts = [[f"{100 * share:.0f}" if np.isfinite(share) else "–" for share in row] for row in shares]
    matrix(axes, shares, texts, names, [f"{place}" for place in range(1, count + 1)])
    axes.set_yticklabels([f"{name}  {place}" for place, name in enumerate(names, 1)])
    axes.set(xlabel="looked at by", ylabel="made on")
    for place in range(1, count):
        if found.families[place] != found.families[place - 1]:
            axes.axhline(place, color="black", linewidth=1.2)
            axes.axvline(place, color="black", linewidth=1.2)
    return figure


def _fooled(target: Sitter, made: Attacked, setting: Setting) -> int:
    """How many of those that both models have right the target takes for something else, within ε."""
    images, labels = made.images.to(target.device), made.labels.to(target.device)
    verdict = judge(target.network, images, labels, made.candidates.to(target.device), setting.threat, target.head)
    within = verdict.distance <= setting.block.eps + TOLERANCE
    both = target.clean.correct & made.correct.to(target.device)
    return int((both & verdict.adversarial & within).sum())


def _half_width(count: int, n: int) -> float:
    if not n:
        return 0.0
    low, high = wilson(count, n)
    return max(count / n - low, high - count / n)
