"""Attacks against one another: a weaker one, or a cheaper look, that fools what a stronger one left.

Checks 7 to 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.libraries.library import all_cards
from robustboard.attacks.losses import margin
from robustboard.attacks.pgd import uniform_start
from robustboard.benchmark.cells import build
from robustboard.benchmark.diagnose.examination import Attempt, Examination, outcomes
from robustboard.benchmark.diagnose.observation import Observation, counted, named, not_applicable
from robustboard.benchmark.diagnose.record import LookedAt
from robustboard.benchmark.judge import Threat, ask, judge, prepared
from robustboard.benchmark.subjects import Subject

SQUARE_QUERIES = 500
NOISE_DRAWS = 10_000
NOISE_EXAMPLES = 4
"""The survivors nearest to their boundary, which noise finds first; 10⁴ draws for each of many would take minutes."""
ROWS = 512
"""Noisy images that are in the model at once."""
RESTARTS = 5
ONE_STEP = frozenset({"fgsm", "fgsm_ce"})
"""Attacks that follow the gradient for one step: what they leave is no sign that gradients mislead."""
OF_BOTH_KINDS = frozenset({"autoattack"})
"""Attacks that send others with and without gradients at the survivors; the worst case is no card, and in neither list."""
TRANSFER_STEPS = 10
SMALLER = (0.25, 0.5)
"""Shares of ε that BIM is run at besides ε itself."""

Fooled = Mapping[int, bool]
"""Position in the split -> whether an attack fooled the example, for those right clean that it covers."""


def black_box(examination: Examination) -> Observation:
    """Check 7 (Carlini et al. 2019, section 4.4; Athalye et al. 2018): an attack without gradients fools what every
    attack with gradients left, on more than 0.2 points.

    From the L∞ cells, if there are some of both kinds, of more than one step; else FGSM, BIM and then Square are run. A cascade
    is of both kinds and counts for neither.
    """
    by_gradient, without = _cells(examination, needs_gradient=True), _cells(examination, needs_gradient=False)
    climbed = {index for name, found in by_gradient.items() if name.rpartition(":")[2] not in ONE_STEP for index in found}
    if without and climbed:
        seen = climbed & {index for found in without.values() for index in found}
        return _black_box([*by_gradient.values()], [*without.values()], seen, len(seen), "cells")
    white = [_of(examination, examination.fgsm), _of(examination, examination.bim)]
    black = [_of(examination, examination.attack("square", examination.left_by_bim.rows, queries=SQUARE_QUERIES))]
    return _black_box(white, black, set(examination.positions(examination.right)), len(examination.labels), "model")


def _black_box(white: list[Fooled], black: list[Fooled], seen: set[int], n: int, looked_at: LookedAt) -> Observation:
    if not seen:
        return not_applicable("no example that is right clean was seen by both kinds of attack", looked_at)
    left = {index for index in seen if not any(found.get(index, False) for found in white)}
    hit = sorted(index for index in left if any(found.get(index, False) for found in black))
    reason = f"black-box fools {len(hit)} that white-box left{named(hit)}"
    figures = {"n": n, "left by white-box": len(left), "fooled by black-box": len(hit)}
    return Observation(counted(len(hit), n, 0.2), reason, figures, hit, looked_at)


def _cells(examination: Examination, *, needs_gradient: bool) -> dict[str, Fooled]:
    """Who was fooled, by the attack's name, of every L∞ cell of an attack that needs a gradient, or of one that does not."""
    cards = {name: card for name, card in all_cards().items() if card.own_name not in OF_BOTH_KINDS}
    cells = [cell for cell in examination.cells_of("linf") if cell.attack.name in cards]
    chosen = [cell for cell in cells if cards[cell.attack.name].needs_gradient == needs_gradient]
    return {cell.attack.name: outcomes(cell) for cell in chosen}


def _of(examination: Examination, attempt: Attempt) -> Fooled:
    return dict(zip(examination.positions(attempt.rows), attempt.fooled.tolist(), strict=True))


