"""adv-lib's attacks (Rony & Ben Ayed, "Adversarial Library"), at its defaults."""

from __future__ import annotations

from torch import Tensor

from robustboard.attacks.attack import Model, Proposal
from robustboard.attacks.libraries.library import Handed, load, proposed, register


def _run(
    name: str,
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    iterations: int,
    **parameters: object,
) -> Proposal:
    """Call the library's function `name`, towards `targets` (N,) where they are given."""
    function = getattr(load("adv_lib.attacks"), name)
    aims = labels if targets is None else targets
    candidates = function(Handed(model, images.device), images, aims, targeted=targets is not None, **parameters)
    return proposed(images, candidates, iterations)


@register("adv_lib:ddn", norm="l2", aim="minimum", source="adv-lib ddn", shared=("steps", "gamma", "initial_norm"))
def ddn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    gamma: float = 0.05,
    initial_norm: float = 1.0,
    levels: int = 256,
    targets: Tensor | None = None,
) -> Proposal:
    """Decoupled direction and norm, on the cross-entropy, rounded to `levels`. `epsilon` is not used."""
    parameters = {"steps": steps, "γ": gamma, "init_norm": initial_norm, "levels": levels}
    return _run("ddn", model, images, labels, targets, steps, **parameters)


@register("adv_lib:fmn", norm="l2", aim="minimum", source="adv-lib fmn", shared=("steps",))
def fmn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    gamma: float = 0.05,
    step: float = 1.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Fast minimum norm in L2. `epsilon` is not used."""
    return _run("fmn", model, images, labels, targets, steps, norm=2, steps=steps, α_init=step, γ_init=gamma)


@register("adv_lib:cw", norm="l2", aim="minimum", source="adv-lib carlini_wagner_l2", shared=("kappa",))
def cw(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    searches: int = 9,
    steps: int = 10000,
    rate: float = 0.01,
    initial_c: float = 0.001,
    kappa: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Binary search over c around Adam at `rate`. `epsilon` is not used."""
    parameters = {
        "binary_search_steps": searches,
        "max_iterations": steps,
        "learning_rate": rate,
        "initial_const": initial_c,
        "confidence": kappa,
    }
    return _run("carlini_wagner_l2", model, images, labels, targets, searches * steps, **parameters)


@register("adv_lib:apgd", norm="linf", aim="budget", source="adv-lib apgd, DLR", shared=("steps", "restarts"))
def apgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    restarts: int = 1,
    targets: Tensor | None = None,
) -> Proposal:
    """Auto-PGD on the DLR loss."""
    parameters = {"eps": epsilon, "norm": float("inf"), "n_iter": steps, "n_restarts": restarts}
    return _run("apgd", model, images, labels, targets, steps * restarts, **parameters)
