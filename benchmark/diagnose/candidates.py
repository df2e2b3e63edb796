"""What the attacks hand back: within the rules, out of their reach, changed at all, and the same when judged again.

Checks 15 and 18 to 21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustboard.attacks.ascent import check_falling_reach
from robustboard.attacks.attack import AttackCard
from robustboard.attacks.libraries.library import all_cards
from robustboard.attacks.losses import margin
from robustboard.attacks.max_confidence import check_moves
from robustboard.benchmark.canaries.models import Around
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.diagnose.examination import Examination
from robustboard.benchmark.diagnose.observation import Observation, counted, named, not_applicable, worst
from robustboard.benchmark.diagnose.record import LookedAt
from robustboard.benchmark.judge import ask

WATCHED = 12
"""Survivors whose every iterate is looked at: each is attacked on its own."""
SMALL_BATCH = 5


def silent_success(examination: Examination) -> Observation:
    """Check 15 (Pintor et al. 2022, "silent success"): an iterate of BIM was fooled, what it handed back is not."""
    left = examination.left_by_bim
    if not len(left.rows):
        return not_applicable("BIM left no example")
    rows = left.rows[:WATCHED]
    hit = [examination.indices[row] for row in rows.tolist() if _lost(examination, row)]
    reason = f"on {len(hit)} of {len(rows)} that BIM left an iterate was fooled and was lost{named(hit)}"
    return Observation(counted(len(hit), len(rows)), reason, {"left": len(left.rows), "watched": len(rows)}, hit)


def _lost(examination: Examination, row: int) -> bool:
    """Whether, with the example on its own, the model is fooled on the way and not at the end. Every row that BIM asks about is
    an iterate, or a copy of one that fills up the batch."""
    seen = False
    label = examination.labels[row : row + 1]

    def watch(logits: Tensor) -> Tensor:
        nonlocal seen
        seen = seen or bool((margin(logits.detach(), label.expand(len(logits))) >= 0).any())
        return logits

    attempt = examination.attack("bim", torch.tensor([row]), through=Around(examination.network, after=watch))
    return seen and not bool(attempt.fooled[0])


def rules(examination: Examination) -> Observation:
    """Check 18 (the attack proposes, the judge checks): a candidate over budget, outside the box or not finite, or an attack that
    raised, each with its reason. In the cells, and of those of FGSM and BIM that are not there on the model."""
    broken = {name: dict(cell.outcome.failure_reasons) for name, cell in examination.cells.items()}
    rows = [(cell.per_example.index, cell.per_example.attack_failed) for cell in examination.cells.values()]
    examples = {index for indices, failed in rows for index, flag in zip(indices, failed, strict=True) if flag}
    for name in {"fgsm", "bim"} - set(broken):
        attempt = examination.fgsm if name == "fgsm" else examination.bim
        failures = [failure for failure in attempt.failures if failure]
        broken[name] = {failure: failures.count(failure) for failure in failures}
        examples |= set(examination.positions(attempt.rows[torch.tensor([bool(failure) for failure in attempt.failures])]))
    figures = {name: sum(reasons.values()) for name, reasons in sorted(broken.items())}
    told = [f"{name} failed on {count}: {why}" for name in figures for why, count in broken[name].items()]
    reason = "; ".join(told) or f"every candidate of {', '.join(figures)} kept the rules"
    looked_at: LookedAt = "cells" if examination.cells else "model"
    return Observation("fail" if told else "pass", reason, figures, sorted(examples), looked_at)


def reach(examination: Examination) -> Observation:
    """Check 19 (what torchattacks' BIM does at its defaults): steps that together are shorter than ε. The cells' attacks, and
    where there are none the protocol's."""
    attacks: dict[str, tuple[Mapping[str, Any], float]] = {
        name: (cell.attack.params, cell.attack.eps) for name, cell in examination.cells.items() if cell.attack.norm == "linf"
    }
    looked_at: LookedAt = "cells" if attacks else "protocol"
    if not attacks:
        cards = [all_cards()[name] for name in examination.protocol.attacks if name not in CASCADES]
        attacks = {card.name: (_settings(examination, card), examination.plan.linf) for card in cards if card.norm == "linf"}
    reached = {name: _share_of_epsilon(name, params, eps) for name, (params, eps) in attacks.items()}
    shares = {name: share for name, share in reached.items() if share is not None}
    if not shares:
        return not_applicable("no attack of the norm takes steps of a known length", looked_at)
    short = [name for name, share in shares.items() if share < 1 - 1e-9]
    reason = ", ".join(f"{name} walks at most {shares[name]:.2g} ε" for name in short)
    figures = {f"{name}, in ε": round(share, 4) for name, share in shares.items()}
    reason = reason or "every attack can walk to the edge of the ball"
    return Observation("fail" if short else "pass", reason, figures, looked_at=looked_at)


def _settings(examination: Examination, card: AttackCard) -> Mapping[str, Any]:
    return card.settings(examination.protocol.parameters(examination.examples.name, card))


def _share_of_epsilon(name: str, params: Mapping[str, Any], epsilon: float) -> float | None:
    """How far an attack's steps go together, in ε; None where its parameters do not say. A `step` is relative to ε and may fall
    along a line, `alpha` and the `rate` of an attack with `iterations` are in pixels."""
    card = all_cards().get(name)
    steps = params.get("steps", params.get("iterations"))
    if steps is None or epsilon == 0:
        return None
    if "step" in params:
        falling = card is not None and card.check in (check_falling_reach, check_moves)
        return float(params["step"] * ((steps + 1) / 2 if falling else steps))
    length = params.get("alpha", params.get("rate") if "iterations" in params else None)
    return None if length is None else float(length * steps / epsilon)


def moved(examination: Examination) -> Observation:
    """Check 20 (what foolbox' C&W hands back for a failure): the candidates for survivors are the images themselves, for more
    than half of them, or of one value all over; or the model answers the same to all of them."""
    left = examination.left_by_bim
    if not len(left.rows):
        return not_applicable("BIM left no example")
    clean, n = examination.images[left.rows], len(left.rows)
    unchanged = left.rows[(left.images == clean).flatten(1).all(1)]
    flat = left.rows[_is_flat(left.images) & ~_is_flat(clean)]
    answers = ask(examination.network, left.images)
    same = n > 1 and bool((answers == answers[:1]).all())
    verdict = worst([counted(len(unchanged), n, 50), counted(len(flat), n), counted(n * same, n)])
    told = [f"BIM hands back the image itself for {len(unchanged)} of the {n} it left"]
    told += [f"an image of one value for {len(flat)}"] * bool(len(flat)) + ["the model answers the same to all of them"] * same
    figures = {"left": n, "unchanged": len(unchanged), "of one value": len(flat), "constant answer": int(same)}
    return Observation(verdict, "; ".join(told), figures, examination.positions(torch.cat([unchanged, flat]).unique()))


def _is_flat(images: Tensor) -> Tensor:
    """(n,) bool: every feature has the same value."""
    return (images.flatten(1) == images.flatten(1)[:, :1]).all(1)


def judged_again(examination: Examination) -> Observation:
    """Check 21 (one example's result depends on that example alone): BIM's candidates in batches of five and on their own, in
    float32, have another verdict, for any. What is left of the successes in 8 bits is reported."""
    attempt = examination.bim
    if not len(attempt.rows):
        return not_applicable("no example is right clean")
    changed = torch.zeros(len(attempt.rows), dtype=torch.bool)
    for size in (SMALL_BATCH, 1):
        pairs = zip(attempt.images.split(size), attempt.rows.split(size), strict=True)
        again = torch.cat([examination.margins(images, rows) >= 0 for images, rows in pairs])
        changed |= again != attempt.verdict.adversarial
    stray = examination.positions(attempt.rows[changed])
    rounded = int((attempt.fooled & attempt.verdict.adversarial_rounded).sum())
    figures = {"fooled": int(attempt.fooled.sum()), "fooled after rounding to 8 bits": rounded}
    reason = f"judged in another batch {len(stray)} of {len(attempt.rows)} verdicts change{named(stray)}"
    told = f"; {rounded} of {int(attempt.fooled.sum())} successes stay in 8 bits"
    return Observation(counted(len(stray), len(attempt.rows)), reason + told, figures, stray)
