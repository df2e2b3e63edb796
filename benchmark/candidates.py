"""Candidates kept beside a cell, so that anyone can put them to the model again: how they are packed, written and read.

A candidate is packed as its change to the clean image in half precision where the judge says the same of what is read back,
else as the image itself, to the bit.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from robustboard.attacks.attack import Norm
from robustboard.attacks.losses import ROUNDING, Head
from robustboard.benchmark.datasets import Dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.judge import TOLERANCE, Threat, Verdict, judge
from robustboard.benchmark.records import CandidatesBlock
from robustboard.benchmark.results import write_atomically
from robustboard.models.registry import file_sha256

FORMAT: Final = "robustboard/candidates/1"
HALF_ERROR = 2.0**-10
"""What a change may lose of its size when its last bits are cut off to half precision."""
CONFIDENCE_SLACK = 5e-3
"""By how much the confidence in what is read back may differ."""
CANDIDATES_SUFFIX = ".candidates.safetensors"
_HALF, _WHOLE = "h", "w"
_DTYPES = {"halves": torch.float16, "half_indices": torch.int64, "wholes": torch.float32, "whole_indices": torch.int64}


@dataclass(frozen=True)
class Candidates:
    """Changes (h, C, H, W) float16 to the examples at `half_indices`, and images (w, C, H, W) float32 that take the place of
    those at `whole_indices`: places in the split, none twice."""

    half_indices: list[int]
    halves: Tensor = field(repr=False)
    whole_indices: list[int]
    wholes: Tensor = field(repr=False)

    @property
    def indices(self) -> list[int]:
        """The examples they are for."""
        return [*self.half_indices, *self.whole_indices]

    def restored(self, data_set: Dataset, wanted: Container[int]) -> dict[int, Tensor]:
        """The candidates (C, H, W) float32 of those examples that are `wanted`, places in the data set."""
        halves = zip(self.half_indices, self.halves, strict=True)
        changed = {index: data_set.images[index] + half.float() for index, half in halves if index in wanted}
        wholes = zip(self.whole_indices, self.wholes, strict=True)
        return {**changed, **{index: whole for index, whole in wholes if index in wanted}}


def towards_zero(change: Tensor) -> Tensor:
    """`change` float32 with |change| < 65,504 in half precision, never larger than it was in any feature, so that no budget
    is broken by rounding."""
    nearest = change.half()
    grown = nearest.float().abs() > change.abs()
    # Of a number that is not 0 the next one towards 0 is the next lower bit pattern, whatever its sign.
    return (nearest.view(torch.int16) - grown.to(torch.int16)).view(torch.float16)


def distance_slack(distances: Tensor, norm: Norm) -> Tensor:
    """By how much the distances of what is read back may differ (N,): not at all where features are counted."""
    return torch.zeros_like(distances) if norm == "l0" else HALF_ERROR * distances + TOLERANCE


def pack(network: nn.Module, images: Tensor, labels: Tensor, verdict: Verdict, threat: Threat, head: Head) -> list[str]:
    """What the judge was shown for each of `images` (N, C, H, W), as text. In half precision where the model is still fooled,
    and not by rounding, within the same budget, at the same distance and confidence as far as their slack goes."""
    halves = towards_zero(verdict.images - images)
    again = judge(network, images, labels, images + halves.float(), threat, head)
    limit = threat.epsilon + TOLERANCE
    same = again.adversarial & (again.lead > ROUNDING) & (again.adversarial_rounded == verdict.adversarial_rounded)
    same &= (again.distance <= limit) == (verdict.distance <= limit)
    same &= (again.distance - verdict.distance).abs() <= distance_slack(verdict.distance, threat.norm)
    same &= (again.confidence - verdict.confidence).abs() <= CONFIDENCE_SLACK
    return [
        _HALF + _encoded(half) if is_same and not failure else _WHOLE + _encoded(whole)
        for half, whole, is_same, failure in zip(halves, verdict.images, same.tolist(), again.failures, strict=True)
    ]


def gathered(packed: Mapping[int, str], shape: Sequence[int]) -> Candidates:
    """Packed candidates by example, images of `shape` (C, H, W), as tensors, in the order of the examples."""
    halves = {index: text[1:] for index, text in sorted(packed.items()) if text.startswith(_HALF)}
    wholes = {index: text[1:] for index, text in sorted(packed.items()) if text.startswith(_WHOLE)}
    return Candidates(
        list(halves), _decoded(halves.values(), "<f2", shape), list(wholes), _decoded(wholes.values(), "<f4", shape)
    )


def candidates_path(cell: Path) -> Path:
    """Where the candidates of the cell in the file `cell` lie."""
    return cell.with_name(f"{cell.stem}{CANDIDATES_SUFFIX}")


def write_candidates(candidates: Candidates, cell: Path, taken_over: Mapping[str, list[int]]) -> CandidatesBlock:
    """Write them beside the file `cell`, atomically, and return what it says of them."""
    path = candidates_path(cell)
    tensors = {
        "halves": candidates.halves.contiguous(),
        "half_indices": torch.tensor(candidates.half_indices, dtype=torch.int64),
        "wholes": candidates.wholes.contiguous(),
        "whole_indices": torch.tensor(candidates.whole_indices, dtype=torch.int64),
    }
    content = save(tensors, {"format": FORMAT})
    write_atomically(path, content)
    digest = hashlib.sha256(content).hexdigest()
    return CandidatesBlock(path.name, digest, FORMAT, len(candidates.indices), len(candidates.half_indices), dict(taken_over))


def are_kept(block: CandidatesBlock | None, cell: Path) -> bool:
    """Whether the file that a cell's block names is there as it was written."""
    path = candidates_path(cell)
    return block is not None and path.is_file() and file_sha256(path) == block.sha256


