"""The batched loop and the judge: no attack can lie, no example depends on another, every pass is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import robustboard
from conftest import Linear, linear_problem
from robustboard.attacks.attack import Proposal, attack_cards
from robustboard.benchmark.cells import chosen_attacks, plan_attack
from robustboard.benchmark.datasets import Dataset, load_dataset
from robustboard.benchmark.errors import InputError, ModelFaultError
from robustboard.benchmark.evaluate import BatchSizer, ExampleRecord, Task, evaluate_examples
from robustboard.benchmark.judge import CountedModel, Threat, is_out_of_memory, look_clean, prepared
from robustboard.benchmark.protocols import load_protocol

EPSILON = 0.1


def task_for(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Callable[..., Proposal], threat: Threat | None = None
) -> Task:
    """A task on tensors in memory."""
    threat = threat or Threat("linf", EPSILON, "budget")
    clean = look_clean(model, images, labels, "softmax")
    examples = Dataset("memory", "test", images, labels)
    return Task(model, "softmax", examples, range(len(labels)), clean, attack, "test", threat, seed=0, device=torch.device("cpu"))


def records(task: Task, size: int = 8) -> list[ExampleRecord]:
    """The records of all examples, in order."""
    batches = evaluate_examples(task, range(len(task.indices)), BatchSizer(size, automatic=False))
    return sorted((example for batch in batches for example in batch.examples), key=lambda example: example.index)


def to_edge(images: Tensor, labels: Tensor, model: Linear, by: float) -> Tensor:
    """A step of `by` along the sign that lowers the label's lead in a two-class linear model."""
    towards = (model.weight[1 - labels] - model.weight[labels]).sign().reshape(images.shape)
    return (images + by * towards).detach()


def proposes(make: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Proposal]:
    """An attack that returns whatever `make` makes of images and labels, and claims one iteration."""

    def attack(
        model: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0
    ) -> Proposal:
        return Proposal(make(images, labels), torch.ones_like(labels))

    return attack


def test_an_attack_that_claims_success_but_changes_nothing_is_not_believed() -> None:
    model, images, labels = linear_problem()
    found = records(task_for(model, images, labels, proposes(lambda x, y: x)))
    assert not any(example.fooled or example.found or example.failure for example in found)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda x: x + 2 * EPSILON, "over budget"),
        (lambda x: x - 1.0, "outside the box"),
        (lambda x: x * float("nan"), "not finite"),
        (lambda x: x + float("inf"), "not finite"),
        (lambda x: x[:, :, :-1], "returned"),
    ],
)
def test_a_candidate_that_breaks_a_rule_is_a_failure_and_never_a_success(spoil: Callable[[Tensor], Tensor], reason: str) -> None:
    model, images, labels = linear_problem(low=0.0, high=0.7)
    found = records(task_for(model, images, labels, proposes(lambda x, y: spoil(x))))
    assert all(reason in example.failure for example in found)
    assert not any(example.fooled for example in found)


def test_epsilon_is_held_to_a_millionth() -> None:
    model, images, labels = linear_problem(count=40)
    inside = records(task_for(model, images, labels, proposes(lambda x, y: to_edge(x, y, model, EPSILON + 5e-7))))
    outside = records(task_for(model, images, labels, proposes(lambda x, y: to_edge(x, y, model, EPSILON + 3e-6))))
    assert not any(example.failure for example in inside)
    assert any(example.fooled for example in inside)
    assert all("over budget" in example.failure for example in outside)


def test_an_attack_that_raises_on_one_example_fails_on_that_one_alone() -> None:
    model, images, labels = linear_problem(count=16)
    images[5] = 0.5

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        if bool((x == 0.5).flatten(1).all(1).any()):
            raise ArithmeticError("cannot divide this image")
        return Proposal(to_edge(x, y, model, epsilon), torch.ones_like(y))

    with torch.no_grad():
        labels = model(images).argmax(1)
    found = records(task_for(model, images, labels, attack), size=16)
    assert [example.index for example in found if example.failure] == [5]
    assert "ArithmeticError: cannot divide this image" in found[5].failure
    assert not found[5].fooled
    assert any(example.fooled for example in found)


def test_an_attack_cannot_reach_the_judge_through_its_inputs() -> None:
    """Writing into the images it was given must not make the clean image look attacked, nor the label another."""
    model, images, labels = linear_problem()
    before = images.clone()

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        x.zero_()
        y.fill_(0)
        return Proposal(x, torch.zeros(len(x), dtype=torch.int64))

    found = records(task_for(model, images, labels, attack))
    assert torch.equal(images, before)
    assert all("over budget" in example.failure for example in found)


