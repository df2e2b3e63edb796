"""The attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018), at its defaults."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import Model, Proposal
from robustboard.attacks.libraries.library import Handed, count_classes, load, proposed, register


def _run(name: str, model: Model, images: Tensor, labels: Tensor | None, iterations: int = 1, **parameters: object) -> Proposal:
    """Call the library's class `name`; `labels` (N,) are the targets where it is told that it is targeted."""
    classifier = load("art.estimators.classification").PyTorchClassifier(
        model=Handed(model, images.device),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=count_classes(model, images),
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.device.type == "cuda" else "cpu",
    )
    attack: Any = getattr(load("art.attacks.evasion"), name)(classifier, **parameters)
    candidates = attack.generate(x=images.cpu().numpy(), y=None if labels is None else labels.cpu().numpy())
    return proposed(images, torch.from_numpy(candidates).to(images), iterations)


@register("art:fgsm", norm="linf", aim="budget", source="ART FastGradientMethod, cross-entropy")
def fgsm(
    model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, targets: Tensor | None = None
) -> Proposal:
    """One step of ε along the sign of the cross-entropy's gradient."""
    aims = labels if targets is None else targets
    return _run("FastGradientMethod", model, images, aims, eps=epsilon, targeted=targets is not None)


@register("art:bim", norm="linf", aim="budget", source="ART BasicIterativeMethod, cross-entropy", shared=("steps",))
def bim(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    alpha: float = 0.1,
    targets: Tensor | None = None,
) -> Proposal:
    """`steps` of `alpha`, in pixel units: it is not scaled with ε, and the library raises where it is above it."""
    parameters = {"eps": epsilon, "eps_step": alpha, "max_iter": steps, "targeted": targets is not None, "verbose": False}
    return _run("BasicIterativeMethod", model, images, labels if targets is None else targets, steps, **parameters)


@register("art:pgd", norm="linf", aim="budget", source="ART ProjectedGradientDescent, cross-entropy", shared=("steps",))
def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    alpha: float = 0.1,
    targets: Tensor | None = None,
) -> Proposal:
    """The library's default has no random start."""
    parameters = {"eps": epsilon, "eps_step": alpha, "max_iter": steps, "targeted": targets is not None, "verbose": False}
    return _run("ProjectedGradientDescent", model, images, labels if targets is None else targets, steps, **parameters)


@register("art:cw", norm="l2", aim="minimum", source="ART CarliniL2Method", shared=("kappa",))
def cw(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    searches: int = 10,
    steps: int = 10,
    rate: float = 0.01,
    initial_c: float = 0.01,
    kappa: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Binary search over c around gradient descent with a line search. `epsilon` is not used."""
    parameters = {
        "binary_search_steps": searches,
        "max_iter": steps,
        "learning_rate": rate,
        "initial_const": initial_c,
        "confidence": kappa,
        "targeted": targets is not None,
        "verbose": False,
    }
    return _run("CarliniL2Method", model, images, labels if targets is None else targets, searches * steps, **parameters)


@register("art:jsma", norm="l0", aim="minimum", source="ART SaliencyMapMethod")
def jsma(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    theta: float = 0.1,
    targets: Tensor | None = None,
) -> Proposal:
    """Pairs of features by `theta` a step, towards a random wrong class or `targets`, at most `epsilon` features."""
    # The library stops when more than the share γ has changed, which is a pair too late.
    gamma = max(0.0, (epsilon - 2) / images[0].numel())
    return _run("SaliencyMapMethod", model, images, targets, int(epsilon) // 2, theta=theta, gamma=gamma, verbose=False)


@register("art:square", norm="linf", aim="budget", source="ART SquareAttack", needs_gradient=False)
def square(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, queries: int = 100) -> Proposal:
    """Random search along squares."""
    return _run("SquareAttack", model, images, labels, queries, eps=epsilon, max_iter=queries, verbose=False)
