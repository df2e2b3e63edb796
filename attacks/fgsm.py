"""The fast gradient sign method: one step of ε along the sign of the input gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, register
from robustboard.attacks.losses import LossName, ascent_loss
from robustboard.attacks.pgd import uniform_start


@register("fgsm", norm="linf", aim="budget", version=1, source="Goodfellow et al. 2014, section 4; margin loss")
def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    loss: LossName = "margin",
    targets: Tensor | None = None,
) -> Proposal:
    """x + ε · sign ∇ₓL, in the box. With `targets` (N,) the step goes towards them (Kurakin et al. 2016, section 2.3)."""
    _, _, gradient = logits_and_gradient(model, images, lambda logits: ascent_loss(loss, logits, labels, targets))
    stepped = projections.linf(images + epsilon * gradient.sign(), images, epsilon)
    return Proposal(stepped, torch.ones_like(labels))


register(
    "fgsm_ce",
    norm="linf",
    aim="budget",
    version=1,
    source="Goodfellow et al. 2014, section 4",
    preset={"loss": "cross_entropy"},
)(fgsm)


def fgsm_from_random_start(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, step: float) -> Tensor:
    """The adversary of fast adversarial training (Wong, Rice & Kolter 2020, algorithm 3): a uniform start in the
    ball, one cross-entropy step of `step` · ε, back into ball and box. Images like `images`."""
    start = uniform_start(images, keys, epsilon)
    _, _, gradient = logits_and_gradient(model, start, lambda logits: ascent_loss("cross_entropy", logits.float(), labels, None))
    return projections.linf(start + step * epsilon * gradient.sign(), images, epsilon)
