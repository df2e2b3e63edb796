"""torchattacks' attacks (Kim 2020, "Torchattacks: a PyTorch repository for adversarial attacks"), at its defaults."""

from __future__ import annotations

import torch
from torch import Tensor

from robustboard.attacks import projections
from robustboard.attacks.attack import Model, Proposal, logits_of
from robustboard.attacks.libraries.library import Handed, count_classes, load, proposed, register, seed_of
from robustboard.attacks.losses import Head
from robustboard.attacks.max_confidence import confident_error

ALPHA = 2 / 255
"""The step of BIM and PGD in pixel units, whatever ε is."""


def _run(
    name: str,
    model: Model,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    iterations: int = 1,
    **parameters: object,
) -> Proposal:
    """Call the library's class `name`; towards `targets` (N,) where they are given, in the mode in which it knows the labels,
    too."""
    attack = getattr(load("torchattacks"), name)(Handed(model, images.device), **parameters)
    if targets is not None:
        attack.set_mode_targeted_by_function(lambda images, labels: targets, quiet=True)
    return proposed(images, attack(images, labels), iterations)


@register("torchattacks:fgsm", norm="linf", aim="budget", source="torchattacks.FGSM, cross-entropy")
def fgsm(
    model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, targets: Tensor | None = None
) -> Proposal:
    """One step of ε along the sign of the cross-entropy's gradient."""
    return _run("FGSM", model, images, labels, targets, eps=epsilon)


@register("torchattacks:bim", norm="linf", aim="budget", source="torchattacks.BIM, cross-entropy", shared=("steps",))
def bim(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    alpha: float = ALPHA,
    targets: Tensor | None = None,
) -> Proposal:
    """`steps` of `alpha`, in pixel units: it is not scaled with ε."""
    return _run("BIM", model, images, labels, targets, steps, eps=epsilon, alpha=alpha, steps=steps)


@register("torchattacks:pgd", norm="linf", aim="budget", source="torchattacks.PGD, cross-entropy", shared=("steps",))
def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    alpha: float = ALPHA,
    targets: Tensor | None = None,
) -> Proposal:
    """BIM from a uniform random start."""
    return _run("PGD", model, images, labels, targets, steps, eps=epsilon, alpha=alpha, steps=steps)


@register("torchattacks:cw", norm="l2", aim="minimum", source="torchattacks.CW, no search for c", shared=("kappa",))
def cw(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 50,
    rate: float = 0.01,
    c: float = 1.0,
    kappa: float = 0.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Adam at `rate` on ‖δ‖² + c · f at one c. `epsilon` is not used."""
    return _run("CW", model, images, labels, targets, steps, c=c, kappa=kappa, steps=steps, lr=rate)


@register(
    "torchattacks:spsa",
    norm="linf",
    aim="budget",
    source="torchattacks.SPSA",
    needs_gradient=False,
    shared=("directions", "iterations", "delta", "rate"),
)
def spsa(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    directions: int = 128,
    iterations: int = 1,
    delta: float = 0.01,
    rate: float = 0.01,
    targets: Tensor | None = None,
    row_cap: int = 64,
) -> Proposal:
    """Adam on the estimated gradient, by default one step of it; the directions are shared by the whole batch. The library's
    cap on rows is for each image."""
    return _run(
        "SPSA",
        model,
        images,
        labels,
        targets,
        iterations,
        eps=epsilon,
        delta=delta,
        lr=rate,
        nb_iter=iterations,
        nb_sample=directions,
        max_batch_size=row_cap,
    )


@register("torchattacks:jsma", norm="l0", aim="minimum", source="torchattacks.JSMA", shared=("theta",))
def jsma(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    theta: float = 1.0,
    targets: Tensor | None = None,
) -> Proposal:
    """Pairs of features towards (y + 1) mod 10 or `targets`; γ is set so that at most `epsilon` features change."""
    pairs = int(epsilon) // 2
    # The library rounds features · γ / 2 up to the number of pairs: a quarter less keeps it off the next one.
    gamma = max(0.0, 2 * (pairs - 0.25) / images[0].numel())
    # It writes into the images it is given.
    return _run("JSMA", model, images.clone(), labels, targets, pairs, theta=theta, gamma=gamma)


@register(
    "torchattacks:autoattack",
    norm="linf",
    aim="budget",
    source="torchattacks.AutoAttack, standard",
    needs_gradient=False,
    shared=("steps",),
)
def autoattack(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, steps: int = 10) -> Proposal:
    """APGD-CE, APGD-T, FAB-T and Square one after the other, the latter three on the survivors.

    The library's ensemble takes no `steps` and runs its gradient attacks for 10, a tenth of the published number.
    """
    library = load("torchattacks")
    classes = count_classes(model, images)
    ensemble = library.AutoAttack(Handed(model, images.device), eps=epsilon, n_classes=classes, seed=seed_of(keys))
    for part in ensemble._autoattack.attacks:
        if hasattr(part, "steps"):
            part.steps = steps
    return proposed(images, ensemble(images, labels), steps)


@register("torchattacks:apgd_ce", norm="linf", aim="budget", source="torchattacks.APGD, cross-entropy", shared=("steps",))
def apgd_ce(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, steps: int = 10) -> Proposal:
    """Auto-PGD on the cross-entropy."""
    return _run("APGD", model, images, labels, None, steps, eps=epsilon, steps=steps, seed=seed_of(keys))


@register("torchattacks:apgd_t", norm="linf", aim="budget", source="torchattacks.APGDT, targeted DLR", shared=("steps",))
def apgd_t(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, steps: int = 10) -> Proposal:
    """Auto-PGD on the targeted DLR loss, towards every wrong class in turn."""
    classes = count_classes(model, images)
    return _run("APGDT", model, images, labels, None, steps, eps=epsilon, steps=steps, seed=seed_of(keys), n_classes=classes)


@register("torchattacks:fab_t", norm="linf", aim="budget", source="torchattacks.FAB, multi-targeted", shared=("steps",))
def fab_t(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, steps: int = 10) -> Proposal:
    """Fast adaptive boundary towards every wrong class in turn, its result cut to ε by the library."""
    parameters = {"multi_targeted": True, "n_classes": count_classes(model, images), "seed": seed_of(keys)}
    return _run("FAB", model, images, labels, None, steps, eps=epsilon, steps=steps, **parameters)


@register("torchattacks:square", norm="linf", aim="budget", source="torchattacks.Square", needs_gradient=False)
def square(model: Model, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, queries: int = 5000) -> Proposal:
    """Random search along squares."""
    return _run("Square", model, images, labels, None, queries, eps=epsilon, n_queries=queries, seed=seed_of(keys))


@register(
    "torchattacks:max_confidence",
    norm="linf",
    aim="confidence",
    source="torchattacks.PGD, targeted at every wrong class",
    shared=("steps",),
)
def max_confidence(
    model: Model,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    alpha: float = ALPHA,
    head: Head = "softmax",
) -> Proposal:
    """The library has no such attack: one targeted PGD run for each wrong class, the most confident error is kept."""
    clean = logits_of(model, images)
    best, scores = images.clone(), confident_error(clean, labels, head)
    for offset in range(1, clean.shape[1]):
        targets = (labels + offset) % clean.shape[1]
        made = _run("PGD", model, images, labels, targets, steps, eps=epsilon, alpha=alpha, steps=steps).images
        values = confident_error(logits_of(model, made), labels, head)
        better = values > scores
        best = torch.where(projections.per_example(better, images), made, best)
        scores = torch.where(better, values, scores)
    return proposed(images, best, steps * (clean.shape[1] - 1))
