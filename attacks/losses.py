"""What attacks climb: logits (N, K) and labels (N,) in, one number an example (N,) out, larger is closer to fooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["margin", "cross_entropy"]
Head = Literal["softmax", "sigmoid", "identity"]
Loss = Callable[[Tensor, Tensor], Tensor]

ROUNDING = 1e-6
"""Share of the largest logit, a few float32 roundings, below which a margin's sign may be the arithmetic's doing."""


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max over j ≠ y of Z_j minus Z_y: negative where the model is right, and no softmax that could underflow.

    Carlini & Wagner 2017, section V-A, f₆ with its sign turned.
    """
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(1) - own.squeeze(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−log softmax(Z)_y, the loss of the FGSM, BIM and PGD papers. Its gradient is exactly 0 on a confident model."""
    return F.cross_entropy(logits, labels, reduction="none")


LOSSES: dict[LossName, Loss] = {"margin": margin, "cross_entropy": cross_entropy}


def ascent_loss(name: LossName, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """The loss to climb: away from `labels`, or towards `targets` where those are given. (N,)"""
    if targets is None:
        return LOSSES[name](logits, labels)
    return -LOSSES[name](logits, targets)


def success_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """By how much the attack has what it wants (N,): ≥ 0 where the label is lost, or > 0 where the target is reached."""
    return margin(logits, labels) if targets is None else -margin(logits, targets)


def pull(logits: Tensor, labels: Tensor, towards: Tensor | None) -> Tensor:
    """Z_t − Z_y for the classes t = `towards` (N,); the margin, which takes the largest of these, where it is None. (N,)"""
    if towards is None:
        return margin(logits, labels)
    return (logits.gather(1, towards[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)


def likeliest_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong classes (N, K − 1) of each example, the one of the largest logit first."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, :-1]


def is_success(wanted: Tensor, targets: Tensor | None) -> Tensor:
    """(N,) bool: the label's logit is no longer strictly the largest, or the target's is."""
    return wanted >= 0 if targets is None else wanted > 0


def is_decisive(logits: Tensor, wanted: Tensor) -> Tensor:
    """(N,) bool: the margin `wanted` is above what rounding can turn. An attack may stop here; the judge will agree."""
    return wanted > ROUNDING * logits.detach().abs().amax(1).clamp_min(1e-30)


def confidence(outputs: Tensor, head: Head) -> Tensor:
    """How sure the model is of its prediction (N,): the largest probability, the largest sigmoid of a sigmoid head, or the
    largest output of a model that returns probabilities itself ("identity")."""
    if head == "softmax":
        return torch.softmax(outputs, 1).amax(1)
    return torch.sigmoid(outputs.amax(1)) if head == "sigmoid" else outputs.amax(1)
