"""The judge: whatever an attack claims, the model is asked again about the candidate, in float32, and the rules are
checked: shape, finiteness, box, budget, label. An attack that breaks one has failed; the example counts as not fooled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from robustboard.attacks import projections
from robustboard.attacks.attack import Aim, Norm
from robustboard.attacks.losses import Head, confidence, margin
from robustboard.benchmark.errors import ModelFaultError, first_line

TOLERANCE = 1e-6
BLOCK = 4
OutputKind = Literal["logits", "probabilities", "log-probabilities"]


@dataclass(frozen=True)
class Threat:
    """What an attack is allowed: norm, budget in its units, and what it aims at."""

    norm: Norm
    epsilon: float
    aim: Aim

    @property
    def is_bound(self) -> bool:
        """Whether a candidate beyond ε breaks a rule; a minimum-norm attack may go beyond, except in L0, where ε is a cap."""
        return self.aim != "minimum" or self.norm == "l0"


@dataclass(frozen=True)
class Clean:
    """The model's answers to clean images: right (N,) bool, confidence (N,), what its outputs look like, and how they become
    confidences: the declared head, or, where the outputs are probabilities already, as they are ("identity")."""

    correct: Tensor
    confidence: Tensor
    output: OutputKind
    head: Head


@dataclass(frozen=True)
class Verdict:
    """What the judge found for each example (N,): misclassified, size of the change, confidence, rounded image still
    misclassified; the broken rule, "" if none; the images (N, C, H, W) that the model was shown; and by how much another logit
    led the label's, as a share of the largest (N,): near 0, rounding decides."""

    adversarial: Tensor
    distance: Tensor
    confidence: Tensor
    adversarial_rounded: Tensor
    failures: list[str]
    images: Tensor
    lead: Tensor


