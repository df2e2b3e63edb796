"""The recipe grammar: names and recipes are the same thing written twice, and nothing else is a name."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustboard.models.architectures import build_network
from robustboard.models.recipe import GRAMMAR, Pieces, Recipe, RecipeError, WeightTerm, parse_recipe
from robustboard.models.registry import ModelCard, read_cards

PATIENT = settings(deadline=None)  # a busy machine is no bug
PARTS = [
    "relu",
    "relog",
    "maxout_4",
    "maxout_1",
    "minmaxout_4_2",
    "minmaxout_1_2",
    "sigmoid_out",
    "fast_at",
    "mlp_8",
    "mlp_0",
    "cnn_4_8_16",
    "cnn_4_8",
    "",
    "softmax_out",
    "relu_relog",
    "relog_last_3",
    "quadratic",
    "elliptical",
    "max_fit_l1_1",
    "max_fit_l2_0.5",
    "l2_0.50",
    "l1_0",
    "scrambling",
    "overlay",
    "pgd_at",
    "trades",
    "half_1",
    "half_3",
    "seed_3",
    "seed_0",
]
MANY = st.integers(2, 500)
PIECES = st.one_of(st.just(Pieces()), st.builds(Pieces, groups=MANY), st.builds(Pieces, groups=MANY, group_size=MANY))
WIDTH = st.integers(1, 9999)
BODIES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"hidden": st.lists(WIDTH, min_size=1, max_size=4).map(tuple)}),
    st.fixed_dictionaries({"widths": st.tuples(WIDTH, WIDTH, WIDTH)}),
)
ACTIVATIONS = st.one_of(
    st.sampled_from([{"activation": "relu"}, {"activation": "relog"}, {"activation": "relu_relog"}]),
    st.fixed_dictionaries({"activation": st.just("relog"), "last": st.integers(1, 999)}),
)
STRENGTHS = st.integers(1, 9_999_999_999).map(lambda millionths: millionths / 1_000_000)
TERMS = st.one_of(st.just(WeightTerm()), st.builds(WeightTerm, STRENGTHS, st.sampled_from(["l1", "l2"]), st.booleans()))
SEEN = st.one_of(
    st.fixed_dictionaries(
        {
            "head": st.sampled_from(["softmax", "sigmoid"]),
            "scrambling": st.booleans(),
            "overlay": st.booleans(),
            "adversary": st.sampled_from(["none", "fast_at", "pgd_at"]),
        }
    ),
    st.just({"adversary": "trades"}),
)
RECIPES = st.builds(
    lambda body, activation, seen, **parts: Recipe(**body, **activation, **seen, **parts),
    BODIES,
    ACTIVATIONS,
    SEEN,
    neuron=st.sampled_from(["linear", "quadratic", "spherical", "elliptical"]),
    pieces=PIECES,
    weight_term=TERMS,
    half=st.sampled_from([0, 1, 2]),
    seed=st.integers(0, 999),
)


@PATIENT
@given(RECIPES)
def test_every_recipe_is_spelled_and_read_back(recipe: Recipe) -> None:
    assert parse_recipe(str(recipe)) == recipe


@PATIENT
@given(RECIPES, RECIPES)
def test_two_recipes_never_share_a_name(first: Recipe, second: Recipe) -> None:
    assert (str(first) == str(second)) == (first == second)


@PATIENT
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PARTS), max_size=5).map("-".join)))
def test_any_text_is_a_name_that_prints_back_or_a_recipe_error(text: str) -> None:
    try:
        recipe = parse_recipe(text)
    except RecipeError:
        return
    assert str(recipe) == text


@PATIENT
@given(RECIPES, st.text("abcxyz_", min_size=1, max_size=12).map(lambda text: f"q{text}q"), st.data())
def test_a_part_that_is_none_is_named_wherever_it_stands(recipe: Recipe, wrong: str, data: st.DataObject) -> None:
    parts = str(recipe).split("-")
    parts.insert(data.draw(st.integers(0, len(parts))), wrong)
    with pytest.raises(RecipeError) as trouble:
        parse_recipe("-".join(parts))
    assert repr(wrong) in str(trouble.value)


@pytest.mark.parametrize("size", [50, 5000])
def test_a_number_of_any_length_raises_nothing_but_recipe_error(size: int) -> None:
    # Python refuses to read numbers of more than 4,300 digits, with a ValueError of its own.
    name = f"relu-maxout_{'9' * size}"
    try:
        assert str(parse_recipe(name)) == name
    except RecipeError as trouble:
        assert "maxout_9" in str(trouble)  # noqa: PT017  (either answer is right)


@pytest.mark.parametrize(("groups", "group_size"), [(1, 3), (0, 1), (1, 0), (-2, 1)])
def test_pieces_that_cannot_be_spelled_cannot_be_made(groups: int, group_size: int) -> None:
    # The docstring promises that the two ways are total: a recipe without a readable name must not exist.
    try:
        recipe = Recipe(pieces=Pieces(groups, group_size))
    except ValueError:
        return
    assert parse_recipe(str(recipe)) == recipe


@pytest.mark.parametrize("card", read_cards().values(), ids=lambda card: card.name)
def test_every_registry_entry_prints_back(card: ModelCard) -> None:
    assert str(parse_recipe(card.recipe)) == card.recipe


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("tanh", "'tanh' is no activation"),
        ("", "'' is no activation"),
        ("maxout_4", "'maxout_4' is no activation"),
        ("relu-maxout_1", "'maxout_1'"),
        ("relu-cnn_4_8", "'cnn_4_8'"),
        ("relu-mlp_0", "'mlp_0'"),
        ("relu-mlp_8-cnn_4_8_16", "two bodies, mlp_… and cnn_…: leave one out"),
        ("relu-maxout_04", "'maxout_04'"),
        ("relu-maxout_", "'maxout_'"),
        ("relu-maxout_4_2", "'maxout_4_2'"),
        ("relu-minmaxout_4", "'minmaxout_4'"),
        ("relu-minmaxout_1_4", "'minmaxout_1_4'"),
        ("relu-mlp", "'mlp'"),
        ("relu-mlp_", "'mlp_'"),
        ("relu-mlp_32_", "'mlp_32_'"),
        ("relu-mlp_032", "'mlp_032'"),
        ("relu-mlp_10000", "'mlp_10000'"),
        ("relu-mlp_٤", "'mlp_٤'"),
        ("relu-minmaxout_4_1", "'minmaxout_4_1'"),
        ("relu-", "''"),
        ("relu--fast_at", "''"),
        ("relu-fast_At", "'fast_At'"),
        ("relu-softmax_out", "'softmax_out'"),
        ("relu-maxout_4\n", r"'maxout_4\n'"),
        ("relu-maxout_٤", "'maxout_٤'"),
        ("relog_last_0", "'relog_last_0'"),
        ("relu-max_fit_l2", "'max_fit_l2'"),
        ("relu-l1_0", "'l1_0'"),
        ("relu-l1_0.0", "'l1_0.0'"),
        ("relu-l2_1.50", "'l2_1.50'"),
        ("relu-l2_1e-4", "'l2_1e'"),
        ("relu-seed_0", "'seed_0'"),
        ("relu-half_3", "'half_3'"),
        ("relu-parabolic", "'parabolic'"),
    ],
)
def test_a_wrong_part_is_named(name: str, part: str) -> None:
    with pytest.raises(RecipeError) as trouble:
        parse_recipe(name)
    assert part in str(trouble.value)
    assert GRAMMAR in str(trouble.value) or "is written" in str(trouble.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "relog_last_0",
            "'relog_last_0' does not read; it is written activation (relu, relog, relog_last_k, relu_relog), and k",
        ),
        ("relu-mlp_10000", "'mlp_10000' does not read; it is written mlp_w_w…, and each width w is 1 to 9999"),
        ("relu-cnn_4_8", "'cnn_4_8' does not read; it is written cnn_w_w_w, and three widths"),
        ("relu-maxout_1", "'maxout_1' does not read; it is written maxout_k | minmaxout_m_k, and k and m are 2 to 999"),
        ("relu-minmaxout_4_1", "k and m are 2 to 999"),
        ("relu-max_fit_l2", "the strength λ is above 0"),
        ("relu-l2_1.50", "no needless 0: 1, 0.5, 20"),
        ("relu-half_3", "there are two halves"),
        ("relu-seed_0", "'seed_0' does not read; it is written seed_n, and n is 1 to 999, and a name without it has seed 0"),
    ],
)
def test_a_wrong_number_is_answered_with_the_numbers_there_can_be(name: str, expected: str) -> None:
    with pytest.raises(RecipeError) as trouble:
        parse_recipe(name)
    assert expected in str(trouble.value)


@pytest.mark.parametrize("field", ["activation", "neuron", "head", "adversary"])
def test_a_recipe_of_an_unknown_kind_is_refused(field: str) -> None:
    # It would print as the name of another recipe, or as one that does not read.
    with pytest.raises(ValueError, match=f"no recipe has the {field} 'cubic': it is one of "):
        Recipe(**{field: "cubic"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("relu-fast_at-fast_at", "'fast_at' gives adversary a second time"),
        ("relu-sigmoid_out-sigmoid_out", "'sigmoid_out' gives head a second time"),
        ("relu-mlp_4-mlp_8", "'mlp_8' gives hidden a second time"),
        ("relu-maxout_4-minmaxout_2_2", "'minmaxout_2_2' gives pieces a second time"),
    ],
)
def test_a_repeated_part_is_named(name: str, part: str) -> None:
    with pytest.raises(RecipeError) as trouble:
        parse_recipe(name)
    assert part in str(trouble.value)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("relu-fast_at-mlp_32", "relu-mlp_32-fast_at"),
        ("relu-sigmoid_out-maxout_4", "relu-maxout_4-sigmoid_out"),
        ("relog-fast_at-sigmoid_out", "relog-sigmoid_out-fast_at"),
        ("relog-fast_at-minmaxout_3_2", "relog-minmaxout_3_2-fast_at"),
        ("relog-quadratic-max_fit_l2_1-maxout_4", "relog-quadratic-maxout_4-max_fit_l2_1"),
        ("relog-overlay-sigmoid_out", "relog-sigmoid_out-overlay"),
        ("relu-seed_2-trades", "relu-trades-seed_2"),
        ("relu-seed_2-half_1", "relu-half_1-seed_2"),
    ],
)
def test_parts_out_of_order_are_told_the_order(name: str, right: str) -> None:
    with pytest.raises(RecipeError) as trouble:
        parse_recipe(name)
    assert f"write '{right}'" in str(trouble.value)


@pytest.mark.parametrize("hidden", [(0,), (-3, 2), (10_000,)])
def test_widths_that_cannot_be_spelled_cannot_be_made(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no network has hidden layers"):
        Recipe(hidden=hidden)


def test_hidden_layers_have_the_widths_of_the_name() -> None:
    network = build_network("mnist", parse_recipe("relu-mlp_32_16"))
    assert [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, nn.Linear)] == [
        (32, 784),
        (16, 32),
        (10, 16),
    ]


@pytest.mark.parametrize("name", ["relu-sigmoid_out-trades", "relu-scrambling-trades", "relu-overlay-trades"])
def test_trades_stands_with_softmax_heads_and_images_only(name: str) -> None:
    with pytest.raises(RecipeError, match="TRADES"):
        parse_recipe(name)


@pytest.mark.parametrize(
    "term", [(0.0, "l1"), (1e-7, "l2"), (0.12345678, "l1"), (10_000.0, "l2"), (-1.0, "l1"), (float("nan"), "l1")]
)
def test_strengths_that_cannot_be_spelled_cannot_be_made(term: tuple[float, Literal["l1", "l2"]]) -> None:
    with pytest.raises(ValueError, match="weight term"):
        WeightTerm(*term)


def test_a_whole_recipe_of_the_logs() -> None:
    recipe = parse_recipe("relog-minmaxout_4_2-max_fit_l2_1-sigmoid_out-overlay")
    assert recipe == Recipe(
        activation="relog", pieces=Pieces(2, 4), weight_term=WeightTerm(1.0, "l2", max_fit=True), head="sigmoid", overlay=True
    )


def test_minmaxout_names_the_group_size_first() -> None:
    assert parse_recipe("relu-minmaxout_4_2").pieces == Pieces(groups=2, group_size=4)
    assert parse_recipe("relu-minmaxout_4_2").pieces.total == 8
