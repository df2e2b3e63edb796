"""Changes of a kept cell or of its candidates, and what a verification must say of each.

What is changed here is changed with care: where a field follows from another, it is changed along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from handmade import with_outcome
from robustboard.benchmark.candidates import candidates_path
from robustboard.benchmark.cells import recorded_identity
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.statistics import wilson
from robustboard.models import registry


def resealed(cell: CellResult, path: Path) -> CellResult:
    """The cell with the identity, and the hash of the candidates, that it should have."""
    digest = registry.file_sha256(candidates_path(path))
    assert cell.candidates is not None
    cell = replace(cell, candidates=replace(cell.candidates, sha256=digest))
    return replace(cell, identity=recorded_identity(cell))


def change_file(change: Callable[[dict[str, Tensor]], object]) -> Callable[[CellResult, Path], CellResult]:
    """Other tensors in the candidates' file, and their hash in the cell."""

    def apply(cell: CellResult, path: Path) -> CellResult:
        tensors = load_file(candidates_path(path))
        change(tensors)
        save_file(tensors, candidates_path(path))
        return resealed(cell, path)

    return apply


def counted_again(cell: CellResult) -> CellResult:
    """The cell with the outcome that its verdicts come to."""
    rows, n = cell.per_example, cell.outcome.n
    robust = sum(bool(right) and not fooled for right, fooled in zip(rows.correct_clean, rows.fooled, strict=True))
    sure = [c for f, c in zip(rows.fooled, rows.confidence, strict=True) if f and c is not None]
    outcome = replace(
        cell.outcome,
        clean_accuracy=sum(rows.correct_clean) / n,
        robust_accuracy=robust / n,
        robust_accuracy_ci95=wilson(robust, n),
        n_fooled=sum(rows.fooled),
        unfooled=(sum(rows.correct_clean) - sum(rows.found)) / n,
        fooled_after_rounding=0,
        confidence_on_fooled=round(sum(sure) / len(sure), 4),
    )
    distances = sorted(d for f, d in zip(rows.found, rows.distance, strict=True) if f and d is not None)
    quantiles = {f"p{q}": float(torch.tensor(distances).double().quantile(q / 100)) for q in (10, 25, 50, 75, 90)}
    within = [[d is not None and d <= radius for d in rows.distance] for radius, _ in outcome.robust_accuracy_at]
    curve = [(radius, (n - sum(hit)) / n) for (radius, _), hit in zip(outcome.robust_accuracy_at, within, strict=True)]
    return replace(cell, outcome=replace(outcome, distance_quantiles=quantiles, robust_accuracy_at=curve))


def with_rows(cell: CellResult, at: int, **values: Any) -> CellResult:
    """The cell with other values for its example at `at`, and the outcome to match."""
    rows = {name: list(getattr(cell.per_example, name)) for name in values}
    for name, value in values.items():
        rows[name][at] = value
    return counted_again(replace(cell, per_example=replace(cell.per_example, **rows)))


def first(cell: CellResult, *, found: bool) -> int:
    """The first example right clean for which something was found, or was not."""
    rows = zip(cell.per_example.correct_clean, cell.per_example.found, strict=True)
    return next(at for at, (right, there) in enumerate(rows) if right and bool(there) == found)


def hide(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), fooled=0, found=0, distance=None, confidence=None)


def hide_consistently(cell: CellResult, path: Path, left: int = 2) -> CellResult:
    """All but `left` of the verdicts hidden together with their candidates, so that nothing that is kept says otherwise."""
    places = [at for at, there in enumerate(cell.per_example.found) if there]
    gone = {cell.per_example.index[at] for at in places[left:]}
    tensors = load_file(candidates_path(path))
    for images, indices in (("halves", "half_indices"), ("wholes", "whole_indices")):
        kept = [row for row, index in enumerate(tensors[indices].tolist()) if index not in gone]
        for name in (images, indices):
            tensors[name] = tensors[name][kept].contiguous()
    save_file(tensors, candidates_path(path))
    for at in places[left:]:
        cell = with_rows(cell, at, fooled=0, found=0, distance=None, confidence=None)
    cell = with_outcome(cell, fooled_after_rounding=cell.outcome.n_fooled)
    assert cell.candidates is not None
    n_float16 = len(tensors["half_indices"])
    counted = replace(cell.candidates, n=n_float16 + len(tensors["whole_indices"]), n_float16=n_float16)
    return resealed(replace(cell, candidates=counted), path)


