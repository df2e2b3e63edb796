"""A model's name is its recipe: `relog-minmaxout_4_2-sigmoid_out` <-> `Recipe(...)`, both ways and total.

The grammar is one optional part after another, in this order, joined by hyphens: activation (`relu` or `relog`), body
(`mlp_w_w…`, fully connected with these hidden widths, or `cnn_w_w_w`, the convolutional network of digits or MNIST with two
convolutions and a hidden layer of these widths; without it the data set's own), pieces (`maxout_k` or `minmaxout_m_k`), head
(`sigmoid_out`), adversarial training (`fast_at`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Activation = Literal["relu", "relog"]
Head = Literal["softmax", "sigmoid"]

GRAMMAR = "activation (relu, relog) [-mlp_w_w… | -cnn_w_w_w] [-maxout_k | -minmaxout_m_k] [-sigmoid_out] [-fast_at]"


class RecipeError(ValueError):
    """A model name that the grammar does not know: the message names the part and what was expected there."""


@dataclass(frozen=True)
class Pieces:
    """How many linear pieces one output has: the maximum over `groups` of the minimum over `group_size` pieces.

    `maxout_k` is `Pieces(groups=k, group_size=1)`; `minmaxout_m_k` is `Pieces(groups=k, group_size=m)`.
    """

    groups: int = 1
    group_size: int = 1

    def __post_init__(self) -> None:
        sizes = range(1, 1000)
        if self.groups not in sizes or self.group_size not in sizes or (self.groups == 1 and self.group_size > 1):
            raise ValueError(f"no unit has {self.groups} groups of {self.group_size} pieces")

    @property
    def total(self) -> int:
        return self.groups * self.group_size


@dataclass(frozen=True)
class Recipe:
    """What a model is made of and how it was trained. `str(recipe)` is the model's name within its data set.

    `hidden` are the widths of a fully connected network's hidden layers, `widths` those of a convolutional network of three
    layers; without either it is the data set's network.
    """

    activation: Activation = "relu"
    hidden: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    pieces: Pieces = Pieces()
    head: Head = "softmax"
    fast_at: bool = False

    def __post_init__(self) -> None:
        if any(width not in range(1, 10_000) for width in self.hidden):
            raise ValueError(f"no network has hidden layers of widths {self.hidden}")
        if self.widths and (self.hidden or len(self.widths) != 3 or any(w not in range(1, 10_000) for w in self.widths)):
            raise ValueError(f"no convolutional network has layers of widths {self.widths} and hidden ones of {self.hidden}")

    def __str__(self) -> str:
        parts: list[str] = [self.activation]
        if self.hidden:
            parts.append("_".join(["mlp", *map(str, self.hidden)]))
        if self.widths:
            parts.append("_".join(["cnn", *map(str, self.widths)]))
        if self.pieces.group_size > 1:
            parts.append(f"minmaxout_{self.pieces.group_size}_{self.pieces.groups}")
        elif self.pieces.groups > 1:
            parts.append(f"maxout_{self.pieces.groups}")
        if self.head == "sigmoid":
            parts.append("sigmoid_out")
        if self.fast_at:
            parts.append("fast_at")
        return "-".join(parts)


def parse_recipe(name: str) -> Recipe:
    """The recipe that `name` spells. Raises `RecipeError` on a part that is unknown, repeated or out of order."""
    activation, *rest = name.split("-")
    if activation not in ("relu", "relog"):
        raise RecipeError(f"recipe {name!r}: {activation!r} is no activation; a name reads {GRAMMAR}")
    fields: dict[str, object] = {"activation": activation}
    for part in rest:
        field, value = _parse_part(name, part)
        if field in fields:
            raise RecipeError(f"recipe {name!r}: {part!r} gives {field} a second time; a name reads {GRAMMAR}")
        fields[field] = value
    if "hidden" in fields and "widths" in fields:
        raise RecipeError(f"recipe {name!r} has two bodies; a name reads {GRAMMAR}")
    recipe = Recipe(**fields)  # type: ignore[arg-type]
    if str(recipe) != name:
        raise RecipeError(f"recipe {name!r} has its parts out of order: write {str(recipe)!r}")
    return recipe


def _parse_part(name: str, part: str) -> tuple[str, object]:
    if part == "sigmoid_out":
        return "head", "sigmoid"
    if part == "fast_at":
        return "fast_at", True
    if re.fullmatch(r"mlp(_[1-9][0-9]{0,3})+", part):
        return "hidden", tuple(int(width) for width in part.split("_")[1:])
    if re.fullmatch(r"cnn(_[1-9][0-9]{0,3}){3}", part):
        return "widths", tuple(int(width) for width in part.split("_")[1:])
    if match := re.fullmatch(r"maxout_([2-9]|[1-9][0-9]{1,2})", part):
        return "pieces", Pieces(groups=int(match[1]))
    if match := re.fullmatch(r"minmaxout_([2-9]|[1-9][0-9]{1,2})_([2-9]|[1-9][0-9]{1,2})", part):
        return "pieces", Pieces(group_size=int(match[1]), groups=int(match[2]))
    raise RecipeError(f"recipe {name!r}: {part!r} is no part that it can have; a name reads {GRAMMAR}")
