"""The adversaries of adversarial training: every example takes every step, nobody stops early, nothing is judged."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from robustboard.attacks import projections, randomness
from robustboard.attacks.attack import Model, logits_and_gradient, logits_of
from robustboard.attacks.losses import ascent_loss
from robustboard.attacks.pgd import uniform_start

TRADES_NOISE = 0.001
"""The deviation of TRADES' start: at the image itself the divergence has no gradient."""


def projected_gradient(
    model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, step: float, steps: int = 1
) -> Tensor:
    """From a uniform start in the ball `steps` cross-entropy steps of `step` · ε, each back into ball and box. Images like
    `images`.

    One long step is the adversary of fast adversarial training (Wong, Rice & Kolter 2020, algorithm 3), several short ones
    that of Madry et al. 2017 (section 2.1).
    """
    current = uniform_start(images, keys, epsilon)
    for _ in range(steps):
        _, _, gradient = logits_and_gradient(
            model, current, lambda logits: ascent_loss("cross_entropy", logits.float(), labels, None)
        )
        current = projections.linf(current + step * epsilon * gradient.sign(), images, epsilon)
    return current


def divergent(
    model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, step: float, steps: int = 1
) -> Tensor:
    """TRADES' adversary (Zhang et al. 2019, algorithm 1): `steps` of `step` · ε up the divergence of the answer from the clean
    image's, KL(p(x) ‖ p(x′)), from a start a little off the image. The labels are not looked at. Images like `images`."""
    clean = F.log_softmax(logits_of(model, images).float(), 1)

    def divergence(logits: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(logits.float(), 1), clean, reduction="none", log_target=True).sum(1)

    noise = randomness.normal(keys, tuple(images.shape[1:])).to(images)
    current = projections.linf(images + TRADES_NOISE * noise, images, epsilon)
    for _ in range(steps):
        _, _, gradient = logits_and_gradient(model, current, divergence)
        current = projections.linf(current + step * epsilon * gradient.sign(), images, epsilon)
    return current
