"""The closest success of each example so far: what every minimum-norm attack keeps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustboard.attacks.losses import is_decisive


@dataclass(frozen=True)
class Closest:
    """Images (N, …), their distances (N,), infinite where nothing was found, and whether each success is decisive (N,).

    A success that rounding could turn is kept only as long as there is no decisive one: what is returned must still be a
    success when the judge asks the model again.
    """

    images: Tensor
    distances: Tensor
    decisive: Tensor

    @staticmethod
    def nothing(images: Tensor) -> Closest:
        """No success yet: the images themselves."""
        infinite = images.new_full((len(images),), torch.inf)
        return Closest(images.clone(), infinite, torch.zeros_like(infinite, dtype=torch.bool))

    def select(self, rows: Tensor) -> Closest:
        """Those of `rows` (n,)."""
        return Closest(self.images[rows], self.distances[rows], self.decisive[rows])

    def placed(self, rows: Tensor, newer: Closest) -> Closest:
        """With `newer` (n) in the place of `rows` (n,)."""
        return Closest(
            self.images.index_copy(0, rows, newer.images),
            self.distances.index_copy(0, rows, newer.distances),
            self.decisive.index_copy(0, rows, newer.decisive),
        )

    def joined(self, rows: Tensor, images: Tensor, distances: Tensor, found: Tensor, logits: Tensor, wanted: Tensor) -> Closest:
        """With the candidates of `rows` taken in where they are `found` and better. `wanted` is their success margin."""
        certain = found & is_decisive(logits, wanted)
        settled, closest = self.decisive[rows], self.distances[rows]
        better = (certain & (~settled | (distances < closest))) | (found & ~settled & (distances < closest))
        best, lengths, sure = self.images.clone(), self.distances.clone(), self.decisive.clone()
        best[rows[better]], lengths[rows[better]], sure[rows[better]] = images[better], distances[better], certain[better]
        return Closest(best, lengths, sure)
