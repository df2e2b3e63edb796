"""Projected gradient descent towards every wrong class in turn: where the nearest boundary is not that of the runner-up."""

from __future__ import annotations

from torch import Tensor

from robustboard.attacks import randomness
from robustboard.attacks.ascent import Ascent, ascend, cascade, check_falling_reach
from robustboard.attacks.attack import Model, Proposal, logits_of, register
from robustboard.attacks.losses import is_decisive, lead_of, margin, wrong_classes
from robustboard.attacks.pgd import uniform_start


@register(
    "pgd_t",
    norm="linf",
    aim="budget",
    version=2,
    source="Gowal et al. 2019 (MultiTargeted), section 3; PGD of Madry et al. 2017",
    check=check_falling_reach,
)
def pgd_targeted(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step: float = 1.0,
    restarts: int = 1,
) -> Proposal:
    """For every wrong class t an ascent of Z_t − Z_y from a uniform point of the ball; its moves are `step` · ε
    long at first and fall along a line.

    The classes are tried in the order of their clean logits, `restarts` times, and only survivors go on to the next. Any
    wrong answer is a success, whichever class it is. Raises ValueError when the moves together are shorter than ε.
    """
    check_falling_reach(step, steps)
    classes = wrong_classes(logits_of(model, images), labels)

    def attempt(numbers: Tensor, rows: Tensor) -> Ascent:
        origins, owners, aims = images[rows], labels[rows], classes[rows, numbers % classes.shape[1]]

        def climb(logits: Tensor, active: Tensor) -> Tensor:
            return lead_of(logits, aims[active], owners[active])

        def score(logits: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
            lead = margin(logits, owners[active])
            return lead, is_decisive(logits, lead)

        starts = uniform_start(origins, randomness.derive(keys[rows], numbers), epsilon)
        first = step * epsilon
        return ascend(model, origins, starts, climb, score, epsilon=epsilon, step=first, steps=steps, falling=True)

    best = cascade(Ascent.nothing(images), restarts * classes.shape[1], attempt)
    return Proposal(best.images, best.iterations)
