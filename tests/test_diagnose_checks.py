"""The 23 checks together: silent on an honest model, and what their verdicts mean."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diagnosis_problems import COUNT, examined, finding, honest, subject, undefended
from robustboard.benchmark.datasets import load_dataset
from robustboard.benchmark.diagnose import checks
from robustboard.benchmark.diagnose.observation import Observation, counted, differing
from robustboard.benchmark.diagnose.record import CHECKS, Finding
from robustboard.benchmark.errors import ModelFaultError
from robustboard.benchmark.report.diagnoses import INFORMING
from robustboard.benchmark.subjects import registry_subjects


@pytest.fixture(scope="module")
def silent() -> dict[int, Finding]:
    """All findings on an honest model beside a registry of one undefended."""
    other = subject(undefended(), "relu")
    examination = examined(*honest(), others=[other], control=other)
    return {check.number: checks.observe(check, examination) for check in checks.CHECKS}


@pytest.mark.parametrize("number", range(1, CHECKS + 1))
def test_an_honest_model_trips_nothing(silent: dict[int, Finding], number: int) -> None:
    assert silent[number].verdict == "pass", silent[number].reason
    assert silent[number].examples == []


def test_a_network_of_adversarial_training_is_not_doubted() -> None:
    """Within 0.1 no attack finds much more than BIM does: no check may put that in doubt."""
    (robust,) = registry_subjects(["digits/relu-fast_at"], ["digits"])
    (control,) = registry_subjects(["digits/relu"], ["digits"])
    digits = load_dataset("digits", "test").select(range(COUNT))
    examination = examined(robust.build(), digits.images, digits.labels, 0.1, others=[control], control=control, dataset="digits")
    found = [checks.observe(check, examination) for check in checks.CHECKS]
    assert [each.reason for each in found if each.verdict == "fail" and each.number not in INFORMING] == []
    assert sum(each.verdict == "pass" for each in found) >= CHECKS - len(INFORMING)


def test_the_checks_are_all_there_and_in_order() -> None:
    assert [check.number for check in checks.CHECKS] == list(range(1, CHECKS + 1))
    assert len({check.title for check in checks.CHECKS}) == CHECKS
    for check in checks.CHECKS:
        assert f"Check {check.number} (" in (check.function.__doc__ or ""), "a check names its number and its source"


COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ORDER = ["pass", "warn", "fail"]


@given(COUNTS, st.floats(0, 50))
def test_a_contradiction_is_never_passed_over_and_more_are_never_better(counts: tuple[int, int], points: float) -> None:
    count, n = counts
    verdict = counted(count, n, points)
    assert (verdict == "pass") == (count == 0)
    if count < n:
        assert ORDER.index(counted(count + 1, n, points)) >= ORDER.index(verdict)
    if verdict == "fail":
        assert 100 * count > points * n


@given(COUNTS, st.floats(0, 50))
def test_accuracies_may_differ_by_the_points_and_one_example_does_not_fail(counts: tuple[int, int], points: float) -> None:
    count, n = counts
    verdict = differing(count, n, points)
    assert (verdict == "pass") == (100 * count <= points * n)
    assert verdict != "fail" or count > 1


def test_a_model_that_gets_nothing_right_has_nothing_to_lose() -> None:
    model, images, labels, epsilon = honest()
    examination = examined(model, images, 1 - labels, epsilon)
    verdicts = {number: finding(number, examination).verdict for number in range(1, CHECKS + 1)}
    assert "fail" not in verdicts.values()
    assert {verdicts[number] for number in (2, 3, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 21)} == {"not applicable"}


def raises(trouble: Exception) -> checks.Check:
    def function(examination: object) -> Observation:
        raise trouble

    return checks.Check(1, "raises", function)


def test_a_check_that_an_exception_stops_is_a_flag_and_says_why() -> None:
    found = checks.observe(raises(ValueError("one line\nand another")), examined(*honest()))
    assert (found.verdict, found.reason) == ("not made", "it could not be made: ValueError: one line")
    assert found.is_flag
    with pytest.raises(ModelFaultError, match="memory runs out at check 1"):
        checks.observe(raises(torch.OutOfMemoryError("out")), examined(*honest()))


def test_a_figure_that_is_not_finite_is_a_word() -> None:
    check = checks.Check(1, "infinite", lambda examination: Observation("pass", "", {"a": math.inf, "b": 1.5}))
    assert checks.observe(check, examined(*honest())).figures == {"a": "inf", "b": 1.5}


class NoGradients(nn.Module):
    """Nothing of it can be differentiated, and yet it is right."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.network(images)
        return logits


def test_a_model_without_gradients_fails_where_it_matters() -> None:
    model, images, labels, epsilon = honest()
    examination = examined(NoGradients(model), images, labels, epsilon)
    verdicts = {number: finding(number, examination).verdict for number in (1, 6, 7, 16, 18)}
    assert verdicts == {1: "not applicable", 6: "fail", 7: "fail", 16: "fail", 18: "fail"}
    assert len(finding(7, examination).examples) <= COUNT / 2
