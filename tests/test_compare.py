"""Side by side: which cells meet, what is refused and what is told, and what the command prints and exits with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Command
from handmade import make_cell
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.compare.differences import Comparison, compare_sides
from robustboard.benchmark.report.compare.page import as_json, render
from robustboard.benchmark.report.compare.sides import read_sides
from robustboard.benchmark.results import write_cell

WEAK = [1] * 12 + [0] * 8
STRONG = [0] * 10 + [1] * 3 + [0] * 7


def save(folder: Path, *cells: CellResult) -> str:
    for cell in cells:
        name = f"{cell.attack.name.replace(':', '-')}.json"
        write_cell(cell, folder / cell.protocol.name / cell.dataset.name / cell.model.name / name)
    return str(folder)


def compared(a: str, b: str, results: Path = Path("unused"), *attacks: str) -> dict[str, Comparison]:
    return {each.label: each for each in compare_sides(read_sides(a, b, results, attacks))}


def shown(a: str, b: str, results: Path) -> str:
    sides = read_sides(a, b, results)
    return render(a, b, sides, compare_sides(sides), results)


def accuracies(found: Comparison) -> tuple[int, float, float]:
    return found.n, found.a.value, found.b.value


def test_two_models_of_one_folder(tmp_path: Path) -> None:
    save(
        tmp_path,
        make_cell("a", fooled=WEAK),
        make_cell("b", fooled=STRONG),
        make_cell("a", "fgsm"),
        make_cell("b", "fgsm"),
        make_cell("a", "cw"),
    )
    found = compared("digits/a", "digits/b", tmp_path)
    assert set(found) == {"bim", "fgsm"}
    assert accuracies(found["bim"]) == (20, 0.4, 0.85)
    text = shown("digits/a", "digits/b", tmp_path)
    assert text.startswith("A: digits/a\nB: digits/b\n")
    assert "only in A: cw" in text


def test_two_folders(tmp_path: Path) -> None:
    first = save(tmp_path / "first", make_cell("a", fooled=WEAK), make_cell("a", dataset="mnist"))
    second = save(tmp_path / "second", make_cell("a", fooled=STRONG), make_cell("c"))
    found = compared(first, second)
    assert set(found) == {"standard/digits/a/bim"}
    assert accuracies(found["standard/digits/a/bim"]) == (20, 0.4, 0.85)
    text = shown(first, second, tmp_path)
    assert "only in A: standard/mnist/a/bim" in text
    assert "only in B: standard/digits/c/bim" in text


def test_two_folders_of_several_protocols_compare_like_with_like(tmp_path: Path) -> None:
    # `--out` holds a folder a protocol: cells of one model and attack stand there once for each.
    cells = [make_cell("a", protocol="quick"), make_cell("a", protocol="standard")]
    first, second = save(tmp_path / "first", *cells), save(tmp_path / "second", cells[0])
    assert set(compared(first, second)) == {"quick/digits/a/bim"}


def test_two_attacks_on_one_model_and_two_implementations_of_one(tmp_path: Path) -> None:
    theirs = {"implementation": "torchattacks 3.5.1", "params": {"steps": 10, "c": 1.0}, "eps": 2.0}
    save(
        tmp_path,
        make_cell("a", "cw", fooled=WEAK, eps=2.0),
        make_cell("a", "torchattacks:cw", fooled=STRONG, **theirs),  # type: ignore[arg-type]
        make_cell("a", "bim"),
        make_cell("a", "fgsm"),
        make_cell("b", "bim", fooled=WEAK),
    )
    (found,) = compared("digits/a:cw", "digits/a:torchattacks:cw", tmp_path).values()
    assert found.label == "cw → torchattacks:cw"
    assert accuracies(found) == (20, 0.4, 0.85)
    assert {str(change) for change in found.changes} == {
        "implementation robustboard against torchattacks 3.5.1",
        "steps 40 against 10",
        "c absent against 1.0",
    }
    assert set(compared("digits/a:bim", "digits/a:fgsm", tmp_path)) == {"bim → fgsm"}
    assert set(compared("digits/a:bim", "digits/b:bim", tmp_path)) == {"bim"}


def test_a_models_name_may_hold_a_colon(tmp_path: Path) -> None:
    save(tmp_path, make_cell("a"), make_cell("a:bim", fooled=WEAK), make_cell("a:bim", "fgsm"))
    assert set(compared("digits/a:bim:bim", "digits/a:bim:fgsm", tmp_path)) == {"bim → fgsm"}
    assert accuracies(compared("digits/a:bim", "digits/a", tmp_path)["bim"]) == (20, 0.4, 0.75)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ("digits/a:bim", "digits/b:fgsm", "differ in the model and in the attack: change one at a time"),
        ("digits/a:bim", "digits/b", "digits/a:bim names an attack and digits/b does not: name one on both sides"),
        ("digits/a:bmi", "digits/a:bim", "no results of 'bmi' on digits/a, did you mean 'bim'.; there are bim"),
        ("digits/relgo", "digits/relog", "no results of a model 'digits/relgo', did you mean 'digits/relog'"),
        (".", "digits/a", ". is a folder and digits/a is none: name two folders, or two models"),
    ],
)
def test_names_that_mean_nothing_together_are_refused(tmp_path: Path, a: str, b: str, said: str) -> None:
    save(tmp_path, make_cell("a"), make_cell("b", "fgsm"), make_cell("relog"))
    with pytest.raises(InputError, match=said):
        read_sides(a, b, tmp_path)


UNLIKE_QUESTIONS = [
    ({"eps": 0.1}, "eps 0.2 against 0.1"),
    ({"fingerprint": "0" * 64}, "examples ffffffffffff against 000000000000"),
    ({"correct": [1] * 4, "fooled": [0] * 4}, "n 20 against 4"),
]
UNLIKE_STRENGTHS = [
    ({"params": {"steps": 10}}, "steps 40 against 10"),
    ({"version": 2}, "protocol version 1 against 2"),
    ({"seed": 7}, "seed 0 against 7"),
    ({"implementation": "foolbox"}, "implementation robustboard against foolbox"),
]


@pytest.mark.parametrize(("changes", "difference"), [*UNLIKE_QUESTIONS, *UNLIKE_STRENGTHS, ({"protocol": "quick"}, "protocol")])
def test_models_under_unlike_attacks_are_refused(tmp_path: Path, changes: dict[str, object], difference: str) -> None:
    save(tmp_path, make_cell("a"), make_cell("b", **changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"bim cannot be compared: {difference}.*--attacks"):
        compared("digits/a", "digits/b", tmp_path)


@pytest.mark.parametrize(("changes", "difference"), UNLIKE_QUESTIONS)
def test_folders_of_unlike_questions_are_refused(tmp_path: Path, changes: dict[str, object], difference: str) -> None:
    first = save(tmp_path / "1", make_cell("a"))
    second = save(tmp_path / "2", make_cell("a", **changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"standard/digits/a/bim cannot be compared: {difference}"):
        compared(first, second)


@pytest.mark.parametrize(("changes", "difference"), UNLIKE_STRENGTHS)
def test_folders_of_unlike_strength_tell_it(tmp_path: Path, changes: dict[str, object], difference: str) -> None:
    first = save(tmp_path / "1", make_cell("a"), make_cell("a", "fgsm"))
    second = save(tmp_path / "2", make_cell("a", **changes), make_cell("a", "fgsm"))  # type: ignore[arg-type]
    found = compared(first, second)
    assert difference in {str(change) for change in found["standard/digits/a/bim"].changes}
    assert found["standard/digits/a/fgsm"].changes == ()
    what, first_value, _, second_value = difference.rsplit(" ", 3)
    assert f"  {what}: {first_value} → {second_value} (standard/digits/a/bim)\n" in shown(first, second, tmp_path)


def test_other_weights_and_another_environment_are_told_once(tmp_path: Path) -> None:
    cells = [make_cell("a"), make_cell("a", "fgsm")]
    later = [
        replace(
            cell,
            model=replace(cell.model, weights_sha256="b" * 64),
            environment=replace(cell.environment, torch="2.7", git_commit="c" * 40, git_dirty=True),
        )
        for cell in cells
    ]
    text = shown(save(tmp_path / "1", *cells), save(tmp_path / "2", *later), tmp_path)
    assert text.count("torch: 2.6 → 2.7\n") == 1
    assert text.count(f"weights: {'a' * 12} → {'b' * 12}\n") == 1
    assert text.count(f"commit: unknown → {'c' * 12} with changes\n") == 1


def test_a_cell_that_cannot_be_compared_can_be_left_out(tmp_path: Path) -> None:
    first = save(tmp_path / "1", make_cell("a"), make_cell("a", "fgsm"))
    second = save(tmp_path / "2", make_cell("a"), make_cell("a", "fgsm", eps=0.1))
    with pytest.raises(InputError, match="fgsm cannot be compared"):
        compared(first, second)
    assert set(compared(first, second, Path("unused"), "bim")) == {"standard/digits/a/bim"}
    with pytest.raises(InputError, match=r"no results of 'bmi' in .* did you mean 'bim'"):
        compared(first, second, Path("unused"), "bmi")


def test_models_of_two_data_sets_are_refused(tmp_path: Path) -> None:
    save(tmp_path, make_cell("a"), make_cell("a", dataset="mnist"))
    with pytest.raises(InputError, match="bim cannot be compared: data set digits against mnist"):
        compared("digits/a", "mnist/a", tmp_path)


def test_two_results_of_one_cell_are_not_chosen_from(tmp_path: Path) -> None:
    older, newer = make_cell("a"), replace(make_cell("a", version=2), identity="1" * 64)
    save(tmp_path / "both" / "1", older)
    save(tmp_path / "both" / "2", newer)
    second = save(tmp_path / "other", older)
    with pytest.raises(InputError, match="two different results of standard/digits/a/bim: name the folder of one run"):
        compared(str(tmp_path / "both"), second)


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    first, second = save(tmp_path / "first", make_cell("a")), save(tmp_path / "second", make_cell("b", "fgsm"))
    with pytest.raises(InputError, match=r"no cell in common: A holds standard v1 digits \(bim\), B holds .* \(fgsm\)"):
        compared(first, second)
    save(tmp_path / "both", make_cell("a"), make_cell("b", "fgsm"))
    with pytest.raises(InputError, match="have no cell in common"):
        compared("digits/a", "digits/b", tmp_path / "both")


def test_a_folder_without_results_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="there are no results in"):
            compared("digits/a", "digits/b", folder)


def test_marks_and_files_that_do_not_read_are_named(tmp_path: Path) -> None:
    save(tmp_path, make_cell("a", failures=2), make_cell("b"))
    (tmp_path / "damaged.json").write_text("{", encoding="utf-8")
    text = shown("digits/a", "digits/b", tmp_path)
    assert "▲ A: digits/a: bim failed on 2 of 20 examples" in text
    assert "left alone:" in text
    assert "damaged.json" in text


def test_cells_of_older_weights_are_left_out_and_said(tmp_path: Path) -> None:
    # After retraining only bim was run again: fgsm is of a network that is no more.
    newer = make_cell("a", fooled=STRONG, weights="b" * 64)
    newer = replace(newer, environment=replace(newer.environment, finished="2025-01-01T00:00:00+00:00"))
    save(tmp_path, newer, make_cell("a", "fgsm"), make_cell("b"), make_cell("b", "fgsm"))
    assert set(compared("digits/a", "digits/b", tmp_path)) == {"bim"}
    text = shown("digits/a", "digits/b", tmp_path)
    assert "▲ A: digits/a: fgsm was run on other weights and is not shown: run it again." in text
    assert "only in B: fgsm" in text


def test_hostile_names_stay_in_their_line(tmp_path: Path) -> None:
    name = "<script>\n\x1b[2J" + "x" * 200
    for at, cell in enumerate([make_cell(name, fooled=WEAK), make_cell("b")]):
        write_cell(cell, tmp_path / f"{at}.json")
    text = shown(f"digits/{name}", "digits/b", tmp_path)
    assert "\x1b" not in text
    assert text.splitlines()[0].startswith("A: digits/<script> \\x1b[2Jxxx")


def test_json_holds_every_flip(command: Command, tmp_path: Path) -> None:
    save(tmp_path, make_cell("a", fooled=WEAK, aim="minimum"), make_cell("b", fooled=[0] * 20, aim="minimum"))
    answer = command("compare", "digits/a", "digits/b", "--results", tmp_path, "--json")
    found = json.loads(answer.out)
    (cell,) = found["cells"]
    assert cell["gained"] == list(range(12))
    assert cell["lost"] == []
    assert cell["a"]["value"] == 0.4
    assert cell["lengths"]["b"] is None, "none of B was ever fooled: the median is not finite"
    assert "12 more" not in answer.out
    assert "and 4 more" in command("compare", "digits/a", "digits/b", "--results", tmp_path).out
    sides = read_sides("digits/a", "digits/b", tmp_path)
    assert as_json("digits/a", "digits/b", sides, compare_sides(sides))["kind"] == "models"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 0),
        (["--fail-if-worse", "100"], 0),
        (["--fail-if-worse", "30"], 0),
        (["--fail-if-worse", "29.9"], 1),
        (["--fail-if-worse", "29.9", "--worse-by", "interval"], 0),
        (["--fail-if-worse", "3", "--worse-by", "interval"], 1),
        (["--fail-if-worse", "0"], 1),
        (["--fail-if-worse", "0", "--json"], 1),
        (["--fail-if-worse", "-1"], 2),
        (["--fail-if-worse", "nan"], 2),
        (["--fail-if-worse", "0", "--attacks", "fgsm"], 0),
        (["--fail-if-worse", "0", "--attacks", "bmi"], 2),
    ],
)
def test_exit_codes(command: Command, tmp_path: Path, words: list[str], code: int) -> None:
    # B loses six of twenty under bim, 30 points, and nothing under fgsm; Newcombe's interval ends near −10 points.
    cells = [make_cell("a", fooled=[0] * 20), make_cell("b", fooled=[1] * 6 + [0] * 14), make_cell("a", "fgsm")]
    save(tmp_path, *cells, make_cell("b", "fgsm"))
    answer = command("compare", "digits/a", "digits/b", "--results", tmp_path, *words)
    assert answer.code == code
    assert ("worse: B is more than" in answer.err) == (code == 1)
    assert ("fgsm" in answer.out) == (code != 2)


def test_a_bound_cannot_pass_the_gate(command: Command, tmp_path: Path) -> None:
    save(tmp_path, make_cell("a"), make_cell("b", failures=1))
    answer = command("compare", "digits/a", "digits/b", "--results", tmp_path, "--fail-if-worse", "5")
    assert answer.code == 2
    assert "whether B is worse cannot be told: bim failed on some examples" in answer.err
    assert "the attack failed" in answer.out
