"""The ablation tables and the claims: what they say follows from the cells, and what is not run is not answered."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from handmade import diagnosed, make_cell
from pictured import with_confidences
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report import ablation
from robustboard.benchmark.report.board import Board, make_boards
from robustboard.benchmark.report.claims import page as claims
from robustboard.benchmark.report.claims.answer import MISSING
from robustboard.models.plan import ABLATIONS, QUADRATIC, SEEDS, SIZES
from robustboard.models.registry import read_cards

N = 40


def fixed(model: str, attack: str, robust: int) -> CellResult:
    """A cell in which the first `robust` of forty stand."""
    return make_cell(model, attack, correct=[1] * N, fooled=[0] * robust + [1] * (N - robust), dataset="mnist", eps=0.3)


def shortest(model: str, distances: list[float], parameters: int = 1000) -> CellResult:
    cell = make_cell(model, "cw", correct=[1] * N, fooled=[1] * N, dataset="mnist", eps=2.0)
    examples = replace(cell.per_example, distance=distances)
    block = replace(cell.model, parameters=parameters)
    outcome = replace(cell.outcome, unfooled=0.0)
    return replace(cell, per_example=examples, attack=replace(cell.attack, aim="minimum"), model=block, outcome=outcome)


def board(*cells: CellResult) -> list[Board]:
    return make_boards(cells, [], [], diagnosed(cells))


def answers(boards: list[Board]) -> list[str]:
    """The verdicts on the page, in its order."""
    return [line.removeprefix("**Verdict**: ") for line in claims.page(boards).splitlines() if line.startswith("**Verdict**")]


def test_without_cells_nothing_is_answered() -> None:
    assert answers([]) == [MISSING.verdict] * len(claims.CLAIMS)


@pytest.mark.parametrize(
    ("plain", "best", "said"),
    [
        (5, 38, "Under FGSM it rises, from 12.5 to 50.0 to 95.0 %, and reaches 90"),
        (5, 21, "Under FGSM it rises, from 12.5 to 50.0 to 52.5 %, short of 90"),
        (19, 21, "Not even under FGSM"),
    ],
)
def test_fgsm_is_measured_against_the_logs_numbers(plain: int, best: int, said: str) -> None:
    fgsm = {"relu": plain, "relog": 20, "relog-maxout_4": best}
    bim = {"relu": 2, "relog": 0, "relog-maxout_4": 1}
    found = [fixed(name, attack, n) for attack, numbers in (("fgsm", fgsm), ("bim", bim)) for name, n in numbers.items()]
    (verdict, *_) = answers(board(*found))
    assert verdict.startswith(said)
    assert verdict.endswith("the worst cases are not here."), "a cell without its cascade says little of it"
    found += [fixed(name, "worst_case", n) for name, n in bim.items()]
    (verdict, *_) = answers(board(*found))
    most = "in the worst case none of the ablation's 3 networks keeps more than 5.0 % (relu)"
    assert verdict.startswith(said)
    assert most in verdict, "not what is left of the best under FGSM"


def test_an_attack_that_finds_everything_refutes_the_half() -> None:
    told = "of the ablation's 1 networks the least fooled, relog, is fooled on"
    cell = shortest("relog", [1.0] * N)
    assert answers(board(cell))[1].startswith(f"False: {told} 40 of the 40 examples that it has right")
    clean = replace(cell.per_example, correct_clean=[0] * 4 + [1] * 36)
    assert f"{told} 36 of the 36" in answers(board(replace(cell, per_example=clean)))[1], (
        "a clean error was not fooled by the attack"
    )
    none_right = replace(cell.per_example, correct_clean=[0] * N)
    assert answers(board(replace(cell, per_example=none_right)))[1] == MISSING.verdict
    half = replace(cell, outcome=replace(cell.outcome, unfooled=0.5))
    half = replace(half, per_example=replace(half.per_example, found=[0, 1] * 20))
    assert answers(board(half))[1].startswith(f"It stands: {told} 20 of the 40 examples that it has right")


def test_a_reward_helps_where_distances_grow_beyond_chance() -> None:
    base = "relog-minmaxout_4_2"
    near, far = [1 + 0.01 * at for at in range(N)], [1.2 + 0.01 * at for at in range(N)]
    boards = board(
        shortest(base, near),
        fixed(base, "fgsm", 20),
        shortest(f"{base}-max_fit_l2_1", far),
        fixed(f"{base}-max_fit_l2_1", "fgsm", 21),
    )
    assert answers(boards)[2].startswith(
        "It stands: of 1 pairs the reward lengthens C&W's distances in 1 and shortens them in 0; accuracy under FGSM rises in 0"
    )
    page = claims.page(boards)
    assert "+0.200 *" in page
    assert re.search(r"\+2\.5 \[-\d+\.\d, \+\d+\.\d\] +\|", page), "one example more is chance"
    assert "50.0 → 52.5" in page


@pytest.mark.parametrize(("wrong", "said"), [((0, 0), "It stands"), ((N, 0), "In part"), ((N, N), "False")])
def test_sigmoid_heads_with_negatives_are_held_against_their_confident_errors(wrong: tuple[int, int], said: str) -> None:
    head = f"{QUADRATIC}-sigmoid_out"
    counts = {"relu": N, head: N, f"{head}-overlay": wrong[0], f"{head}-scrambling": wrong[1]}
    cells = [
        with_confidences(
            make_cell(name, "max_confidence", correct=[1] * N, fooled=[1] * N, dataset="cifar10", eps=8 / 255),
            [0.9] * N,
            [0.8] * count + [0.4] * (N - count),
        )
        for name, count in counts.items()
    ]
    assert answers(board(*cells))[3].startswith(f"{said}: of the attacked examples the two with negatives are wrong")
    assert answers(board(*cells[:3]))[3] == MISSING.verdict


def test_sizes_are_compared_by_rank() -> None:
    shrinking = [shortest(name, [3.0 - at] * N, parameters=10 ** (at + 1)) for at, name in enumerate(SIZES)]
    assert answers(board(*shrinking))[4].startswith("Yes: smaller networks are farther from their errors")
    growing = [shortest(name, [1.0 + at] * N, parameters=10 ** (at + 1)) for at, name in enumerate(SIZES)]
    assert answers(board(*growing))[4].startswith("No: larger")
    assert answers(board(*growing[:4]))[4] == MISSING.verdict


def test_seeds_show_their_range() -> None:
    cells = [
        cell for at, name in enumerate(SEEDS) for cell in (fixed(name, "fgsm", 10 + at % 5), shortest(name, [1.0 + at % 5] * N))
    ]
    page = claims.page(board(*cells))
    assert "| relu " in page.split("## 6.")[1]
    assert "25.0–35.0" in page
    assert "1.000–5.000" in page


def test_units_help_where_more_stand_in_the_worst_case_than_chance_allows() -> None:
    def pair(more: int) -> list[Board]:
        names = {"relu-pgd_at": 20, "relog-maxout_4-pgd_at": 20 + more}
        return board(*(fixed(name, attack, robust) for name, robust in names.items() for attack in ("bim", "worst_case")))

    assert answers(pair(15))[6].startswith(
        "Yes: in the worst case relog-maxout_4-pgd_at keeps 37.5 points more than relu-pgd_at (+37.5 ["
    )
    assert answers(pair(-15))[6].startswith(
        "No, they cost it: in the worst case relog-maxout_4-pgd_at keeps 37.5 points less than relu-pgd_at (-37.5 ["
    )
    assert answers(pair(1))[6].startswith("Not beyond chance")
    assert answers(board(*(fixed(name, "bim", 20) for name in ("relu-pgd_at", "relog-maxout_4-pgd_at"))))[6] == MISSING.verdict
    names = ("relu-pgd_at", "relog-maxout_4-pgd_at")
    broken = [make_cell(name, "fgsm", correct=[1] * N, fooled=[0] * N, failures=N, dataset="mnist", eps=0.3) for name in names]
    whole = [fixed(name, attack, 20) for name in names for attack in ("bim", "worst_case")]
    assert answers(board(*whole, *broken))[6] == MISSING.verdict, "an attack that failed leaves a bound, which answers nothing"
    assert answers(pair(15))[7] == MISSING.verdict, "CIFAR-10 has its own"


def test_the_ablation_names_every_variant_of_the_plan_and_what_is_missing() -> None:
    cards = {name: card for name, card in read_cards().items() if name != "mnist/relog"}
    text = ablation.page(board(fixed("relu", "fgsm", 4), fixed("relu", "bim", 0)), cards)
    for names in ABLATIONS.values():
        assert all(f"| {name} " in text for name in names)
    (line,) = (line for line in text.splitlines() if line.startswith("| relu ") and "184,810" in line)
    assert "3,869,952" in line
    assert f"{100 * read_cards()['mnist/relu'].clean_accuracy:.2f}" in line, "over the whole test set"
    assert "87.2–90.8" in next(line for line in text.splitlines() if line.startswith("| relu ") and "184,810" not in line)
    assert set(ablation.LOGGED) <= {f"{dataset}/{name}" for dataset, names in ABLATIONS.items() for name in names}
    assert "10.0 [" in line
    assert "missing" in line
    assert "untrained" in text


def test_an_attack_that_failed_answers_nothing() -> None:
    # All forty "withstand" an attack that raised on each of them.
    broken = make_cell("relog-maxout_4", "fgsm", correct=[1] * N, fooled=[0] * N, failures=N, dataset="mnist", eps=0.3)
    whole = [fixed(name, "fgsm", 5) for name in ("relu", "relog", "relu_relog")]
    assert answers(board(broken, *whole))[0].startswith("Not even under FGSM")
    assert answers(board(replace(broken, model=replace(broken.model, name="relog")), whole[0], whole[2]))[0] == MISSING.verdict
    cell = shortest("relog", [1.0] * N)
    failed = replace(cell, outcome=replace(cell.outcome, unfooled=1.0, upper_bound_only=True, n_attack_failures=N))
    assert answers(board(failed))[1] == MISSING.verdict


def test_a_marked_model_is_marked_where_its_number_stands() -> None:
    plain = make_cell("relog", "fgsm", correct=[1] * N, fooled=[1] * N, dataset="mnist", eps=0.3, output="probabilities")
    page = claims.page(board(plain, fixed("relu", "fgsm", 4), fixed("relog-maxout_4", "fgsm", 6)))
    assert re.search(r"\| relog ▲ +\|", page)
    assert re.search(r"\| relog-maxout_4 +\|", page)
