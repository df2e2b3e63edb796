"""A model's name is its recipe: `relog-minmaxout_4_2-sigmoid_out` <-> `Recipe(...)`, both ways and total.

The grammar is one optional part after another, in the order of `PARTS`, joined by hyphens; the activation is the only one that
must be there. Each part knows how it is read and how it is spelled, in one place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Activation = Literal["relu", "relog", "relu_relog"]
Neuron = Literal["linear", "quadratic", "spherical", "elliptical"]
Head = Literal["softmax", "sigmoid"]
Adversary = Literal["none", "fast_at", "pgd_at", "trades"]

_COUNT = r"[1-9][0-9]{0,2}"
_MANY = r"(?:[2-9]|[1-9][0-9]{1,2})"
_WIDTH = r"[1-9][0-9]{0,3}"
_STRENGTH = r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{0,5}[1-9])?"


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
class WeightTerm:
    """What training adds for the size of a unit's weights: `max_fit` a reward, else a penalty, of `strength` times the mean
    over units of ‖w‖₁ or ‖w‖₂² over the fan-in. No strength, no term."""

    strength: float = 0.0
    norm: Literal["l1", "l2"] = "l2"
    max_fit: bool = False

    def __post_init__(self) -> None:
        if self.strength == 0:
            if self.norm != "l2" or self.max_fit:
                raise ValueError("a weight term without strength has neither norm nor sign")
        elif not re.fullmatch(_STRENGTH, _number(self.strength)) or float(_number(self.strength)) != self.strength:
            raise ValueError(
                f"a weight term's strength is in (0, 10000) with at most six digits after the point, got {self.strength}"
            )


@dataclass(frozen=True)
class Recipe:
    """What a model is made of and how it was trained. `str(recipe)` is the model's name within its data set.

    `last`: only so many of the last layers have the activation `relog`, those before `relu`; 0: all. `hidden` are the widths
    of a fully connected network's hidden layers, `widths` those of a convolutional network of three layers; without either it
    is the data set's network. `scrambling`, `overlay`: negatives seen in training. `half`: trained on the one or the
    other half of the training images, 0: on all. `seed` of initialisation and batches.
    """

    activation: Activation = "relu"
    last: int = 0
    hidden: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    neuron: Neuron = "linear"
    pieces: Pieces = Pieces()
    weight_term: WeightTerm = WeightTerm()
    head: Head = "softmax"
    scrambling: bool = False
    overlay: bool = False
    adversary: Adversary = "none"
    half: Literal[0, 1, 2] = 0
    seed: int = 0

    def __post_init__(self) -> None:
        kinds = (("activation", Activation), ("neuron", Neuron), ("head", Head), ("adversary", Adversary))
        for field, known in kinds:
            if getattr(self, field) not in get_args(known):
                raise ValueError(f"no recipe has the {field} {getattr(self, field)!r}: it is one of {', '.join(get_args(known))}")
        if self.last not in range(1000) or (self.last and self.activation != "relog"):
            raise ValueError(f"no network has {self.activation} in its last {self.last} layers only")
        if any(width not in range(1, 10_000) for width in self.hidden):
            raise ValueError(f"no network has hidden layers of widths {self.hidden}")
        if self.widths and (self.hidden or len(self.widths) != 3 or any(w not in range(1, 10_000) for w in self.widths)):
            raise ValueError(f"no convolutional network has layers of widths {self.widths} and hidden ones of {self.hidden}")
        if self.adversary == "trades" and (self.head == "sigmoid" or self.scrambling or self.overlay):
            raise ValueError("TRADES compares softmax answers to labelled images: no sigmoid_out and no negatives with it")
        if self.half not in (0, 1, 2):
            raise ValueError(f"the training set has halves 1 and 2, got {self.half}")
        if self.seed not in range(1000):
            raise ValueError(f"a seed is 0 to 999, got {self.seed}")

    def __str__(self) -> str:
        return "-".join(spelled for spelled in (part.spell(self) for part in PARTS) if spelled)


@dataclass(frozen=True)
class Part:
    """A part of a name: how the grammar shows it, what it looks like, what it says about a recipe, how a recipe spells it
    ("" where it has none), and, of a part with numbers, how it begins and which numbers it can have."""

    form: str
    pattern: str
    read: Callable[[re.Match[str]], dict[str, object]]
    spell: Callable[[Recipe], str]
    stem: str | None = None
    numbers: str = ""


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _widths(match: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(width) for width in match[0].split("_")[1:])


def _spell_activation(recipe: Recipe) -> str:
    return f"{recipe.activation}_last_{recipe.last}" if recipe.last else recipe.activation


def _spell_pieces(recipe: Recipe) -> str:
    pieces = recipe.pieces
    if pieces.group_size > 1:
        return f"minmaxout_{pieces.group_size}_{pieces.groups}"
    return f"maxout_{pieces.groups}" if pieces.groups > 1 else ""


def _read_weight_term(match: re.Match[str]) -> dict[str, object]:
    return {"weight_term": WeightTerm(float(match["strength"]), match["norm"], bool(match["max_fit"]))}  # type: ignore[arg-type]


def _spell_weight_term(recipe: Recipe) -> str:
    term = recipe.weight_term
    return f"{'max_fit_' * term.max_fit}{term.norm}_{_number(term.strength)}" if term.strength else ""


PARTS = (
    Part(
        "activation (relu, relog, relog_last_k, relu_relog)",
        rf"(?P<name>relu|relog|relu_relog)|relog_last_(?P<last>{_COUNT})",
        lambda match: {"activation": match["name"]} if match["name"] else {"activation": "relog", "last": int(match["last"])},
        _spell_activation,
        "relog_last",
        "k is 1 to 999",
    ),
    Part(
        "mlp_w_w…",
        rf"mlp(_{_WIDTH})+",
        lambda match: {"hidden": _widths(match)},
        lambda recipe: "_".join(["mlp", *map(str, recipe.hidden)]) if recipe.hidden else "",
        "mlp",
        "each width w is 1 to 9999",
    ),
    Part(
        "cnn_w_w_w",
        rf"cnn(_{_WIDTH}){{3}}",
        lambda match: {"widths": _widths(match)},
        lambda recipe: "_".join(["cnn", *map(str, recipe.widths)]) if recipe.widths else "",
        "cnn",
        "three widths w are given, each 1 to 9999",
    ),
    Part(
        "quadratic | spherical | elliptical",
        "quadratic|spherical|elliptical",
        lambda match: {"neuron": match[0]},
        lambda recipe: "" if recipe.neuron == "linear" else recipe.neuron,
    ),
    Part(
        "maxout_k | minmaxout_m_k",
        rf"maxout_(?P<k>{_MANY})|minmaxout_(?P<m>{_MANY})_(?P<groups>{_MANY})",
        lambda match: {"pieces": Pieces(int(match["k"])) if match["k"] else Pieces(int(match["groups"]), int(match["m"]))},
        _spell_pieces,
        "(min)?maxout",
        "k and m are 2 to 999",
    ),
    Part(
        "max_fit_l1_λ | max_fit_l2_λ | l1_λ | l2_λ",
        rf"(?P<max_fit>max_fit_)?(?P<norm>l1|l2)_(?P<strength>(?!0$){_STRENGTH})",
        _read_weight_term,
        _spell_weight_term,
        "(max_fit_)?l[12]",
        "the strength λ is above 0 and below 10000, with at most six digits after the point and no needless 0: 1, 0.5, 20",
    ),
    Part(
        "sigmoid_out",
        "sigmoid_out",
        lambda match: {"head": "sigmoid"},
        lambda recipe: "sigmoid_out" if recipe.head == "sigmoid" else "",
    ),
    Part("scrambling", "scrambling", lambda match: {"scrambling": True}, lambda recipe: "scrambling" * recipe.scrambling),
    Part("overlay", "overlay", lambda match: {"overlay": True}, lambda recipe: "overlay" * recipe.overlay),
    Part(
        "fast_at | pgd_at | trades",
        "fast_at|pgd_at|trades",
        lambda match: {"adversary": match[0]},
        lambda recipe: "" if recipe.adversary == "none" else recipe.adversary,
    ),
    Part(
        "half_1 | half_2",
        "half_(?P<half>[12])",
        lambda match: {"half": int(match["half"])},
        lambda recipe: f"half_{recipe.half}" if recipe.half else "",
        "half",
        "there are two halves of the training set",
    ),
    Part(
        "seed_n",
        rf"seed_(?P<seed>{_COUNT})",
        lambda match: {"seed": int(match["seed"])},
        lambda recipe: f"seed_{recipe.seed}" if recipe.seed else "",
        "seed",
        "n is 1 to 999, and a name without it has seed 0",
    ),
)
GRAMMAR = PARTS[0].form + " " + " ".join(f"[-{part.form.replace(' | ', ' | -')}]" for part in PARTS[1:])


def parse_recipe(name: str) -> Recipe:
    """The recipe that `name` spells. Raises `RecipeError` on a part that is unknown, repeated or out of order."""
    first, *rest = name.split("-")
    activation = re.fullmatch(PARTS[0].pattern, first)
    if activation is None:
        _refuse_numbers(name, first, PARTS[:1])
        raise RecipeError(f"recipe {name!r}: {first!r} is no activation; a name reads {GRAMMAR}")
    fields = PARTS[0].read(activation)
    for text in rest:
        for field, value in _read_part(name, text).items():
            if field in fields:
                raise RecipeError(f"recipe {name!r}: {text!r} gives {field} a second time; a name reads {GRAMMAR}")
            fields[field] = value
    if "hidden" in fields and "widths" in fields:
        raise RecipeError(f"recipe {name!r} has two bodies, mlp_… and cnn_…: leave one out; a name reads {GRAMMAR}")
    try:
        recipe = Recipe(**fields)  # type: ignore[arg-type]
    except ValueError as trouble:
        raise RecipeError(f"recipe {name!r}: {trouble}") from trouble
    if str(recipe) != name:
        raise RecipeError(f"recipe {name!r} has its parts out of order: write {str(recipe)!r}")
    return recipe


def _read_part(name: str, text: str) -> dict[str, object]:
    for part in PARTS[1:]:
        match = re.fullmatch(part.pattern, text)
        if match:
            return part.read(match)
    _refuse_numbers(name, text, PARTS[1:])
    raise RecipeError(f"recipe {name!r}: {text!r} is no part that it can have; a name reads {GRAMMAR}")


def _refuse_numbers(name: str, text: str, parts: tuple[Part, ...]) -> None:
    """Where `text` begins as one of the parts does: what its numbers are to be."""
    for part in parts:
        if part.stem and re.match(rf"{part.stem}(?![a-z])", text):
            raise RecipeError(f"recipe {name!r}: {text!r} does not read; it is written {part.form}, and {part.numbers}")
