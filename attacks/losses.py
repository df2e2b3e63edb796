"""What attacks climb: logits (N, K) and labels (N,) in, one number an example (N,) out, larger is closer to fooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["margin", "log_odds", "cross_entropy"]
Head = Literal["softmax", "sigmoid", "identity"]
Loss = Callable[[Tensor, Tensor], Tensor]

ROUNDING = 1e-6
"""Share of the largest logit, a few float32 roundings, below which a margin's sign may be the arithmetic's doing."""

TIED = 1e-12
"""In place of a difference of logits that are all equal."""


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


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """log (1 − p_y) / p_y, p the softmax: logsumexp over j ≠ y of Z_j, minus Z_y. (N,)

    Cross-entropy is log(1 + exp) of it: it rises with this and its gradient is this one's times 1 − p_y, which underflows
    on a confident model, where this has the margin's gradient. An attack to which a gradient's length means nothing
    climbs the same hill by it: so do `fgsm_ce`, `bim_ce` and `pgd_ce`, whose papers have cross-entropy.
    """
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1) - own


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio: the margin over Z_π1 − Z_π3, π the descending order, so that scaled logits give the
    same. With fewer than three classes there is no Z_π3, and it is the margin. (N,)

    Croce & Hein 2020a, section 4.
    """
    lead = margin(logits, labels)
    if logits.shape[1] < 3:
        return lead
    first, _, third = logits.topk(3, dim=1).values.unbind(1)
    return lead / (first - third).clamp_min(TIED)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Z_t − Z_y over Z_π1 − (Z_π3 + Z_π4) / 2. With fewer than four classes there is no Z_π4, and it is Z_t − Z_y. (N,)

    Croce & Hein 2020a, section 4.
    """
    lead = lead_of(logits, targets, labels)
    if logits.shape[1] < 4:
        return lead
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return lead / (first - (third + fourth) / 2).clamp_min(TIED)


def lead_of(logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """Z_t − Z_y. (N,)"""
    return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)


def wrong_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The classes but the label, the most likely first: (N, K − 1) int64."""
    return logits.scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]


LOSSES: dict[LossName, Loss] = {"margin": margin, "log_odds": log_odds, "cross_entropy": cross_entropy}


def ascent_loss(name: LossName, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """The loss to climb: away from `labels`, or towards `targets` where those are given. (N,) "margin", "log_odds" (where
    cross-entropy rises, and not 0 where that rounds), "cross_entropy" (as it is written, for those who look for the rounding)."""
    if targets is None:
        return LOSSES[name](logits, labels)
    return -LOSSES[name](logits, targets)


def success_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """By how much the attack has what it wants (N,): ≥ 0 where the label is lost, or > 0 where the target is reached."""
    return margin(logits, labels) if targets is None else -margin(logits, targets)


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
