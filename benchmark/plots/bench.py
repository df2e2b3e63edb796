"""Where pictures that need a network get it: the model, its examples, an attack as the cells had it, its candidates judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from robustboard.attacks import projections
from robustboard.attacks.libraries.library import all_cards, missing_distribution
from robustboard.attacks.losses import Head, confidence, margin, wrong_classes
from robustboard.attacks.randomness import make_keys
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.cells import chosen_attacks
from robustboard.benchmark.datasets import Dataset, load_dataset
from robustboard.benchmark.environment import choose_device
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.evaluate import BoundAttack, propose
from robustboard.benchmark.judge import TOLERANCE, Clean, CountedModel, Threat, ask, judge, look_clean, prepared
from robustboard.benchmark.protocols import Protocol, load_protocol
from robustboard.benchmark.records import AttackBlock, CellResult
from robustboard.benchmark.report.board import Row
from robustboard.benchmark.subjects import Subject, registry_subjects

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Bench:
    """How networks are had and run: the folder of the data (None: where it is always looked for), the device, how many
    examples (None: the kind's own number), and the models that are not in the registry by (data set, name)."""

    data: Path | None = None
    device: str = "auto"
    n: int | None = None
    subjects: Mapping[tuple[str, str], Subject] = field(default_factory=dict)

    def subject(self, dataset: str, name: str) -> Subject:
        """The model of a row. Raises `InputError` where it is neither given nor in the registry."""
        given = self.subjects.get((dataset, name))
        if given is not None:
            return given
        try:
            found = [each for each in registry_subjects([f"{dataset}/{name}"], [dataset]) if each.name == name]
        except InputError:
            found = []
        if not found:
            raise InputError(
                f"{dataset}/{name!r} is not in the registry, and this picture needs the network: name its FILE.py:FUNCTION"
            )
        return found[0]

    def is_other(self, dataset: str, row: Row) -> bool:
        """Whether the network of a row is known to be another than the one its cells are about."""
        weights = self.subject(dataset, row.model).weights_sha256
        return bool(weights) and weights != row.any_cell().model.weights_sha256

    def examples(self, dataset: str, usual: int) -> Dataset:
        """The first `n` test examples, `usual` where no number was given. Raises `InputError` when there are not as many."""
        everything = load_dataset(dataset, "test", self.data)
        n = self.n or usual
        if n > len(everything.labels):
            raise InputError(f"n = {n} is larger than {dataset}'s test set of {len(everything.labels)} examples: a smaller --n")
        return everything.select(range(n))


@dataclass(frozen=True)
class Sitter:
    """A network ready to be asked, on its device, its answers to the clean examples, and their places in the split."""

    name: str
    network: nn.Module
    examples: Dataset
    indices: tuple[int, ...]
    clean: Clean
    device: torch.device

    @property
    def head(self) -> Head:
        return self.clean.head

    def only(self, rows: Sequence[int]) -> Sitter:
        """The same network before the examples at `rows` alone."""
        at = torch.as_tensor(list(rows), dtype=torch.long, device=self.clean.correct.device)
        clean = replace(self.clean, correct=self.clean.correct[at], confidence=self.clean.confidence[at])
        indices = tuple(self.indices[row] for row in rows)
        return replace(self, examples=self.examples.select(rows), indices=indices, clean=clean)


@dataclass(frozen=True)
class Setting:
    """An attack with every parameter, as a record has it, ready to be bound to a model's head."""

    block: AttackBlock
    seed: int

    @property
    def threat(self) -> Threat:
        return Threat(self.block.norm, self.block.eps, self.block.aim)

    def bind(self, head: Head) -> BoundAttack:
        """Ready to be called. Raises `InputError` for parameters that the attack does not have now."""
        try:
            return all_cards()[self.block.name].bind(head, **self.block.params)
        except ValueError as trouble:
            raise InputError(f"{self.block.name} cannot run as its cells were: {trouble}") from trouble


@dataclass(frozen=True)
class Attacked:
    """Judged candidates (N, C, H, W): those that broke a rule are replaced by their clean images. The model's answers (N, K) to
    clean images and candidates; whether each was right clean, is fooled within ε, and at what distance (N,), the model's
    confidence in its answers (N,), and where the attack failed (N,)."""

    images: Tensor
    labels: Tensor
    candidates: Tensor
    clean_logits: Tensor
    logits: Tensor
    correct: Tensor
    fooled: Tensor
    distance: Tensor
    clean_confidence: Tensor
    confidence: Tensor
    failed: Tensor


def answered(labels: Tensor, logits: Tensor) -> Tensor:
    """The class (N,) that a model answers by its logits (N, K). As for the judge, it is the label (N,) where that one's logit is
    strictly the largest: else the likeliest of the others."""
    return torch.where(margin(logits, labels) < 0, labels, wrong_classes(logits, labels)[:, 0])


@contextmanager
def sitting(bench: Bench, dataset: str, name: str, examples: Dataset) -> Iterator[Sitter]:
    """The network of a row, prepared as for a run, having looked at the clean examples, the first of the test set."""
    subject = bench.subject(dataset, name)
    device = choose_device(bench.device)
    with prepared(subject.build(), device, channels_last=subject.source == "registry") as network:
        clean = look_clean(network, examples.images.to(device), examples.labels.to(device), subject.head)
        yield Sitter(name, network, examples, tuple(range(len(examples.labels))), clean, device)


def setting_of(name: str, cells: Sequence[CellResult], protocol: str, examples: Dataset) -> Setting:
    """The attack `name` as the `cells` of a board had it, or, where none did, as the protocol of that name has it. Raises
    `InputError` for a cascade, for an attack that cannot be had, and for cells of another version of it."""
    if name in CASCADES:
        raise InputError(f"{name} joins many attacks and makes no candidates of its own: name one attack, as --attack bim")
    had = next((cell for cell in cells if cell.attack.name == name), None)
    if had is None:
        return _of_protocol(name, load_protocol(protocol.partition("@")[0]), examples)
    card = all_cards().get(name)
    if card is None or missing_distribution(card):
        raise InputError(f"the attack {name!r} of the cells is not installed here: name another, as --attack bim")
    if (had.attack.version, had.attack.implementation) != (card.version, card.implementation):
        raise InputError(f"{name} is version {card.version} now, its cells are of version {had.attack.version}: run them again")
    return Setting(had.attack, had.environment.seed)


def _of_protocol(name: str, protocol: Protocol, examples: Dataset) -> Setting:
    chosen_attacks(protocol, [name])
    card = all_cards()[name]
    given = protocol.parameters(examples.name, card)
    threat = protocol.threat(examples.name, card, examples.images[0].numel())
    block = AttackBlock(
        name, card.implementation, card.version, threat.norm, threat.aim, float(threat.epsilon), card.settings(given)
    )
    return Setting(block, protocol.seed)


def attacked(sitter: Sitter, setting: Setting, epsilon: float | None = None) -> Attacked:
    """Attack the sitter's examples as a run does, and judge the candidates; `epsilon` in place of the setting's. Clean errors
    are left as they are, except by an attack on confidence."""
    threat = setting.threat if epsilon is None else replace(setting.threat, epsilon=epsilon)
    bound, examples = setting.bind(sitter.head), sitter.examples
    parts = []
    for rows in torch.arange(len(examples.labels)).split(ROWS_AT_ONCE):
        images, labels = examples.images[rows].to(sitter.device), examples.labels[rows].to(sitter.device)
        wanted = sitter.clean.correct[rows.to(sitter.device)] | torch.tensor(threat.aim == "confidence", device=sitter.device)
        keys = make_keys(setting.seed, torch.as_tensor(sitter.indices)[rows], setting.block.name).to(sitter.device)
        parts.append(_attack_part(sitter, bound, threat, images, labels, keys, wanted))
    return Attacked(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))


