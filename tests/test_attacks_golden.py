"""Golden outputs: what an attack returns may change only with its version. Run this file by python to rewrite them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attack_problems import in_both_norms
from conftest import keys
from robustboard.attacks.attack import attack_cards
from robustboard.attacks.projections import norms

GOLDEN = Path(__file__).parent / "golden_attacks.json"
TOLERANCE = 2e-3
REWRITE = "python tests/test_attacks_golden.py"

PARAMETERS: dict[str, dict[str, Any]] = {
    "bim": {"steps": 10, "step": 0.125},
    "bim_ce": {"steps": 10, "step": 0.125},
    "cw": {"start_steps": 25, "steps": 25},
    "cw_cold": {"searches": 3, "steps": 25, "rate": 0.05, "initial_c": 1.0},
    "ddn": {"steps": 25},
    "fmn": {"steps": 25},
    "fmn_linf": {"steps": 25},
    "lbfgs": {"searches": 5, "iterations": 15},
    "pgd_t": {"steps": 10, "step": 1.0},
    "max_confidence": {"steps": 10, "step": 1.0, "near_step": 0.2},
    "pgd": {"steps": 10, "step": 0.125, "restarts": 2},
    "pgd_ce": {"steps": 10, "step": 0.125, "restarts": 2},
    "pgd_l2": {"steps": 10, "step": 0.125, "restarts": 2},
    "spsa": {"directions": 16, "iterations": 10},
    **in_both_norms("apgd_ce", {"steps": 15, "restarts": 2}),
    **in_both_norms("apgd_dlr", {"steps": 15, "restarts": 2}),
    **in_both_norms("apgd_t", {"steps": 15, "target_classes": 3}),
    **in_both_norms("fab_t", {"steps": 10, "restarts": 2, "target_classes": 3}),
    **in_both_norms("square", {"queries": 50, "restarts": 2}),
    **in_both_norms("autoattack", {"steps": 5, "queries": 30}),
}
"""Small and fixed: they are part of what the file stores. An attack that is not named runs at its defaults."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cw, momentum": ("cw", {"start_steps": 25, "steps": 5, "start_momentum": 0.8, "start_patience": 1}),
    "cw, by ddn": ("cw", {"start_steps": 25, "steps": 5, "start_by": "ddn", "start_patience": 1}),
    "ddn, momentum": ("ddn", {"steps": 25, "restarts": 2, "momentum": 0.8}),
    "fmn, momentum": ("fmn", {"steps": 25, "restarts": 2, "initial_norm": 1.0, "momentum": 0.8}),
}
"""Attacks at further parameters, whose neutral values would hide a change."""
RUNS = {**{name: (name, PARAMETERS.get(name, {})) for name in attack_cards()}, **VARIANTS}

Summary = list[list[float]]


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    """A two-layer network of fixed weights and four images, labelled by it; one label is wrong from the start."""
    generator = torch.Generator().manual_seed(20240505)
    network = nn.Sequential(nn.Flatten(), nn.Linear(18, 12), nn.ReLU(), nn.Linear(12, 5))
    images = torch.rand(4, 2, 3, 3, generator=generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        labels = network(images).argmax(1)
    labels[3] = (labels[3] + 1) % 5
    return network, images, labels


def summary(run: str) -> Summary:
    """For each example L2, L∞ and iterations of what the attack returns: coarse enough for every machine to agree on."""
    network, images, labels = problem()
    name, parameters = RUNS[run]
    card = attack_cards()[name]
    if name == "lbfgs":
        # Its line searches turn on float32's last bit: by processor, a fifth more or fewer iterations.
        network, images = network.double(), images.double()
    epsilon = {"linf": 0.15, "l2": 1.0, "l0": 14.0}[card.norm]
    proposal = card.bind(**parameters)(network, images, labels, keys(4), epsilon=epsilon)
    change = proposal.images - images
    columns = zip(norms(change, "l2").tolist(), norms(change, "linf").tolist(), proposal.iterations.tolist(), strict=True)
    return [[round(euclidean, 3), round(largest, 3), steps] for euclidean, largest, steps in columns]


def stored() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return golden


def differs(run: str, first: Summary, second: Summary) -> bool:
    a, b = torch.tensor(first), torch.tensor(second)
    if RUNS[run][0] == "lbfgs":
        # Of its hundreds of iterations one more or less hangs on a processor's rounding, even so.
        a[:, 2] = torch.where((a[:, 2] - b[:, 2]).abs() <= b[:, 2] / 100, b[:, 2], a[:, 2])
    return not torch.allclose(a, b, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", RUNS)
def test_output_changes_only_with_the_version(name: str) -> None:
    golden = stored()
    assert name in golden, f"{name} has no golden output: run `{REWRITE}` and commit the file"
    version = attack_cards()[RUNS[name][0]].version
    assert golden[name]["version"] == version, (
        f"{name} is at version {version}, its golden output at {golden[name]['version']}: run `{REWRITE}` and commit the file"
    )
    found = summary(name)
    assert not differs(name, found, golden[name]["summary"]), (
        f"{name} returns something else than before, {found} instead of {golden[name]['summary']}, and is still at version "
        f"{version}: raise the version in its register(...), so that old results are not reused, and run `{REWRITE}`"
    )


def test_no_golden_output_is_left_of_an_attack_that_is_gone() -> None:
    assert sorted(stored()) == sorted(RUNS)


def test_golden_outputs_are_not_all_alike() -> None:
    # A summary that no attack changes would guard nothing: attacks of the same norm must differ, and none may be idle.
    golden = stored()
    texts = {name: json.dumps(entry["summary"]) for name, entry in golden.items()}
    assert len(set(texts.values())) >= 0.7 * len(texts)
    assert all(any(euclidean > 0 for euclidean, _, _ in entry["summary"]) for entry in golden.values())


def rewrite() -> None:
    """Write the file anew, one line an example, and say which attacks changed without a new version."""
    old = stored() if GOLDEN.is_file() else {}
    new = {run: {"version": attack_cards()[name].version, "summary": summary(run)} for run, (name, _) in RUNS.items()}
    for name, entry in new.items():
        if name in old and old[name]["version"] == entry["version"] and differs(name, old[name]["summary"], entry["summary"]):
            print(f"{name}: the output changed and the version ({entry['version']}) did not; raise it before you commit")
    GOLDEN.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite()
