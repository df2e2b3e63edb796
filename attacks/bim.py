"""The basic iterative method: FGSM in small steps, clipped to the ball after each; no random start."""

from __future__ import annotations

from torch import Tensor

from robustboard.attacks.ascent import Climb, Score, ascend, check_reach
from robustboard.attacks.attack import Model, Proposal, register
from robustboard.attacks.losses import LossName, ascent_loss, is_decisive, success_margin


@register(
    "bim",
    norm="linf",
    aim="budget",
    version=1,
    source="Kurakin et al. 2016, section 2.2; margin loss",
    check=check_reach,
)
def bim(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step: float = 1 / 30,
    loss: LossName = "margin",
    targets: Tensor | None = None,
) -> Proposal:
    """x ← clip(x + α · sign ∇ₓL) for `steps` steps of α = `step` · ε. Stops per example at success, keeps the best.

    With `targets` (N,) it climbs towards them. Raises ValueError when α · steps < ε.
    """
    check_reach(step, steps)
    climb, score = climb_and_score(loss, labels, targets)
    ascent = ascend(model, images, images, climb, score, epsilon=epsilon, step=step * epsilon, steps=steps)
    return Proposal(ascent.images, ascent.iterations)


register(
    "bim_ce",
    norm="linf",
    aim="budget",
    version=2,
    source="Kurakin et al. 2016, section 2.2; cross-entropy by its log-odds",
    preset={"loss": "log_odds"},
    check=check_reach,
)(bim)


def climb_and_score(loss: LossName, labels: Tensor, targets: Tensor | None) -> tuple[Climb, Score]:
    """What to climb (the loss) and what to keep and stop by (the margin): cross-entropy is never the judge."""

    def at(values: Tensor | None, rows: Tensor) -> Tensor | None:
        return None if values is None else values[rows]

    def climb(logits: Tensor, rows: Tensor) -> Tensor:
        return ascent_loss(loss, logits, labels[rows], at(targets, rows))

    def score(logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        wanted = success_margin(logits, labels[rows], at(targets, rows))
        return wanted, is_decisive(logits, wanted)

    return climb, score
