"""The box-constrained L-BFGS attack, the first of all: a small L2 perturbation towards a target, found by SciPy's L-BFGS-B."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from torch import Tensor

from robustboard.attacks.attack import Model, Proposal, logits_and_gradient, logits_of, register
from robustboard.attacks.closest import Closest
from robustboard.attacks.losses import is_success, success_margin, wrong_classes
from robustboard.attacks.projections import norms


@register("lbfgs", norm="l2", aim="minimum", version=1, source="Szegedy et al. 2013, section 4.1; ‖r‖ squared")
def lbfgs(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float = math.inf,
    searches: int = 10,
    iterations: int = 50,
    initial_c: float = 1.0,
    classes: int = 9,
    targets: Tensor | None = None,
) -> Proposal:
    """Minimise c · ‖r‖₂² + loss(x + r, t) with x + r in the box, by at most `iterations` of L-BFGS-B, for the largest c that
    still reaches t: c falls tenfold until a first success, then its bracket is halved on a log scale, `searches` in all.

    ‖r‖ is squared because it has no gradient at 0. The loss is the cross-entropy towards t. Untargeted, t is each of the
    `classes` likeliest wrong ones in turn, and any wrong answer counts. Returns the closest success, or the image itself.
    Examples are solved one at a time: the optimiser's line search is each one's own. `epsilon` is not used.
    """
    aims = wrong_classes(logits_of(model, images), labels)[:, :classes] if targets is None else targets[:, None]
    closest = Closest.nothing(images)
    taken = torch.zeros_like(labels)
    for at, aim in itertools.product(range(len(images)), range(aims.shape[1])):
        row = torch.tensor([at], device=images.device)
        low, high, c = 0.0, math.inf, initial_c
        for _ in range(searches):
            candidate, spent = _minimise(model, images[row], aims[row, aim], c, iterations)
            logits = logits_of(model, candidate)
            wanted = success_margin(logits, labels[row], None if targets is None else targets[row])
            found = is_success(wanted, targets)
            closest = closest.joined(row, candidate, norms(candidate - images[row], "l2"), found, logits, wanted)
            taken[at] += spent
            low, high = (c, high) if bool(found) else (low, c)
            c = c / 10 if low == 0 else c * 10 if math.isinf(high) else math.sqrt(low * high)
    return Proposal(closest.images, taken)


def _minimise(model: Model, image: Tensor, target: Tensor, c: float, iterations: int) -> tuple[Tensor, int]:
    """The minimiser (1, C, H, W) at fixed c, from the image, and the optimiser's iterations."""

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.from_numpy(flat).to(image).reshape(image.shape)
        _, losses, gradient = logits_and_gradient(model, point, lambda z: F.cross_entropy(z, target, reduction="none"))
        change = point - image
        value = c * float(change.square().sum()) + float(losses)
        return value, (gradient + 2 * c * change).flatten().double().cpu().numpy()

    start = image.flatten().double().cpu().numpy()
    box, options = Bounds(0.0, 1.0), {"maxiter": iterations}
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=box, options=options)  # type: ignore[call-overload]
    return torch.from_numpy(solution.x).to(image).reshape(image.shape).clamp(0, 1), int(solution.nit)