def one_step(examination: Examination) -> Observation:
    """Check 8 (Carlini et al. 2019, section 5.2): one step fools what many leave, on more than 0.5 points, or on the whole more.

    From the two cells, if they are there.
    """
    fgsm, bim = examination.cells.get("fgsm"), examination.cells.get("bim")
    if fgsm is not None and bim is not None:
        return _one_step(outcomes(fgsm), outcomes(bim), min(fgsm.outcome.n, bim.outcome.n), "cells")
    n = len(examination.labels)
    return _one_step(_of(examination, examination.fgsm), _of(examination, examination.bim), n, "model")


def _one_step(fgsm: Fooled, bim: Fooled, n: int, looked_at: LookedAt) -> Observation:
    both = sorted(set(fgsm) & set(bim))
    if not both:
        return not_applicable("no example is right clean", looked_at)
    hit = [index for index in both if fgsm[index] and not bim[index]]
    left_by_fgsm, left_by_bim = (sum(not found[index] for index in both) for found in (fgsm, bim))
    figures = {"n": n, "left by FGSM": left_by_fgsm, "left by BIM": left_by_bim, "fooled by FGSM alone": len(hit)}
    if left_by_bim > left_by_fgsm:
        return Observation("fail", f"BIM leaves {left_by_bim} of {n}, FGSM only {left_by_fgsm}", figures, hit, looked_at)
    reason = f"FGSM fools {len(hit)} that BIM left{named(hit)}"
    return Observation(counted(len(hit), n, 0.5), reason, figures, hit, looked_at)


def noise(examination: Examination) -> Observation:
    """Check 9 (Carlini et al. 2019, section 4.11): of 10⁴ uniform draws from the ball of ε one fools a survivor. The four
    survivors with the smallest lead are looked at."""
    survivors = examination.survivors
    if not len(survivors):
        return not_applicable("no example survived")
    lead = -examination.margins(examination.images[survivors], survivors)
    rows = survivors[lead.argsort(stable=True)[:NOISE_EXAMPLES]]
    hit = examination.positions(rows[_fooled_by_noise(examination, rows)])
    which = "survivors" if len(rows) == len(survivors) else "survivors nearest to their boundary"
    reason = f"random noise within ε fools {len(hit)} of {len(rows)} {which}{named(hit)}"
    figures = {"survivors": len(survivors), "looked at": len(rows), "draws an example": NOISE_DRAWS}
    return Observation(counted(len(hit), len(rows)), reason, figures, hit)


def _fooled_by_noise(examination: Examination, rows: Tensor) -> Tensor:
    """(n,) bool: some draw fools the example, and the judge agrees. Who is fooled is not drawn for again."""
    keys = randomness.make_keys(examination.protocol.seed, torch.tensor(examination.positions(rows)), "noise")
    fooled = torch.zeros(len(rows), dtype=torch.bool)
    for at, row in enumerate(rows.tolist()):
        image, label = examination.images[row : row + 1], examination.labels[row : row + 1]
        for first in range(0, NOISE_DRAWS, ROWS):
            draws = torch.arange(first, min(first + ROWS, NOISE_DRAWS))
            noisy = uniform_start(image.expand(len(draws), *image.shape[1:]), _draw_keys(keys[at], draws), examination.plan.linf)
            wrong = margin(ask(examination.network, noisy), label.expand(len(draws))) >= 0
            if bool(wrong.any()) and _is_fooled(examination, noisy[wrong][:1], row):
                fooled[at] = True
                break
    return fooled


def _draw_keys(key: Tensor, draws: Tensor) -> Tensor:
    return randomness.derive(key.expand(len(draws)), draws)


def _is_fooled(examination: Examination, candidate: Tensor, row: int) -> bool:
    threat = Threat("linf", examination.plan.linf, "budget")
    image, label = examination.images[row : row + 1], examination.labels[row : row + 1]
    verdict = judge(examination.network, image, label, candidate, threat, examination.clean.head)
    return bool(verdict.adversarial[0]) and not verdict.failures[0]