class NotANumberBeyond(nn.Module):
    """Right on the clean images, NaN wherever a pixel is above 0.85."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return torch.where((images.flatten(1).amax(1) > 0.85)[:, None], torch.nan, logits)


def test_nan_logits_on_a_candidate_are_a_failure_not_a_success() -> None:
    inner, images, labels = linear_problem()
    model = NotANumberBeyond(inner)
    found = records(
        task_for(model, images, labels, proposes(lambda x, y: (x + 0.09).clamp(0.86, 1)), Threat("linf", 1.0, "budget"))
    )
    assert all("not finite" in example.failure for example in found)
    assert not any(example.fooled for example in found)


def test_a_failed_attack_marks_the_cell_as_an_upper_bound() -> None:
    """The published mistake: an exception scored as if the model had resisted."""

    class RefusesGradients(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.requires_grad:
                raise RuntimeError("no gradients here")
            return images.flatten(1)[:, :10] * 3

    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = RefusesGradients()
    labels = model(images).argmax(1)
    result = robustboard.evaluate(model, images, labels, ["bim"], device="cpu")["bim"]
    assert result.outcome.upper_bound_only
    assert result.outcome.n_attack_failures == 6
    assert "no gradients here" in next(iter(result.outcome.failure_reasons))


def test_a_clean_error_is_an_error_from_the_start_and_is_not_attacked() -> None:
    model, images, labels = linear_problem(count=10)
    labels[:4] = 1 - labels[:4]
    seen: list[int] = []

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        seen.append(len(x))
        return Proposal(x, torch.zeros_like(y))

    found = records(task_for(model, images, labels, attack))
    assert sum(seen) == 6
    assert [example.correct_clean for example in found] == [False] * 4 + [True] * 6
    assert not any(example.fooled for example in found)


def test_max_confidence_attacks_clean_errors_too() -> None:
    model, images, labels = linear_problem(count=10)
    labels[:4] = 1 - labels[:4]
    found = records(task_for(model, images, labels, proposes(lambda x, y: x), Threat("linf", EPSILON, "confidence")))
    assert [example.fooled for example in found] == [True] * 4 + [False] * 6


def test_a_tie_is_an_error() -> None:
    """Correct means that the label's logit is strictly the largest: a constant model is never right."""
    images = torch.rand(4, 1, 3, 3)
    clean = look_clean(Linear(torch.zeros(5, 9)), images, torch.arange(4), "softmax")
    assert not clean.correct.any()


def test_passes_are_counted_around_the_model() -> None:
    model, images, labels = linear_problem(count=12)
    counted = CountedModel(model)

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        variable = x.clone().requires_grad_(True)
        logits = network(variable)
        torch.autograd.grad(logits[:, 0].sum(), variable, retain_graph=True)
        torch.autograd.grad(logits[:, 1].sum(), variable)
        with torch.no_grad():
            network(x)
        return Proposal(x, torch.zeros_like(y))

    attack(counted, images, labels, labels, epsilon=0.1)
    assert (counted.forwards, counted.backwards) == (24, 24)
    batches = list(evaluate_examples(task_for(model, images, labels, attack), range(12), BatchSizer(5, automatic=False)))
    assert sum(batch.forwards for batch in batches) == 24
    assert sum(batch.backwards for batch in batches) == 24


def test_bim_pays_for_the_steps_it_takes_and_no_more() -> None:
    model, images, labels = linear_problem(count=12)
    result = robustboard.evaluate(model, images, labels, ["bim"], budgets={"linf": 0.3, "l2": 1.0, "gamma": 0.1}, device="cpu")[
        "bim"
    ]
    steps = result.per_example.iterations
    assert result.cost.forwards == pytest.approx(sum(taken + 1 for taken in steps) / 12, abs=0.01)


@pytest.mark.parametrize("name", ["fgsm", "bim", "cw", "spsa", "jsma", "max_confidence", "pgd", "ddn"])
def test_batch_size_changes_no_verdict(name: str) -> None:
    """Rule 2, on the real digits network: sizes 1, 7 and 64, the same verdicts, distances to 1e-3."""
    first, *others = [_digits_records(name, size) for size in (1, 7, 64)]
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert (one.index, one.correct_clean, one.fooled, one.found) == (two.index, two.correct_clean, two.fooled, two.found)
            assert one.distance == (two.distance if one.distance is None else pytest.approx(two.distance, abs=1e-3))