def invent(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), fooled=1, found=1, distance=0.2, confidence=0.6)


def other_confidence(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), confidence=0.1)


def other_distance(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=True), distance=0.1)


def distance_of_nothing(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), distance=0.05)


def wrong_from_the_start(cell: CellResult, path: Path) -> CellResult:
    return with_rows(cell, first(cell, found=False), correct_clean=0, distance=0.0)


def outcome(**values: Any) -> Callable[[CellResult, Path], CellResult]:
    return lambda cell, path: replace(cell, outcome=replace(cell.outcome, **values))


def model(**values: Any) -> Callable[[CellResult, Path], CellResult]:
    return lambda cell, path: resealed(replace(cell, model=replace(cell.model, **values)), path)


def other_examples(cell: CellResult, path: Path) -> CellResult:
    return resealed(replace(cell, dataset=replace(cell.dataset, fingerprint="0" * 64)), path)


def beyond_the_split(cell: CellResult, path: Path) -> CellResult:
    indices = [index + 990 for index in cell.dataset.indices]
    rows = replace(cell.per_example, index=indices)
    return resealed(replace(cell, dataset=replace(cell.dataset, indices=indices), per_example=rows), path)


def truncate(cell: CellResult, path: Path) -> CellResult:
    kept = candidates_path(path)
    kept.write_bytes(kept.read_bytes()[:-100])
    return cell


def truncate_and_seal(cell: CellResult, path: Path) -> CellResult:
    return resealed(truncate(cell, path), path)


def flip_a_bit(cell: CellResult, path: Path) -> CellResult:
    kept = candidates_path(path)
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    return cell


def lose(cell: CellResult, path: Path) -> CellResult:
    candidates_path(path).unlink()
    return cell


def name_another(cell: CellResult, path: Path) -> CellResult:
    assert cell.candidates is not None
    return replace(cell, candidates=replace(cell.candidates, file="../../../secret.safetensors"))


def drop_the_block(cell: CellResult, path: Path) -> CellResult:
    return replace(cell, candidates=None)


def a_corner(tensors: dict[str, Tensor]) -> None:
    tensors["halves"][..., 0, 0] = 0.3  # where every digit is black


def twice(tensors: dict[str, Tensor]) -> None:
    tensors["half_indices"][1] = tensors["half_indices"][0]


def without_the_last(tensors: dict[str, Tensor]) -> None:
    tensors["halves"], tensors["half_indices"] = tensors["halves"][:-1].clone(), tensors["half_indices"][:-1].clone()


def smaller_images(tensors: dict[str, Tensor]) -> None:
    for name in ("halves", "wholes"):
        tensors[name] = tensors[name][..., 1:].contiguous()


@dataclass(frozen=True)
class Tampering:
    """A change of one cell or its candidates, and what must be said of it."""

    change: Callable[[CellResult, Path], CellResult]
    said: str
    attack: str = "fgsm"


