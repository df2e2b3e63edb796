"""What a training run is told: one frozen record, its defaults by data set and recipe, overridable by a registry entry."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from robustboard.models.recipe import Recipe

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_CONFIG)
class Augmentation:
    """Strengths of the random changes every training image gets; 0 turns one off.

    translation: whole pixels, uniform in ±; rotation: degrees, uniform in ±; scaling: relative, uniform in 1 ±;
    flip: mirror left-right with probability ½; erasing: probability that a square of `erased_share` of the side
    is set to 0; noise: standard deviation of Gaussian noise in pixel units, the result clipped to [0, 1].
    """

    translation: int = 0
    rotation: float = 0.0
    scaling: float = 0.0
    flip: bool = False
    erasing: float = 0.0
    erased_share: float = 0.25
    noise: float = 0.0


@dataclass(frozen=True, config=_CONFIG)
class TrainingSettings:
    """One run: SGD with Nesterov momentum under a one-cycle schedule (Smith & Topin 2018), cross-entropy or, for
    sigmoid heads, the squared error against one-hot targets.

    `epsilon` is the L∞ radius of adversarial training (0: none), in pixel units; `step` its step, relative to epsilon.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    augmentation: Augmentation
    momentum: float = 0.9
    epsilon: float = 0.0
    step: float = 1.25
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
# Adversarial training sees the images as they are, but for CIFAR-10's shifts and flips: strong augmentation and a
# strong adversary together underfit networks of this size.
_FAST_AT = {
    "digits": {"epsilon": 0.2, "augmentation": Augmentation(translation=1), "label_smoothing": 0.0},
    "mnist": {"epsilon": 0.3, "augmentation": Augmentation(), "epochs": 10},
    "cifar10": {"epsilon": 8 / 255, "epochs": 10, "label_smoothing": 0.0},
}
# A fully connected network of a few dozen units fits little: a weaker adversary, and for longer.
_MLP_FAST_AT = {"digits": {"epsilon": 0.1}, "mnist": {"epsilon": 0.1, "epochs": 20}, "cifar10": {"epsilon": 2 / 255}}


def default_settings(dataset: str, recipe: Recipe) -> TrainingSettings:
    """The settings a model of this recipe is trained with unless its registry entry says otherwise."""
    settings = _BASE[dataset]
    if recipe.head == "sigmoid":
        settings = replace(settings, label_smoothing=0.0)
    if recipe.fast_at:
        settings = replace(settings, **_FAST_AT[dataset])  # type: ignore[arg-type]
        if recipe.hidden:
            settings = replace(settings, **_MLP_FAST_AT[dataset])  # type: ignore[arg-type]
    return settings
