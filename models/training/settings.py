"""What a training run is told: one frozen record, its defaults by data set and recipe, overridable by a registry entry."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from robustboard.models.recipe import Recipe

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=_CONFIG)
class Augmentation:
    """Strengths of the random changes every training image gets; 0 turns one off.

    translation: whole pixels, uniform in ±; rotation: degrees, uniform in ±; scaling: relative, uniform in 1 ±;
    flip: mirror left-right with probability ½; erasing: probability that a square of `erased_share` of the side
    is set to 0; noise: standard deviation of Gaussian noise in pixel units, the result clipped to [0, 1].
    """

    translation: Annotated[int, Field(ge=0)] = 0
    rotation: Annotated[float, Field(ge=0)] = 0.0
    scaling: Annotated[float, Field(ge=0, lt=1)] = 0.0
    flip: bool = False
    erasing: Share = 0.0
    erased_share: Share = 0.25
    noise: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, config=_CONFIG)
class TrainingSettings:
    """One run: SGD with Nesterov momentum under a one-cycle schedule (Smith & Topin 2018), cross-entropy or, for
    sigmoid heads, the squared error against one-hot targets.

    `epsilon` is the L∞ radius of adversarial training (0: none), in pixel units; `step` its step, relative to epsilon, of
    which the adversary takes `attack_steps`; `divergence_weight` is TRADES' 1/λ. `negatives`: how many, relative to the batch,
    are made of it; scrambled ones by squares of `patch` pixels. `anneal`: the share of the training over which `relu_relog`
    goes from the one to the other. `initialise`: whether the first batch sets the scale of every unit; where batch normalisation
    does so at every step, that is of the last layer, and of the units' weights as weight terms and evaluation see them.
    """

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Share
    augmentation: Augmentation
    momentum: Share = 0.9
    epsilon: Share = 0.0
    step: Annotated[float, Field(gt=0)] = 1.25
    attack_steps: Annotated[int, Field(ge=1)] = 1
    divergence_weight: Annotated[float, Field(ge=0)] = 0.0
    negatives: Annotated[float, Field(ge=0)] = 0.0
    patch: Annotated[int, Field(ge=0)] = 0
    anneal: Share = 0.0
    initialise: bool = False
    seed: int = 0


_BASE = {
    "digits": TrainingSettings(
        epochs=60,
        batch_size=32,
        learning_rate=0.05,
        weight_decay=5e-4,
        label_smoothing=0.05,
        augmentation=Augmentation(translation=1, rotation=8.0, scaling=0.08, noise=0.05),
    ),
    "mnist": TrainingSettings(
        epochs=8,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        label_smoothing=0.0,
        augmentation=Augmentation(translation=2, rotation=8.0, scaling=0.08, noise=0.05),
    ),
    "cifar10": TrainingSettings(
        epochs=16,
        batch_size=128,
        learning_rate=0.2,
        weight_decay=5e-4,
        label_smoothing=0.05,
        augmentation=Augmentation(translation=3, flip=True),
    ),
}
_PATCH = {"digits": 4, "mnist": 7, "cifar10": 8}
# Negatives are images more to train on: fewer on CIFAR-10, where a run is to end within 45 minutes on two cores.
_NEGATIVES = {"digits": 0.5, "mnist": 0.5, "cifar10": 0.25}
# Adversarial training sees the images as they are, but for CIFAR-10's shifts and flips: strong augmentation and a
# strong adversary together underfit networks of this size.
_ADVERSARIAL: dict[str, dict[str, Any]] = {
    "digits": {"epsilon": 0.2, "augmentation": Augmentation(translation=1), "label_smoothing": 0.0},
    "mnist": {"epsilon": 0.3, "augmentation": Augmentation(), "epochs": 10},
    "cifar10": {"epsilon": 8 / 255, "epochs": 10, "label_smoothing": 0.0},
}
_SEVERAL_STEPS: dict[str, dict[str, Any]] = {
    "digits": {"attack_steps": 7, "step": 0.25},
    "mnist": {"attack_steps": 10, "step": 0.2},
    "cifar10": {"attack_steps": 7, "step": 0.25, "epochs": 20},
}
# TRADES' divergence slows learning down: ten epochs left MNIST's network at 97.7 % clean.
_TRADES: dict[str, dict[str, Any]] = {"digits": {}, "mnist": {"epochs": 20}, "cifar10": {}}
_ADVERSARIES: dict[str, dict[str, Any]] = {"fast_at": {}, "pgd_at": {}, "trades": {"divergence_weight": 6.0}}
# A fully connected network of a few dozen units fits little: a weaker adversary, and for longer.
_MLP_ADVERSARIAL: dict[str, dict[str, Any]] = {
    "digits": {"epsilon": 0.1},
    "mnist": {"epsilon": 0.1, "epochs": 20},
    "cifar10": {"epsilon": 2 / 255},
}


def default_settings(dataset: str, recipe: Recipe) -> TrainingSettings:
    """The settings a model of this recipe is trained with unless its registry entry says otherwise."""
    settings = replace(_BASE[dataset], seed=recipe.seed)
    if recipe.head == "sigmoid":
        settings = replace(settings, label_smoothing=0.0)
    if recipe.scrambling or recipe.overlay:
        settings = replace(settings, negatives=_NEGATIVES[dataset], patch=_PATCH[dataset] if recipe.scrambling else 0)
    if recipe.activation == "relu_relog":
        settings = replace(settings, anneal=0.5)
    if recipe.adversary != "none":
        settings = replace(settings, **_ADVERSARIAL[dataset], **_ADVERSARIES[recipe.adversary])
        if recipe.adversary != "fast_at":
            settings = replace(settings, **_SEVERAL_STEPS[dataset])
        if recipe.adversary == "trades":
            settings = replace(settings, **_TRADES[dataset])
        if recipe.hidden:
            settings = replace(settings, **_MLP_ADVERSARIAL[dataset])
    return settings