def transfer(examination: Examination) -> Observation:
    """Check 10 (Carlini et al. 2019, section 4.5): candidates for other registered models, by FGSM and by max-confidence, fool
    survivors, on more than 0.5 points. What other models are sure of transfers best."""
    survivors = examination.survivors
    if not examination.others:
        return not_applicable("the registry has no other model of this data set")
    if not len(survivors):
        return not_applicable("no example survived")
    by_source = {other.name: _transferred(examination, other, survivors) for other in examination.others}
    hit = sorted({index for found in by_source.values() for index in found})
    n = len(examination.labels)
    reason = f"candidates for {', '.join(by_source)} fool {len(hit)} of {len(survivors)} survivors{named(hit)}"
    figures = {"survivors": len(survivors), **{f"fooled by way of {name}": len(found) for name, found in by_source.items()}}
    return Observation(counted(len(hit), n, 0.5), reason, figures, hit)


def _transferred(examination: Examination, other: Subject, rows: Tensor) -> list[int]:
    """The positions of those of `rows` (n,) that candidates found on another model fool."""
    with prepared(build(other).network, torch.device("cpu")) as network:
        attempts = [
            examination.attack("fgsm", rows, through=network),
            examination.attack("max_confidence", rows, through=network, steps=TRANSFER_STEPS, near_step=0.0),
        ]
    return sorted({index for attempt in attempts for index in _hit(examination, attempt)})


def more_effort(examination: Examination) -> Observation:
    """Check 11 (Carlini et al. 2019, sections 4.8 and 4.9): twice BIM's iterations, or five random restarts, fool
    survivors, on more than 0.5 points."""
    survivors = examination.survivors
    if not len(survivors):
        return not_applicable("no example survived")
    card = all_cards()["bim"]
    settings = {**card.parameters(), **examination.protocol.parameters(examination.examples.name, card)}
    longer = examination.attack("bim", survivors, steps=2 * settings["steps"])
    again = examination.attack("pgd", survivors, steps=settings["steps"], step=settings["step"], restarts=RESTARTS)
    found = {"twice the iterations": _hit(examination, longer), "five restarts": _hit(examination, again)}
    hit = sorted({index for indices in found.values() for index in indices})
    reason = f"twice the iterations and five restarts fool {len(hit)} of {len(survivors)} survivors{named(hit)}"
    figures = {"survivors": len(survivors), **{f"fooled by {name}": len(indices) for name, indices in found.items()}}
    return Observation(counted(len(hit), len(examination.labels), 0.5), reason, figures, hit)


def _hit(examination: Examination, attempt: Attempt) -> list[int]:
    return examination.positions(attempt.rows[attempt.fooled])


def monotone(examination: Examination) -> Observation:
    """Check 12 (Carlini et al. 2019, section 5.2): more than 1 % of the examples are fooled at a smaller ε and not at a larger
    one, although the smaller one's candidate was put to the judge there, too."""
    if not len(examination.right):
        return not_applicable("no example is right clean")
    n, smaller = len(examination.labels), [share * examination.plan.linf for share in SMALLER]
    attempts = [*(examination.attack("bim", epsilon=epsilon) for epsilon in smaller), examination.bim]
    lost, kept_lost = set[int](), set[int]()
    for small, large in pairwise(attempts):
        worse = small.fooled & ~large.fooled
        lost |= set(examination.positions(small.rows[worse]))
        kept_lost |= set(examination.positions(small.rows[worse & ~_judged_again(examination, small)]))
    stray = sorted(kept_lost)
    reason = f"a smaller ε fools {len(stray)} that a larger one leaves, the same candidates included{named(stray)}"
    figures = {"n": n, "before candidates are carried over": len(lost), "after": len(stray)}
    return Observation(counted(len(stray), n, 1), reason, figures, stray)


def _judged_again(examination: Examination, attempt: Attempt) -> Tensor:
    """(n,) bool: the judge still finds the attempt's candidates fooled, within the protocol's ε."""
    threat = Threat("linf", examination.plan.linf, "budget")
    images, labels = examination.images[attempt.rows], examination.labels[attempt.rows]
    verdict = judge(examination.network, images, labels, attempt.images, threat, examination.clean.head)
    return verdict.adversarial & torch.tensor([not failure for failure in verdict.failures], dtype=torch.bool)
