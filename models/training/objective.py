"""What training minimises: the head's loss on images and negatives, TRADES' divergence, the term for the weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustboard.models.recipe import Head, Recipe
from robustboard.models.training.settings import TrainingSettings
from robustboard.models.training.weight_terms import weight_term


def objective(
    network: nn.Module,
    clean: Tensor,
    seen: Tensor,
    labels: Tensor,
    negatives: Tensor,
    recipe: Recipe,
    settings: TrainingSettings,
) -> tuple[Tensor, Tensor]:
    """The logits of the labelled images (N, K), and the loss. `seen` (N, C, H, W) are the adversary's where there is one, else
    the clean ones; `negatives` (M, C, H, W) may be none.

    Images and negatives go through the network together, so that batch normalisation sees in evaluation what it saw in training.
    """
    layout = torch.channels_last
    if settings.divergence_weight:
        logits = network(clean.contiguous(memory_format=layout)).float()
        answer = network(seen.contiguous(memory_format=layout)).float()
        divergence = F.kl_div(F.log_softmax(answer, 1), F.log_softmax(logits, 1), reduction="batchmean", log_target=True)
        loss = losses(logits, labels, recipe.head, settings).mean() + settings.divergence_weight * divergence
        return logits, loss + weight_term(network, recipe.weight_term)
    outputs = network(torch.cat([seen, negatives]).contiguous(memory_format=layout)).float()
    logits, nothing = outputs.split([len(labels), len(negatives)])
    each = torch.cat([losses(logits, labels, recipe.head, settings), negative_losses(nothing, recipe.head)])
    return logits, each.mean() + weight_term(network, recipe.weight_term)


def losses(logits: Tensor, labels: Tensor, head: Head, settings: TrainingSettings) -> Tensor:
    """Each example's loss (N,): cross-entropy or, for sigmoid heads, the squared error against one-hot."""
    if head == "sigmoid":
        one_hot = F.one_hot(labels, logits.shape[1]).to(logits)
        # Summed over the outputs: the mean over ten outputs would shrink the gradient to a tenth of the softmax heads'.
        return (torch.sigmoid(logits) - one_hot).square().sum(1)
    return F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing, reduction="none")


def negative_losses(logits: Tensor, head: Head) -> Tensor:
    """Each negative's loss (M,): away from all zeros for sigmoid heads, else the cross-entropy against all classes alike."""
    if head == "sigmoid":
        return torch.sigmoid(logits).square().sum(1)
    return -F.log_softmax(logits, 1).mean(1)