def read_candidates(block: CandidatesBlock, cell: Path) -> Candidates:
    """The candidates that the cell in the file `cell` names. Raises `InputError`, the cause in words, when the file is not
    there, is not the one that was written, or does not hold what its format says."""
    path = candidates_path(cell)
    if block.file != path.name:
        raise InputError(f"it names {block.file!r} for its candidates, which would lie in {path.name}")
    try:
        content = path.read_bytes()
    except OSError as trouble:
        raise InputError(f"its candidates cannot be read from {path.name}: {trouble.strerror}") from trouble
    digest = hashlib.sha256(content).hexdigest()
    if digest != block.sha256:
        raise InputError(f"{path.name} has sha256 {digest[:12]}…, but the cell says {block.sha256[:12]}…: it is another file")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, TypeError, KeyError) as trouble:
        raise InputError(f"{path.name} is no safetensors file: {str(trouble).splitlines()[0]}") from trouble
    return _checked(tensors, block, path.name)


def _checked(tensors: Mapping[str, Tensor], block: CandidatesBlock, name: str) -> Candidates:
    if {key: tensor.dtype for key, tensor in tensors.items()} != _DTYPES:
        wanted = ", ".join(f"{key} ({dtype})" for key, dtype in _DTYPES.items())
        raise InputError(f"{name} does not hold {wanted}, as its format says")
    halves, wholes = tensors["halves"], tensors["wholes"]
    shapes = [tensors["half_indices"].shape, tensors["whole_indices"].shape]
    if halves.dim() != 4 or halves.shape[1:] != wholes.shape[1:] or shapes != [halves.shape[:1], wholes.shape[:1]]:
        given = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in sorted(tensors.items()))
        raise InputError(f"the shapes in {name} do not agree: {given}")
    found = Candidates(tensors["half_indices"].tolist(), halves, tensors["whole_indices"].tolist(), wholes)
    if len(set(found.indices)) != len(found.indices):
        raise InputError(f"{name} holds two candidates for one example")
    if (len(found.indices), len(halves)) != (block.n, block.n_float16):
        raise InputError(
            f"{name} holds {len(found.indices)} candidates, {len(halves)} of them in half precision, but the cell says {block.n} "
            f"and {block.n_float16}"
        )
    return found


def _encoded(values: Tensor) -> str:
    array = values.detach().cpu().numpy()
    return base64.b64encode(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()).decode("ascii")


def _decoded(texts: Iterable[str], dtype: str, shape: Sequence[int]) -> Tensor:
    arrays = [np.frombuffer(base64.b64decode(text), dtype=dtype).reshape(tuple(shape)) for text in texts]
    stacked = np.stack(arrays) if arrays else np.empty((0, *shape), dtype=dtype)
    return torch.from_numpy(stacked.astype(stacked.dtype.newbyteorder("=")))
