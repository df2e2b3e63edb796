"""AutoAttack: four attacks that fail in different ways, one after another on what the last left standing."""

from __future__ import annotations

from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.apgd import apgd, apgd_t
from robustboard.attacks.ascent import Ascent, cascade
from robustboard.attacks.attack import Model, Proposal, logits_of, register_linf_and_l2
from robustboard.attacks.fab import fab_until
from robustboard.attacks.losses import is_decisive, margin
from robustboard.attacks.projections import BallNorm, into_ball
from robustboard.attacks.square import square


@register_linf_and_l2("autoattack", aim="budget", version=1, source="Croce & Hein 2020a, section 5; the standard version")
def autoattack(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    queries: int = 5000,
    norm: BallNorm = "linf",
) -> Proposal:
    """APGD on cross-entropy, targeted APGD, targeted FAB and Square, in this order, on the survivors.

    `steps` is that of each ascent and of each run of FAB, `queries` Square's. What an attack returns is brought into the
    ball before it is judged: FAB may end outside. Between them the attack that came nearest gives the candidate.
    """

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        origins, owners, seeds = images[rows], labels[rows], randomness.derive(keys[rows], numbers)
        proposal = _attack(int(numbers[0]), model, origins, owners, seeds, epsilon, steps, queries, norm)
        candidates = into_ball(proposal.images, origins, epsilon, norm)
        logits = logits_of(model, candidates)
        values = margin(logits, owners)
        return Ascent(candidates, values, proposal.iterations, is_decisive(logits, values))

    best = cascade(Ascent.nothing(images), 4, attempt, side_by_side=False)
    return Proposal(best.images, best.iterations)


def _attack(
    number: int,
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    epsilon: float,
    steps: int,
    queries: int,
    norm: BallNorm,
) -> Proposal:
    """The `number`-th of the four, at the paper's settings."""
    if number == 0:
        return apgd(model, images, labels, keys, epsilon=epsilon, steps=steps, norm=norm)
    if number == 1:
        return apgd_t(model, images, labels, keys, epsilon=epsilon, steps=steps, norm=norm)
    if number == 2:
        # Once within ε, nothing is gained by a smaller perturbation.
        return fab_until(model, images, labels, keys, epsilon, steps, 1, 9, norm, enough=epsilon)
    return square(model, images, labels, keys, epsilon=epsilon, queries=queries, norm=norm)