def test_out_of_memory_halves_the_batch_and_loses_nothing() -> None:
    model, images, labels = linear_problem(count=20)
    sizes: list[int] = []

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        sizes.append(len(x))
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Proposal(x, torch.zeros_like(y))

    task = task_for(model, images, labels, attack)
    batches = list(evaluate_examples(task, range(20), BatchSizer(16)))
    assert sorted(example.index for batch in batches for example in batch.examples) == list(range(20))
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[2:]) <= 4


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 1")
    )
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_automatic_sizes_grow_while_batches_are_quick() -> None:
    sizer = BatchSizer(size=32)
    sizer.after(32, seconds=1.0)
    assert sizer.size == 64
    sizer.after(64, seconds=100.0)
    assert sizer.size == 32


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 10)
    )
    model.train()
    model[3].eval()
    strides = [parameter.stride() for parameter in model.parameters()]
    model[2].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with prepared(model, torch.device("cpu")) as network:
        labels = network(images).argmax(1)
    robustboard.evaluate(model, images, labels, ["bim", "cw", "jsma"], protocol="smoke", device="cpu")
    assert [module.training for module in model.modules()] == modes
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert [parameter.requires_grad for parameter in model.parameters()] == wants
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(model[2].weight.grad, torch.ones_like(model[2].weight))
    assert model[6].weight.grad is None
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_network_that_flattens_with_view_is_taken_as_it_is() -> None:
    class Tutorial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.linear = nn.Conv2d(1, 6, 3), nn.Linear(54, 10)

        def forward(self, images: Tensor) -> Tensor:
            features = nn.functional.max_pool2d(self.convolution(images), 2)
            return self.linear(features.view(len(features), -1))  # type: ignore[no-any-return]

    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    robustboard.evaluate(Tutorial(), images, torch.arange(3), ["bim"], protocol="smoke", device="cpu")


class NotANumberOffTheImages(nn.Module):
    """Right on the images it knows, NaN on every other: no attack gets anywhere, and none may call that robust."""

    def __init__(self, inner: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.inner, self.known = inner, images

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        known = (images[:, None] == self.known).flatten(2).all(2).any(1)
        return torch.where(known[:, None], logits, torch.nan)


class RootOfPixels(nn.Module):
    """The inner model up to rounding, with a gradient that is NaN at every black pixel."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.sqrt().square())  # type: ignore[no-any-return]


GRADIENT_ATTACKS = [name for name, card in attack_cards().items() if card.needs_gradient]


@pytest.mark.parametrize("name", list(attack_cards()))
def test_nan_answers_on_the_way_fail_the_attack(name: str) -> None:
    data = load_dataset("digits", "test").select(range(6))
    model = NotANumberOffTheImages(robustboard.load_model("digits/relu"), data.images)
    result = robustboard.evaluate(model, data.images, data.labels, [name], protocol="smoke", device="cpu")[name]
    assert result.outcome.n_attack_failures == 6
    assert result.outcome.upper_bound_only


@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_nan_gradients_fail_the_attack(name: str) -> None:
    data = load_dataset("digits", "test").select(range(6))
    model = RootOfPixels(robustboard.load_model("digits/relu"))
    result = robustboard.evaluate(model, data.images, data.labels, [name], protocol="smoke", device="cpu")[name]
    # PGD's random start may leave every black pixel before the first gradient is asked for.
    assert result.outcome.upper_bound_only or result.outcome.n_fooled == 6


@pytest.mark.parametrize("name", ["cw", "ddn", "jsma", "bim"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 100.0), (1e-3, 100.0), (1e-4, 100.0)])
def test_small_logits_far_from_zero_hide_no_success(name: str, scale: float, shift: float) -> None:
    data = load_dataset("digits", "test").select(range(12))
    inner = robustboard.load_model("digits/relu")
    plain = robustboard.evaluate(inner, data.images, data.labels, [name], protocol="quick", device="cpu")[name]
    model = Answers(lambda images: inner(images) * scale + shift)
    moved = robustboard.evaluate(model, data.images, data.labels, [name], protocol="quick", device="cpu")[name]
    assert moved.outcome.unfooled <= plain.outcome.unfooled
    assert moved.outcome.robust_accuracy <= plain.outcome.robust_accuracy


def test_a_saturated_sigmoid_hides_no_success_from_jsma() -> None:
    data = load_dataset("digits", "test").select(range(12))
    inner = robustboard.load_model("digits/relu")
    model = Answers(lambda images: torch.sigmoid(20 * inner(images)))
    result = robustboard.evaluate(model, data.images, data.labels, ["jsma"], device="cpu")["jsma"]
    assert result.outcome.unfooled <= 1 / 12


def test_probabilities_are_their_own_confidences() -> None:
    data = load_dataset("digits", "test").select(range(12))
    inner = robustboard.load_model("digits/relu")
    model = Answers(lambda images: torch.softmax(inner(images), 1))
    plain = robustboard.evaluate(inner, data.images, data.labels, ["max_confidence"], device="cpu")["max_confidence"]
    squashed = robustboard.evaluate(model, data.images, data.labels, ["max_confidence"], device="cpu")["max_confidence"]
    assert squashed.per_example.clean_confidence == pytest.approx(plain.per_example.clean_confidence, abs=1e-3)


@pytest.mark.parametrize("made", [None, 3, "images", Proposal(torch.zeros(2, 1, 5, 5), torch.zeros(7, dtype=torch.int64))])
def test_an_attack_that_returns_no_proposal_has_failed(made: object) -> None:
    model, images, labels = linear_problem(count=2)

    def attack(network: nn.Module, x: Tensor, y: Tensor, keys: Tensor, *, epsilon: float, row_share: float = 1.0) -> Proposal:
        return made  # type: ignore[return-value]

    assert all("TypeError" in example.failure for example in records(task_for(model, images, labels, attack)))


class Answers(nn.Module):
    """A model that answers whatever it is told to."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> object:
        return self.answer(images)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x, "logits"),
        (lambda x: torch.zeros(len(x)), "logits"),
        (lambda x: torch.zeros(len(x) + 1, 10), "logits"),
        (lambda x: None, "NoneType"),
        (lambda x: torch.full((len(x), 10), torch.nan), "not finite"),
        (lambda x: torch.full((len(x), 10), torch.inf), "not finite"),
        (lambda x: torch.zeros(len(x), 3), "3 classes"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_refused(answer: Callable[[Tensor], object], message: str) -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    with pytest.raises(ModelFaultError, match=message):
        robustboard.evaluate(Answers(answer), images, labels, ["fgsm"], device="cpu")


@pytest.mark.parametrize(("kind", "squash"), [("probabilities", torch.softmax), ("log-probabilities", torch.log_softmax)])
def test_probabilities_are_noticed(kind: str, squash: Callable[[Tensor, int], Tensor]) -> None:
    model, images, labels = linear_problem(classes=10, shape=(1, 8, 8))
    result = robustboard.evaluate(Answers(lambda x: squash(model(x), 1)), images, labels, ["fgsm"], device="cpu")["fgsm"]
    assert result.model.output == kind
    assert robustboard.evaluate(model, images, labels, ["fgsm"], device="cpu")["fgsm"].model.output == "logits"


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.rand(4, 8, 8), torch.arange(4)),
        (torch.rand(4, 1, 8, 8) * 255, torch.arange(4)),
        (torch.rand(4, 1, 8, 8), torch.arange(5)),
        (torch.rand(4, 1, 8, 8), torch.rand(4)),
        (torch.rand(4, 1, 8, 8), torch.arange(4) - 1),
        (torch.rand(0, 1, 8, 8), torch.arange(0)),
        (torch.rand(4, 1, 9, 9), torch.arange(4)),
    ],
)
def test_images_and_labels_that_make_no_sense_are_refused(images: Tensor, labels: Tensor) -> None:
    with pytest.raises(InputError):
        robustboard.evaluate(Answers(lambda x: torch.zeros(len(x), 10)), images, labels, ["fgsm"], device="cpu")


