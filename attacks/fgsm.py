"""The fast gradient sign method: one step of ε along the sign of the input gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, register
from robustboard.attacks.losses import LossName, ascent_loss


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
    version=2,
    source="Goodfellow et al. 2014, section 4; cross-entropy by its log-odds",
    preset={"loss": "log_odds"},
)(fgsm)
