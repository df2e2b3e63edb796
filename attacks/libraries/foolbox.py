"""foolbox' attacks (Rauber et al. 2020, "Foolbox Native"), at its defaults."""

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
    epsilon: float | None,
    iterations: int,
    **parameters: object,
) -> Proposal:
    """Call the library's attack `name` at `epsilon`, or for the smallest perturbation where that is None."""
    library = load("foolbox")
    attack = getattr(library.attacks, name)(**parameters)
    wrapped = library.PyTorchModel(Handed(model, images.device), bounds=(0, 1), device=images.device)
    aim = library.criteria.Misclassification(labels) if targets is None else library.criteria.TargetedMisclassification(targets)
    _, candidates, _ = attack(wrapped, images, aim, epsilons=epsilon)
    return proposed(images, candidates, iterations)


@register("foolbox:fgsm", norm="linf", aim="budget", source="foolbox LinfFastGradientAttack, cross-entropy")
def fgsm(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float) -> Proposal:
    """One step of ε along the sign of the cross-entropy's gradient; the library's takes no targets."""
    return _run("LinfFastGradientAttack", model, images, labels, None, epsilon, 1)


@register(
    "foolbox:bim",
    norm="linf",
    aim="budget",
    source="foolbox LinfBasicIterativeAttack, cross-entropy",
    shared=("steps", "step"),
)
def bim(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    step: float = 0.2,
    targets: Tensor | None = None,
) -> Proposal:
    """`steps` of `step` · ε."""
    parameters = {"steps": steps, "rel_stepsize": step}
    return _run("LinfBasicIterativeAttack", model, images, labels, targets, epsilon, steps, **parameters)


@register("foolbox:pgd", norm="linf", aim="budget", source="foolbox LinfPGD, cross-entropy", shared=("steps", "step"))
def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step: float = 0.01 / 0.3,
    targets: Tensor | None = None,
) -> Proposal:
    """BIM from a uniform random start."""
    return _run("LinfPGD", model, images, labels, targets, epsilon, steps, steps=steps, rel_stepsize=step)


@register("foolbox:cw", norm="l2", aim="minimum", source="foolbox L2CarliniWagnerAttack", shared=("kappa",))
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
        "steps": steps,
        "stepsize": rate,
        "confidence": kappa,
        "initial_const": initial_c,
    }
    return _run("L2CarliniWagnerAttack", model, images, labels, targets, None, searches * steps, **parameters)


@register("foolbox:ddn", norm="l2", aim="minimum", source="foolbox DDNAttack", shared=("steps", "gamma", "initial_norm"))
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
    targets: Tensor | None = None,
) -> Proposal:
    """Decoupled direction and norm, on the cross-entropy. `epsilon` is not used."""
    parameters = {"steps": steps, "gamma": gamma, "init_epsilon": initial_norm}
    return _run("DDNAttack", model, images, labels, targets, None, steps, **parameters)


@register("foolbox:fmn", norm="l2", aim="minimum", source="foolbox L2FMNAttack", shared=("steps",))
def fmn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    gamma: float = 0.05,
    max_step: float = 1.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Fast minimum norm in L2. `epsilon` is not used."""
    parameters = {"steps": steps, "gamma": gamma, "max_stepsize": max_step}
    return _run("L2FMNAttack", model, images, labels, targets, None, steps, **parameters)
