"""The batched loop: no example depends on another, every pass is counted, nothing is left changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import robustboard
from conftest import linear_problem
from evaluation_tasks import Answers, records, task_for
from robustboard.attacks.attack import Proposal, attack_cards
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.cells import chosen_attacks, plan_attack
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.errors import InputError, ModelFaultError
from robustboard.benchmark.evaluate import BatchSizer, ExampleRecord, Task, evaluate_examples, make_sizer
from robustboard.benchmark.judge import CountedModel, is_out_of_memory, look_clean, prepared
from robustboard.benchmark.protocols import load_protocol


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


@pytest.mark.parametrize(
    ("fixed_s", "each_s", "settles_at"),
    [(25.0, 0.1, 128), (0.0, 4.0, 8), (0.0, 0.1, 128), (0.0, 20.0, 2), (100.0, 0.1, 32), (12.0, 1.0, 32)],
    ids=["dear steps", "dear examples", "quick", "very dear examples", "very dear steps", "both"],
)
def test_automatic_sizes_settle_where_more_examples_no_longer_pay(fixed_s: float, each_s: float, settles_at: int) -> None:
    """A batch costs its steps and its examples."""
    sizer = BatchSizer(size=32 if fixed_s == 100 else 8)
    sizes = []
    for _ in range(30):
        sizes.append(sizer.size)
        sizer.after(sizer.size, seconds=fixed_s + each_s * sizer.size)
    assert set(sizes[10:]) == {settles_at}, sizes


@pytest.mark.parametrize(("left", "settles_at"), [(0, 8), (400, 32)])
def test_where_hours_are_left_a_batch_may_take_minutes(left: int, settles_at: int) -> None:
    sizer = BatchSizer(size=8)
    for _ in range(30):
        size = sizer.size
        sizer.after(size, seconds=40 + 2 * size, left=left)
    assert sizer.size == settles_at


def test_a_gpu_begins_with_many_examples_and_comes_down_where_its_memory_ends() -> None:
    few, many = (make_sizer(None, torch.device(name)) for name in ("cpu", "cuda"))
    assert many.size > few.size
    begun = many.size
    assert many.halve(many.size)
    many.after(many.size, seconds=1.0)
    assert many.size == begun // 2, "a size that memory did not hold is not tried again"


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


def test_probabilities_are_their_own_confidences() -> None:
    data = load_dataset("digits", "test").select(range(12))
    inner = robustboard.load_model("digits/relu")
    model = Answers(lambda images: torch.softmax(inner(images), 1))
    plain = robustboard.evaluate(inner, data.images, data.labels, ["max_confidence"], device="cpu")["max_confidence"]
    squashed = robustboard.evaluate(model, data.images, data.labels, ["max_confidence"], device="cpu")["max_confidence"]
    assert squashed.per_example.clean_confidence == pytest.approx(plain.per_example.clean_confidence, abs=1e-3)


def test_a_registry_network_brings_its_own_head() -> None:
    data = load_dataset("digits", "test").select(range(12))
    network = robustboard.load_model("digits/relog-maxout_4-sigmoid_out")
    result = robustboard.evaluate(network, data.images, data.labels, ["max_confidence"], device="cpu")["max_confidence"]
    with torch.no_grad():
        expected = torch.sigmoid(network(data.images)).amax(1)
    assert result.per_example.clean_confidence == pytest.approx(expected.tolist(), abs=1e-4)
    with pytest.raises(InputError, match=r"head 'logistic' makes no confidences of logits; softmax and sigmoid do"):
        robustboard.evaluate(network, data.images, data.labels, ["bim"], head="logistic", device="cpu")  # type: ignore[arg-type]


def test_a_function_is_no_model() -> None:
    with pytest.raises(InputError, match=r"the model is a function; an nn\.Module is wanted"):
        robustboard.evaluate(lambda images: images, torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.long), ["bim"])  # type: ignore[arg-type]


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
        bound = planned.bind("sigmoid")
        task = Task(network, "sigmoid", data, range(64), clean, bound, name, planned.threat, 0, torch.device("cpu"))
        return records(task, size)


def test_every_attack_of_the_protocols_exists() -> None:
    for name in ("quick", "standard", "smoke"):
        assert set(load_protocol(name).attacks) <= {*attack_cards(), *CASCADES}