def _attack_part(
    sitter: Sitter, bound: BoundAttack, threat: Threat, images: Tensor, labels: Tensor, keys: Tensor, wanted: Tensor
) -> tuple[Tensor, ...]:
    """The fields of `Attacked` for a part of the examples, of which the `wanted` (n,) are attacked."""
    made = images.clone()
    broken = torch.zeros_like(wanted)
    if bool(wanted.any()):
        x, y = images[wanted], labels[wanted]
        proposal = propose(bound, CountedModel(sitter.network), x, y, keys[wanted], threat.epsilon, 1.0)
        verdict = judge(sitter.network, x, y, proposal.images, threat, sitter.head)
        admitted = proposal.failures or [""] * len(x)
        failed = torch.tensor([bool(mine or theirs) for mine, theirs in zip(admitted, verdict.failures, strict=True)])
        broken[wanted] = failed.to(broken.device)
        if not bool(failed.all()):
            made[wanted & ~broken] = proposal.images[~broken[wanted]].detach().to(images).clamp(0, 1)
    clean_logits, logits = ask(sitter.network, images), ask(sitter.network, made)
    correct = margin(clean_logits, labels) < 0
    distance = projections.norms(made - images, threat.norm)
    fooled = correct & (margin(logits, labels) >= 0) & (distance <= threat.epsilon + TOLERANCE)
    sure = confidence(clean_logits, sitter.head), confidence(logits, sitter.head)
    return images, labels, made, clean_logits, logits, correct, fooled, distance, *sure, broken
