"""How the model behaves before anything is attacked: its outputs, its repeatability, its gradient graph, what it leaves behind.

Checks 4, 5, 6 and 22.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustboard.attacks.attack import attack_cards
from robustboard.attacks.losses import margin
from robustboard.benchmark.canaries.contender import contender
from robustboard.benchmark.diagnose.examination import Examination
from robustboard.benchmark.diagnose.observation import Observation
from robustboard.benchmark.errors import first_line
from robustboard.benchmark.judge import ask, is_out_of_memory

FEW = 16
"""Examples that a look at the model alone takes."""
SLACK = 1e-3
"""Share of the largest output by which convolutions of another batch size may round differently."""


def outputs(examination: Examination) -> Observation:
    """Check 4 (AutoAttack's flags, "softmax output is given"): outputs that are probabilities, or their logarithms."""
    kind = examination.clean.output
    if kind == "logits":
        return Observation("pass", "the outputs are logits")
    return Observation("fail", f"outputs are {kind}, which can hide gradients", {"outputs": kind})


def repeated(examination: Examination) -> Observation:
    """Check 5 (Carlini et al. 2019, section 4.6; AutoAttack's flags, "randomized defenses"): five passes that differ, or an
    answer that depends on batch-mates."""
    images = examination.images[:FEW]
    again, alone = change_when_repeated(examination.network, images), change_when_alone(examination.network, images)
    largest = float(ask(examination.network, images).abs().max())
    found = ["answers the same images differently from pass to pass"] * (again > 0)
    found += ["answers an image differently beside other images"] * (again == 0 and alone > SLACK * largest)
    figures = {"largest change over five passes": round(again, 6), "largest change alone": round(alone, 6)}
    reason = f"the model {' and '.join(found)}" if found else "five passes agree, and images alone with images in a batch"
    return Observation("fail" if found else "pass", reason, figures)


def change_when_repeated(network: nn.Module, images: Tensor, passes: int = 5) -> float:
    """By how much the answers (N, K) to the same images change at most from the first of `passes` to the others."""
    first = ask(network, images)
    return max(_largest(ask(network, images) - first) for _ in range(passes - 1))


def change_when_alone(network: nn.Module, images: Tensor) -> float:
    """By how much an answer changes at most when the image is on its own."""
    together = ask(network, images)
    alone = torch.cat([ask(network, image[None]) for image in images])
    return _largest(alone - together)


def _largest(changes: Tensor) -> float:
    """The largest change; an answer that is not a number is infinitely far from every other."""
    return float(changes.abs().nan_to_num(torch.inf, torch.inf).max())


def graph(examination: Examination) -> Observation:
    """Check 6 (Carlini et al. 2019, section 4.7; AutoAttack's flags, "optimization at inference time"): no gradient graph from
    the outputs to the input, or backward passes inside the forward one."""
    images, labels = examination.images[:4], examination.labels[:4]
    missing = missing_graph(examination.network, images, labels)
    if missing:
        return Observation("fail", f"the input has no gradient: {missing}")
    passes = backward_passes_inside(examination.network, images)
    if passes:
        return Observation("fail", "the model calls autograd inside its forward pass", {"tensors unpacked inside": passes})
    return Observation("pass", "the outputs have a graph to the input, and autograd is not called inside")


def missing_graph(network: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Why there is no gradient from the margin to the images, "" where there is one."""
    variable = images.detach().requires_grad_(True)
    try:
        with torch.enable_grad():
            logits = network(variable)
            if not logits.requires_grad:
                return "the outputs have no graph"
            (gradient,) = torch.autograd.grad(margin(logits, labels).sum(), variable, allow_unused=True)
    except Exception as trouble:
        if is_out_of_memory(trouble):
            raise
        return f"the model raised {type(trouble).__name__}: {first_line(trouble)}"
    return "" if gradient is not None else "the outputs' graph does not reach the input"


def backward_passes_inside(network: nn.Module, images: Tensor) -> int:
    """How many tensors that a graph had put by were taken out again during one forward pass: what a backward pass does. One for
    torch.func, which takes gradients only where nobody watches."""
    unpacked = 0

    def unpack(tensor: Tensor) -> Tensor:
        nonlocal unpacked
        unpacked += 1
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack), torch.enable_grad():
            network(images.detach().requires_grad_(True))
    except RuntimeError as trouble:
        if "saved tensor hooks" not in str(trouble):
            raise
        return unpacked + 1
    return unpacked


def side_effects(examination: Examination) -> Observation:
    """Check 22 (what attacks/attack.py promises): BIM on the model changes modes, `.grad` or a global random state."""
    attempt = contender(attack_cards()["bim"])
    with _fresh(examination.network):
        left = attempt.leftovers(examination.network, examination.images[:4], examination.labels[:4], examination.plan.linf)
    left = [what for what in left if not what.startswith("an exception")]
    if not left:
        return Observation("pass", "modes, .grad and random states are as they were")
    return Observation("fail", f"an attack on the model changes or leaves behind {', '.join(left)}")


@contextmanager
def _fresh(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, its parameters wanting gradients and having none; as it was afterwards."""
    modes = {module: module.training for module in network.modules()}
    before = {parameter: (parameter.requires_grad, parameter.grad) for parameter in network.parameters()}
    try:
        network.eval()
        for parameter in before:
            parameter.requires_grad_(parameter.is_floating_point())
            parameter.grad = None
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, (wanted, gradient) in before.items():
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