def test_epsilon_zero_gives_the_clean_accuracy() -> None:
    data = load_dataset("digits", "test").select(range(40))
    model = robustboard.load_model("digits/relu")
    results = robustboard.evaluate(
        model,
        data.images,
        data.labels,
        ["fgsm", "bim", "pgd", "spsa", "max_confidence"],
        protocol="smoke",
        budgets={"linf": 0.0, "l2": 0.0, "gamma": 0.0},
        device="cpu",
    )
    for result in results.values():
        assert result.outcome.robust_accuracy == result.outcome.clean_accuracy


def test_every_record_is_in_the_order_of_its_indices() -> None:
    model, images, labels = linear_problem(classes=10, shape=(1, 8, 8), count=9)
    result = robustboard.evaluate(model, images, labels, ["fgsm"], device="cpu", batch_size=2)["fgsm"]
    assert result.per_example.index == list(range(9))
    assert result.dataset.n == result.outcome.n == 9


def _digits_records(name: str, size: int) -> list[ExampleRecord]:
    """The records of the digits network, at strengths that take a second."""
    data = load_dataset("digits", "test").select(range(64))
    protocol = load_protocol("smoke")
    protocol = replace(protocol, datasets={"digits": replace(protocol.datasets["digits"], n=64)})
    planned = plan_attack(protocol, chosen_attacks(protocol, [name])[0], data)
    model = robustboard.load_model("digits/relog-maxout_4-sigmoid_out")
    with prepared(model, torch.device("cpu")) as network:
        clean = look_clean(network, data.images, data.labels, "sigmoid")
        bound = planned.bound("sigmoid")
        task = Task(network, "sigmoid", data, range(64), clean, bound, name, planned.threat, 0, torch.device("cpu"))
        return records(task, size)


def test_every_attack_of_the_protocols_exists() -> None:
    for name in ("quick", "standard", "smoke"):
        assert set(load_protocol(name).attacks) <= set(attack_cards())
