"""Models put to the 23 checks in memory: an honest one, and what can be done to it so that an attack fails."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attack_problems import smallest_without_box
from conftest import Linear, linear_problem
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.diagnose import checks
from robustboard.benchmark.diagnose.examination import Examination
from robustboard.benchmark.diagnose.record import Finding
from robustboard.benchmark.judge import look_clean
from robustboard.benchmark.protocols import DatasetPlan, Protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.subjects import Subject

COUNT = 24


def honest() -> tuple[Linear, Tensor, Tensor, float]:
    """A linear model of two classes, for which a step along the gradient's sign is the best there is, its images and answers,
    and an ε within which half of the examples have an error."""
    model, images, _ = linear_problem(2, COUNT, (1, 8, 8))
    with torch.no_grad():
        model.bias -= model(images).mean(0)
        labels = model(images).argmax(1)
    return model, images, labels, float(smallest_without_box(model, images, labels, 1.0).amin(1).median())


def undefended() -> Linear:
    """A linear model with the answers of the honest one on its images, and next to no distance from any to an error: its weights
    differ by a large part that no image has."""
    model, images, _, _ = honest()
    span = torch.linalg.svd(images.flatten(1), full_matrices=True).Vh[COUNT:]
    unseen = 50 * span[0]
    return Linear(model.weight + torch.stack([unseen, -unseen]), model.bias)


def subject(network: nn.Module, name: str = "other") -> Subject:
    """A network as an entry of a registry."""
    return Subject(name, "memory", "registry", "softmax", lambda: network, "b" * 64, 1)


def examined(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    cells: Sequence[CellResult] = (),
    others: Sequence[Subject] = (),
    control: Subject | None = None,
    control_cell: CellResult | None = None,
    dataset: str = "memory",
) -> Examination:
    """What the checks look at, as a run prepares it."""
    plan = DatasetPlan(n=len(labels), linf=epsilon, l2=1.0, gamma=0.1)
    protocol = Protocol("tests", 1, "tests", 0, ["fgsm", "bim"], {dataset: plan})
    network.eval().requires_grad_(False)
    clean = look_clean(network, images, labels, "softmax")
    examples = Dataset(dataset, "test", images, labels)
    by_name = {cell.attack.name: cell for cell in cells}
    return Examination(network, clean, examples, range(len(labels)), protocol, by_name, others, control, control_cell)


def finding(number: int, examination: Examination) -> Finding:
    """What one check finds."""
    (check,) = (check for check in checks.CHECKS if check.number == number)
    return checks.observe(check, examination)