TAMPERINGS = {
    "a bit of a change": Tampering(flip_a_bit, "has sha256 .*it is another file"),
    "a change of nothing, hash and all": Tampering(
        change_file(lambda tensors: tensors["halves"].zero_()), "the model classifies its candidate right"
    ),
    "over budget": Tampering(change_file(a_corner), "the candidate is over budget"),
    "too many features": Tampering(
        change_file(lambda tensors: tensors["halves"].add_(0.001).clamp_(min=0)), "the candidate is o(ver budget|utside)", "jsma"
    ),
    "out of the box": Tampering(change_file(lambda tensors: tensors["halves"].sub_(2)), "the candidate is outside the box"),
    "not a number": Tampering(change_file(lambda tensors: tensors["halves"].fill_(float("nan"))), "the candidate is not finite"),
    "farther than recorded": Tampering(
        change_file(lambda tensors: tensors["halves"].mul_(1.25)), "its distance is recorded as", "ddn"
    ),
    "a verdict hidden": Tampering(hide, "a candidate is kept, but no adversarial example is recorded"),
    "verdicts hidden with their candidates": Tampering(
        hide_consistently, r"it is recorded as robust, but fgsm, run again, fools the model: class \d at confidence"
    ),
    "a verdict invented": Tampering(invent, "an adversarial example is recorded, but no candidate is kept"),
    "a verdict alone": Tampering(
        lambda cell, path: replace(cell, per_example=replace(cell.per_example, fooled=[0] * len(cell.per_example.fooled))),
        "something was found, and yet it is not fooled at distance",
    ),
    "a confidence": Tampering(other_confidence, "its confidence is recorded as 0.1, but its candidate's is"),
    "a distance": Tampering(other_distance, "its distance is recorded as 0.1, but its candidate's is"),
    "a distance of nothing": Tampering(distance_of_nothing, "nothing was found, and yet it has a distance or a confidence"),
    "a clean verdict": Tampering(wrong_from_the_start, "it is recorded as wrong clean, but the model classifies it right"),
    "the accuracy": Tampering(outcome(robust_accuracy=0.9), r"its robust_accuracy is 0\.9000, but its examples come to"),
    "the clean accuracy": Tampering(outcome(clean_accuracy=1.0), r"its clean_accuracy is 1\.0000, but its examples come to"),
    "the interval": Tampering(outcome(robust_accuracy_ci95=(0.0, 1.0)), "its robust_accuracy_ci95 is"),
    "the curve": Tampering(
        lambda cell, path: replace(
            cell, outcome=replace(cell.outcome, robust_accuracy_at=[(e, 1.0) for e, _ in cell.outcome.robust_accuracy_at])
        ),
        r"its robust accuracy at 0\.\d+ is 1\.0000, but its distances come to",
        "ddn",
    ),
    "what rounding leaves": Tampering(
        outcome(fooled_after_rounding=0), "it says that 0 of its examples stay fooled after rounding"
    ),
    "the quantiles": Tampering(outcome(distance_quantiles={}), "its distance_quantiles are not those of its distances"),
    "weights, identity and all": Tampering(model(weights_sha256="0" * 64), "it was computed on other weights \\(0000"),
    "weights alone": Tampering(
        lambda cell, path: replace(cell, model=replace(cell.model, weights_sha256="0" * 64)), "its identity is not the hash of"
    ),
    "another model of the registry": Tampering(model(name="relu"), "it was computed on other weights"),
    "no model of the registry": Tampering(model(name="nowhere"), "the registry has no model digits/nowhere"),
    "the parameters": Tampering(model(parameters=1), "it says that the model has 1 parameters"),
    "the registry's accuracy": Tampering(
        model(expected_clean_accuracy=None), "it says that the registry's clean accuracy is None"
    ),
    "the head": Tampering(model(head="sigmoid"), "it says that the model's head is sigmoid; it is softmax"),
    "the kind of output": Tampering(model(output="probabilities"), "it says that the model returns probabilities"),
    "ε": Tampering(
        lambda cell, path: resealed(replace(cell, attack=replace(cell.attack, eps=0.1)), path),
        r"it is fooled over budget at distance 0\.2 for ε = 0\.1",
    ),
    "the steps": Tampering(
        lambda cell, path: replace(cell, attack=replace(cell.attack, params={"steps": 1000})), "its identity is not the hash of"
    ),
    "the examples": Tampering(other_examples, "its examples are not those of the data here"),
    "examples that there are not": Tampering(beyond_the_split, "its examples are not those of the data here"),
    "cut short": Tampering(truncate, "has sha256"),
    "cut short, hash and all": Tampering(truncate_and_seal, "is no safetensors file"),
    "gone": Tampering(lose, "its candidates cannot be read from fgsm.candidates.safetensors: No such file"),
    "elsewhere": Tampering(name_another, "which would lie in fgsm.candidates.safetensors"),
    "one example twice": Tampering(change_file(twice), "holds two candidates for one example"),
    "one too few": Tampering(change_file(without_the_last), "candidates, .* of them in half precision, but the cell says"),
    "other tensors": Tampering(change_file(lambda tensors: tensors.pop("wholes")), "does not hold halves"),
    "another precision": Tampering(
        change_file(lambda tensors: tensors.update(halves=tensors["halves"].float())), "does not hold halves"
    ),
    "smaller images": Tampering(
        change_file(smaller_images), r"its candidates have the shape \(1, 8, 7\), the images \(1, 8, 8\)"
    ),
}
