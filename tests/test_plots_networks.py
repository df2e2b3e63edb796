"""Pictures that run a network: on linear models of digits, whose answers, gradients and weights are known."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import robustboard
from conftest import Linear
from handmade import diagnosed
from pictured import ABOUT, bench_of, digits_view, linear_digits, subject, texts
from robustboard.attacks import projections
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError, ModelFaultError
from robustboard.benchmark.plots import confusion, filters, gallery, gradients, sweep, transfer
from robustboard.benchmark.plots.bench import answered, attacked, setting_of, sitting
from robustboard.benchmark.plots.images import first_of_each_class, scaled
from robustboard.benchmark.plots.picture import rendered
from robustboard.benchmark.plots.view import Scope, View
from robustboard.benchmark.records import Outcome
from robustboard.benchmark.report.board import make_boards
from robustboard.benchmark.subjects import Subject

N = 100


@pytest.fixture(scope="module")
def model() -> Linear:
    return linear_digits()


@pytest.fixture(scope="module")
def halves() -> list[Subject]:
    """Two models fitted to disjoint halves of the training examples, and one that knows nothing."""
    torch.manual_seed(0)
    first, second = linear_digits(slice(0, 398)), linear_digits(slice(398, 796))
    unfitted = Linear(torch.randn(10, 64))
    return [subject("halves.first", first), subject("halves.second", second), subject("other.random", unfitted)]


def in_memory(network: nn.Module, attack: str, protocol: str = "standard") -> Outcome:
    """What `robustboard.evaluate` says of the first N digits."""
    data = load_dataset("digits", "test")
    images, labels = data.images[:N], data.labels[:N]
    return robustboard.evaluate(network, images, labels, [attack], protocol=protocol, device="cpu")[attack].outcome


def test_the_attack_is_a_runs_attack(model: Linear) -> None:
    view = digits_view(subject("linear", model), n=N)
    for name in ("bim", "cw", "max_confidence"):
        setting = setting_of(name, [], "smoke", view.bench.examples("digits", N))
        with sitting(view.bench, "digits", "linear", view.bench.examples("digits", N)) as sitter:
            found = attacked(sitter, setting)
        outcome = in_memory(model, name, "smoke")
        fooled = found.fooled if name != "max_confidence" else ~(found.correct & ~found.fooled)
        assert int(fooled.sum()) == outcome.n_fooled
        assert float(found.correct.float().mean()) == pytest.approx(outcome.clean_accuracy)
        within = projections.norms(found.candidates - found.images, setting.block.norm) <= setting.block.eps + 1e-6
        assert bool(within[found.fooled].all())


def test_an_attack_that_breaks_the_rules_leaves_the_clean_image(model: Linear) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            answers: Tensor = model(images)
            return answers * float("nan") if images.requires_grad else answers

    view = digits_view(subject("broken", Broken()), n=10)
    examples = view.bench.examples("digits", 10)
    with sitting(view.bench, "digits", "broken", examples) as sitter:
        found = attacked(sitter, setting_of("bim", [], "standard", examples))
    assert bool(found.failed[found.correct].all())
    assert not bool(found.fooled.any())
    assert torch.equal(found.candidates, examples.images)
    picture = confusion.picture(digits_view(subject("broken", Broken()), n=10, attacks=("bim",)))
    assert any("bim ▲" in text for text in texts(picture)), "a number that an attack failed at is marked"


def test_the_diagonal_is_the_white_box_result_and_halves_fool_each_other(halves: list[Subject]) -> None:
    view = digits_view(*halves, scope="board", n=N)
    examples = view.bench.examples("digits", N)
    setting = setting_of("fgsm", [], "standard", examples)
    with ExitStack() as stack:
        names = [each.name for each in halves[:2]]
        sitters = [stack.enter_context(sitting(view.bench, "digits", name, examples)) for name in names]
        found = transfer.measure(sitters, setting)
    for place in range(2):
        outcome = in_memory(halves[place].build(), "fgsm")
        assert found.fooled[place, place] == outcome.n_fooled
        assert found.right[place, place] == round(outcome.clean_accuracy * N)
    assert np.all(found.fooled <= found.right)
    assert found.families == ("halves", "halves")
    within = found.mean(within=True)
    assert within is not None
    assert within[1] == 2
    assert within[0] > 0.3, "examples carry over between networks that share no training example"
    assert found.mean(within=False) is None


def test_what_a_models_errors_are_not_attacked_with_counts_against_nobody() -> None:
    # "half" is the good model with the label's logit taken away on the darker half of the images: those it does not attack.
    good = linear_digits()

    class Half(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = good(images)
            return torch.where(images.flatten(1).mean(1, keepdim=True) > 0.3, logits, -logits)

    models = [subject("half", Half()), subject("good", good)]
    view = digits_view(*models, scope="board", n=N)
    examples = view.bench.examples("digits", N)
    with ExitStack() as stack:
        sitters = [stack.enter_context(sitting(view.bench, "digits", each.name, examples)) for each in models]
        found = transfer.measure(sitters, setting_of("fgsm", [], "standard", examples))
        both = sitters[0].clean.correct & sitters[1].clean.correct
    assert 10 < int(both.sum()) < found.right[1, 1] - 10
    assert found.right[0, 1] == found.right[1, 0] == int(both.sum())
    # On those the gradient is the good model's own, and so is the harm: nobody is robust to images that were never made.
    assert found.shares[0, 1] == found.fooled[0, 1] / int(both.sum()) == pytest.approx(found.shares[1, 1], abs=0.15)


def test_means_are_over_pairs_of_different_models() -> None:
    fooled = np.array([[10, 4, 1], [6, 10, 3], [2, 2, 5]])
    found = transfer.Transfer(("a", "b", "c"), ("x", "x", "y"), fooled, np.array([[10, 10, 5]] * 3), 10)
    assert found.mean(within=True) == (pytest.approx((0.4 + 0.6) / 2), 2)
    assert found.mean(within=False) == (pytest.approx((1 / 5 + 3 / 5 + 0.2 + 0.2) / 4), 4)
    assert np.all(np.diag(found.shares) == 1)


def test_a_transfer_picture_says_what_it_is(halves: list[Subject]) -> None:
    picture = transfer.picture(digits_view(*halves, scope="board", n=40))
    assert "n = 40" in picture.about.caption
    assert "fgsm (version 1): L∞ ε = 0.2; loss margin" in picture.about.caption
    assert "within families" in picture.about.caption
    assert {"halves.first  1", "halves.second  2", "other.random  3"} <= set(texts(picture))
    with pytest.raises(InputError, match="takes 2 to 12 models, digits has 1 here"):
        transfer.picture(digits_view(halves[0], scope="board"))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("relu", "relu"),
        ("relu-seed_3", "relu"),
        ("relog-maxout_4-sigmoid_out", "relog"),
        ("relog-quadratic-minmaxout_4_2-overlay", "relog-quadratic"),
        ("relu-mlp_32-fast_at", "relu-fast_at"),
        ("relu-half_2", "relu-half"),
        ("halves.first", "halves"),
        ("my model", "my model"),
    ],
)
def test_families(name: str, family: str) -> None:
    assert transfer.family_of(name) == family


def test_confusions_rows_are_the_classes_and_its_diagonal_is_the_accuracy(model: Linear) -> None:
    view = digits_view(subject("linear", model), n=N)
    examples = view.bench.examples("digits", N)
    with sitting(view.bench, "digits", "linear", examples) as sitter:
        found = attacked(sitter, setting_of("bim", [], "standard", examples))
    shown = confusion.of_attacked(found, "bim")
    classes = np.bincount(examples.labels.numpy(), minlength=10)
    for counts in (shown.clean, shown.attacked):
        assert counts.sum(1).tolist() == classes.tolist()
    outcome = in_memory(model, "bim")
    assert np.trace(shown.clean) == round(outcome.clean_accuracy * N)
    assert np.trace(shown.attacked) == round(outcome.robust_accuracy * N)
    figure = confusion.draw("digits", shown, ABOUT)
    numbers = [int(text.get_text() or 0) for text in figure.axes[1].texts]
    assert sum(numbers) == N


def test_a_tie_is_an_error_in_the_confusion_as_before_the_judge() -> None:
    counts = confusion.counted(torch.tensor([0, 1]), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))
    assert counts.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_a_tie_is_an_error_in_a_gallery_too() -> None:
    labels, logits = torch.tensor([0, 1, 2]), torch.tensor([[3.0, 3.0, 0.0], [0.0, 1.0, 0.5], [2.0, 0.0, 1.0]])
    assert answered(labels, logits).tolist() == [1, 1, 0]


@given(st.floats(1e-6, 1))
def test_amplification_is_the_largest_round_factor_that_fits(change: float) -> None:
    factor = gallery.amplification(change)
    assert factor * change <= 0.5 + 1e-6
    digit = float(f"{factor:e}"[0])
    assert digit in (1, 2, 5)
    following = factor * (2.5 if digit == 2 else 2)
    assert following * change > 0.5
    assert gallery.amplification(0.0) == 1


def test_the_difference_is_the_change_times_the_factor() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(4, 1, 8, 8, generator=generator)
    other = (clean + 0.04 * (2 * torch.rand(4, 1, 8, 8, generator=generator) - 1)).clamp(0, 1)
    factor = gallery.amplification(float((other - clean).abs().max()))
    shown = gallery.difference(clean, other, factor)
    assert factor == 10
    assert torch.allclose((shown - 0.5) / factor, other - clean, atol=1e-6)
    assert torch.equal(gallery.difference(clean, clean, 1.0), torch.full_like(clean, 0.5))


def test_a_gallery_states_its_factors_labels_and_confidences(model: Linear) -> None:
    view = digits_view(subject("linear", model), attacks=("bim", "jsma"))
    picture = gallery.picture(view)
    shown = texts(picture)
    assert "× 2" in shown, "0.2 is shown as 0.4"
    data = load_dataset("digits", "test")
    with torch.no_grad():
        logits = model(data.images[:200])
    chosen = first_of_each_class(data.labels[:200], logits.argmax(1) == data.labels[:200])
    for at in chosen:
        assert f"{int(data.labels[at])}, {100 * float(logits[at].softmax(0).max()):.0f} %" in shown
    assert sum(text.startswith(("≠", "=", "(≠)")) for text in shown) == 2 * len(chosen)
    assert "jsma (version" in picture.about.caption
    assert rendered(picture, "svg") == rendered(gallery.picture(view), "svg"), "images, too, are the same bytes"


def test_a_model_that_is_never_right_has_no_gallery(model: Linear) -> None:
    wrong = Linear(-model.weight.detach(), -100 * torch.ones(10))
    with pytest.raises(InputError, match="is right on none of the first 5 test images"):
        gallery.picture(digits_view(subject("wrong", wrong), n=5, attacks=("fgsm",)))


def test_filters_are_the_first_layers_weights(model: Linear) -> None:
    found = filters.first_filters(model, (1, 8, 8))
    assert found is not None
    assert torch.equal(found.weights.flatten(1), model.weight.detach())
    convolution = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 70, 5), nn.Flatten(), nn.Linear(70, 10))
    found = filters.first_filters(convolution, (3, 9, 9))
    assert found is not None
    assert (tuple(found.weights.shape), found.total, found.layer) == ((64, 3, 5, 5), 70, "1.weight")
    assert filters.first_filters(nn.Flatten(), (1, 8, 8)) is None
    shades = scaled(found.weights)
    assert float(shades.min()) >= 0
    assert float(shades.max()) <= 1
    assert torch.allclose((shades - 0.5).abs().flatten(1).amax(1), torch.full((64,), 0.5))
    assert "10 units" in filters.picture(digits_view(subject("linear", model))).about.caption


def test_gradients_of_a_linear_model_are_the_differences_of_its_weights(model: Linear) -> None:
    bench = bench_of(subject("linear", model))
    examples = bench.examples("digits", 20)
    with sitting(bench, "digits", "linear", examples) as sitter:
        found = gradients.of_images(sitter, examples.images, examples.labels)
        on_noise = gradients.of_images(sitter, gradients.noise(5, (1, 8, 8)))
    with torch.no_grad():
        logits = model(examples.images)
    rival = logits.scatter(1, examples.labels[:, None], -torch.inf).argmax(1)
    expected = (model.weight[rival] - model.weight[examples.labels]).detach()
    assert torch.allclose(found.gradients.flatten(1), expected, atol=1e-6)
    assert on_noise.classes == model(on_noise.images).argmax(1).tolist()
    assert torch.equal(gradients.noise(5, (1, 8, 8)), gradients.noise(5, (1, 8, 8)))
    assert 0.4 < float(gradients.noise(50, (1, 8, 8)).mean()) < 0.6
    assert {"clean", "noise", "gradient"} <= set(texts(gradients.picture(digits_view(subject("linear", model)))))


def test_a_model_without_gradient_is_told(model: Linear) -> None:
    class Deaf(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return model(images).detach()  # type: ignore[no-any-return]

    with pytest.raises(ModelFaultError, match="deaf has no gradient by its input"):
        gradients.picture(digits_view(subject("deaf", Deaf())))


@pytest.mark.parametrize("attack", ["bim", "max_confidence"])
def test_a_sweep_begins_clean_only_falls_and_meets_the_protocol(attack: str, model: Linear) -> None:
    bench = bench_of(subject("linear", model))
    examples = bench.examples("digits", N)
    setting = setting_of(attack, [], "standard", examples)
    with sitting(bench, "digits", "linear", examples) as sitter:
        curve = sweep.measure(sitter, setting, [0.01, 0.05, 0.2])
    outcome = in_memory(model, attack)
    assert curve.at(0.0) == round(outcome.clean_accuracy * N)
    assert curve.at(0.2) <= round(outcome.robust_accuracy * N)
    # Within the box, a linear model's margin moves by no more than ε ‖w_j − w_y‖₁: no attack can fool more.
    with torch.no_grad():
        logits = model(examples.images)
        leads = logits.gather(1, examples.labels[:, None]) - logits
        reach = (model.weight[None] - model.weight[examples.labels][:, None]).abs().sum(2)
    for radius in (0.01, 0.05):
        safe = ((leads - radius * reach > 0) | torch.nn.functional.one_hot(examples.labels, 10).bool()).all(1)
        assert curve.at(radius) >= int(safe.sum())
    assert curve.measured == (0.0, 0.01, 0.05, 0.2)
    assert "max_confidence" in " ".join(
        texts(sweep.picture(digits_view(subject("linear", model), n=10, attacks=("max_confidence",))))
    )
    with pytest.raises(InputError, match="cw is not confined to a radius"):
        sweep.picture(digits_view(subject("linear", model), attacks=("cw",)))


def test_what_cannot_be_had_is_told(model: Linear) -> None:
    with pytest.raises(InputError, match="is not in the registry, and this picture needs the network"):
        filters.picture(replace(digits_view(subject("x", model)), bench=bench_of()))
    with pytest.raises(InputError, match="joins many attacks"):
        confusion.picture(digits_view(subject("linear", model), attacks=("worst_case",)))
    with pytest.raises(InputError, match="n = 2000 is larger than digits's test set of 1000"):
        confusion.picture(digits_view(subject("linear", model), n=2000))


@pytest.mark.parametrize("kind", [confusion, filters, gallery, gradients, sweep, transfer], ids=lambda kind: kind.__name__)
def test_a_failed_check_stands_on_every_picture_of_a_network(kind: ModuleType, model: Linear) -> None:
    scope: Scope = "board" if kind is transfer else "model"
    subjects = [subject("linear", model), subject("other", model)][: 2 if kind is transfer else 1]
    plain = digits_view(*subjects, scope=scope, n=10)
    cells = [cell for row in plain.board.rows for cell in row.cells.values()]
    (board,) = make_boards(cells, [], [], diagnosed(cells, {"linear": {7: "fail"}}))
    shown = " ".join(texts(kind.picture(View(board, board.rows, scope, bench=plain.bench))))
    assert "linear ▲" in shown, "its name"
    assert "▲ linear: check 7: something was seen" in shown, "its reason"
    assert "other ▲" not in shown