class CountedModel(nn.Module):
    """A model with a meter: rows that went forward, and rows that a gradient came back through. Batches are filled up, unless
    the model is to be met as it is."""

    def __init__(self, network: nn.Module, *, filled: bool = True) -> None:
        super().__init__()
        self.network = network
        self.filled = filled
        self.training = network.training
        self.forwards = 0
        self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        logits = padded_call(self.network, images) if self.filled else self.network(images)
        if isinstance(logits, Tensor) and logits.is_floating_point():
            # A network in float64 or bfloat16 is judged in float32, too: attacks keep their numbers in one format.
            logits = logits.float()
        self.forwards += len(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def padded_call(network: nn.Module, images: Tensor) -> Tensor:
    """The network's answers, the batch filled up to a multiple of four with copies of its last image.

    Convolutions on a processor take another kernel for a single image, and matrix products other than those of MKL on Intel's
    processors (whose mode the package sets where it is imported) sum the last one to three rows of a thread's share in another
    order. Where features tie (a black background under max-pooling) such a rounding turns whole gradients. In batches of whole
    fours an example's answers and gradients were the same to the bit whatever the batch; the copies keep them so as attacks'
    examples leave. That holds for convolutions, matrix products and ReLU in one thread: in several a logarithm, or a
    matrix product off Intel, may still differ in its last bit by where in the batch an example stands, which is why attacks ask
    for successes that are above rounding.
    """
    rows = len(images)
    wanted = -(-rows // BLOCK) * BLOCK
    if rows in (0, wanted):
        return network(images)  # type: ignore[no-any-return]
    answers = network(torch.cat([images, images[-1:].detach().expand(wanted - rows, *images.shape[1:])]))
    return answers[:rows] if isinstance(answers, Tensor) and len(answers) == wanted else answers


@contextmanager
def prepared(network: nn.Module, device: torch.device, *, channels_last: bool = False) -> Iterator[nn.Module]:
    """The network on the device, in evaluation mode, its parameters without gradients; as it was afterwards. `channels_last`
    stores convolutions so, which is faster and lasts; a network that calls `.view` on its features cannot bear it."""
    modes = {module: module.training for module in network.modules()}
    wants = {parameter: parameter.requires_grad for parameter in network.parameters()}
    home = next(iter([*network.parameters(), *network.buffers()]), torch.empty(0)).device
    tf32 = torch.backends.cudnn.allow_tf32
    try:
        # cuDNN would otherwise round a GPU's convolutions to 10 bits of mantissa: not the float32 that is promised.
        torch.backends.cudnn.allow_tf32 = False
        network.to(device)
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.eval().requires_grad_(False)
        yield network
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        network.to(home)
        for module, training in modes.items():
            module.training = training
        for parameter, wanted in wants.items():
            parameter.requires_grad_(wanted)


def ask(network: nn.Module, images: Tensor) -> Tensor:
    """Float32 logits (N, K) without a graph. Raises `ModelFaultError` when the model raises or its answer has another shape."""
    try:
        with torch.no_grad():
            logits = padded_call(network, images)
    except Exception as trouble:
        if is_out_of_memory(trouble):
            raise
        raise ModelFaultError(f"the model raised {type(trouble).__name__}: {first_line(trouble)}") from trouble
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelFaultError(f"the model answered {shape} to {len(images)} images; logits (N, classes) are wanted")
    return logits.float()


def look_clean(network: nn.Module, images: Tensor, labels: Tensor, head: Head, batch_size: int = 128) -> Clean:
    """The clean pass, in smaller batches where memory runs out. Raises `ModelFaultError` when the model raises, or answers
    with a wrong shape or with NaN or infinity, or does not fit with a single image."""
    try:
        logits = torch.cat([ask(network, batch) for batch in images.split(batch_size)])
    except Exception as trouble:
        if not is_out_of_memory(trouble):
            raise
        if batch_size == 1:
            raise ModelFaultError("memory runs out on a single image: try another --device") from trouble
        return look_clean(network, images, labels, head, batch_size // 2)
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).any(1).sum())
        raise ModelFaultError(f"the model's outputs are not finite on {bad} of {len(images)} clean images")
    if int(labels.max()) >= logits.shape[1]:
        raise ModelFaultError(f"the model has {logits.shape[1]} classes, the labels go up to {int(labels.max())}")
    output = _output_kind(logits, head)
    head = "identity" if output == "probabilities" else head
    return Clean(margin(logits, labels) < 0, confidence(logits, head), output, head)


def judge(network: nn.Module, images: Tensor, labels: Tensor, candidates: object, threat: Threat, head: Head) -> Verdict:
    """Check the candidates against the rules and ask the model about them; a candidate that breaks one is replaced by
    its clean image before the model sees it."""
    failures = _broken_rules(images, candidates, threat)
    whole = torch.tensor([not failure for failure in failures], device=images.device)
    kept = images.clone()
    if isinstance(candidates, Tensor) and bool(whole.any()):
        kept[whole] = candidates.detach()[whole].to(images).clamp(0, 1)
    logits = ask(network, kept)
    finite = torch.isfinite(logits).all(1)
    failures = [
        failure or ("" if fine else "the model's outputs on the candidate are not finite")
        for failure, fine in zip(failures, finite.tolist(), strict=True)
    ]
    logits = logits.nan_to_num(0.0, 0.0, 0.0)
    rounded = ask(network, (kept * 255).round() / 255)
    wrong_by = margin(logits, labels)
    return Verdict(
        adversarial=finite & (wrong_by >= 0),
        distance=projections.norms(kept - images, threat.norm),
        confidence=confidence(logits, head),
        adversarial_rounded=torch.isfinite(rounded).all(1) & (margin(rounded.nan_to_num(0.0, 0.0, 0.0), labels) >= 0),
        failures=failures,
        images=kept,
        lead=wrong_by / logits.abs().amax(1).clamp_min(1e-30),
    )


def is_out_of_memory(trouble: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(trouble, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(trouble).lower()
    return isinstance(trouble, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def wrong_shape(candidates: object, images: Tensor) -> str:
    """What is wrong with candidates that are no tensor like `images`."""
    shape = tuple(candidates.shape) if isinstance(candidates, Tensor) else type(candidates).__name__
    return f"the attack returned {shape} for images of shape {tuple(images.shape[1:])}"


def _broken_rules(images: Tensor, candidates: object, threat: Threat) -> list[str]:
    if not isinstance(candidates, Tensor) or candidates.shape != images.shape:
        return [wrong_shape(candidates, images)] * len(images)
    candidates = candidates.detach().to(images)
    flat = candidates.flatten(1)
    finite = torch.isfinite(flat).all(1)
    inside = (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)
    size = projections.norms(candidates.clamp(0, 1) - images, threat.norm)
    within = (size <= threat.epsilon + TOLERANCE) | torch.tensor(not threat.is_bound, device=images.device)
    rules = zip(finite.tolist(), inside.tolist(), within.tolist(), strict=True)
    return [
        "the candidate is not finite"
        if not is_finite
        else "the candidate is outside the box"
        if not is_inside
        else "the candidate is over budget"
        if not is_within
        else ""
        for is_finite, is_inside, is_within in rules
    ]


def _output_kind(logits: Tensor, head: Head) -> OutputKind:
    sums = logits.sum(1)
    if head == "sigmoid":
        return "probabilities" if bool(((logits >= 0) & (logits <= 1)).all()) else "logits"
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        return "probabilities"
    mass = logits.exp().sum(1)
    if bool((logits <= 0).all()) and torch.allclose(mass, torch.ones_like(mass), atol=1e-4):
        return "log-probabilities"
    return "logits"
