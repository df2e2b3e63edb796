"""Side by side: paired differences where two things are alike, a refusal that names the difference where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from handmade import make_cell
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.report.compare import compare, compare_cells
from robustboard.benchmark.results import write_cell
from robustboard.benchmark.statistics import paired_difference

WEAK = [1] * 12 + [0] * 8
STRONG = [0] * 10 + [1] * 3 + [0] * 7


def save(folder: Path, *cells: CellResult) -> str:
    for cell in cells:
        name = f"{cell.attack.name}.json"
        write_cell(cell, folder / cell.protocol.name / cell.dataset.name / cell.model.name / name)
    return str(folder)


def rows(table: str) -> list[list[str]]:
    """The cells of the table's body; columns stand two blanks or more apart."""
    lines = table.split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[word.strip() for word in line.split("  ") if word.strip()] for line in lines]


def test_differences_are_those_of_the_examples() -> None:
    a, b = make_cell("a", fooled=WEAK), make_cell("b", fooled=STRONG)
    found = compare_cells("bim", a, b)
    assert (found.n, found.a, found.b) == (20, 0.4, 0.85)
    # Examples 0 to 9 are gained (fooled in a, not in b), 12 is lost; 10 and 11 are fooled in both.
    assert found.paired == paired_difference([0] * 12 + [1] * 8, [1] * 10 + [0] * 3 + [1] * 7)
    assert found.paired.difference == pytest.approx(0.45)
    assert compare_cells("bim", b, a).paired.difference == pytest.approx(-0.45)


def test_clean_errors_are_not_robust_on_either_side() -> None:
    correct = [0] * 5 + [1] * 15
    found = compare_cells("bim", make_cell("a", correct=correct, fooled=[0] * 20), make_cell("b", fooled=[0] * 20))
    assert (found.a, found.b) == (0.75, 1.0)


def test_a_model_against_itself_differs_by_nothing(tmp_path: Path) -> None:
    save(tmp_path, make_cell("a"))
    (row,) = rows(compare("digits/a", "digits/a", tmp_path))
    assert row[-1] == "1"
    assert row[-2].startswith("+0.0 [-")


def test_two_models_of_one_folder(tmp_path: Path) -> None:
    save(
        tmp_path,
        make_cell("a", fooled=WEAK),
        make_cell("b", fooled=STRONG),
        make_cell("a", "fgsm"),
        make_cell("b", "fgsm"),
        make_cell("a", "cw"),
    )
    table = compare("digits/a", "digits/b", tmp_path)
    found = {row[0]: row[1:4] for row in rows(table)}
    assert found["bim"] == ["20", "40.0", "85.0"]
    assert set(found) == {"bim", "fgsm"}
    assert "A: digits/a" in table
    assert "B: digits/b" in table


def test_two_folders(tmp_path: Path) -> None:
    first = save(tmp_path / "first", make_cell("a", fooled=WEAK), make_cell("a", dataset="mnist"))
    second = save(tmp_path / "second", make_cell("a", fooled=STRONG), make_cell("c"))
    (row,) = rows(compare(first, second, tmp_path / "unused"))
    assert row[:4] == ["standard/digits/a/bim", "20", "40.0", "85.0"]


def test_two_folders_of_several_protocols_compare_like_with_like(tmp_path: Path) -> None:
    # `--out` holds a folder a protocol: cells of one model and attack stand there once for each.
    cells = [make_cell("a", protocol="quick"), make_cell("a", protocol="standard")]
    first, second = save(tmp_path / "first", *cells), save(tmp_path / "second", cells[0])
    (row,) = rows(compare(first, second, tmp_path))
    assert row[1] == "20"


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"params": {"steps": 10}}, "bim: steps 40 against 10"),
        ({"eps": 0.1}, "bim: eps 0.2 against 0.1"),
        ({"fingerprint": "0" * 64}, "bim: examples ffffffffffff against 000000000000"),
        ({"protocol": "quick"}, "bim: protocol standard against quick"),
        ({"version": 2}, "bim: protocol version 1 against 2"),
        ({"correct": [1] * 4, "fooled": [0] * 4}, "bim: n 20 against 4"),
    ],
)
def test_unlike_things_are_refused_with_the_difference_named(tmp_path: Path, changes: dict[str, object], difference: str) -> None:
    save(tmp_path, make_cell("a"), make_cell("b", **changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"bim cannot be compared: {difference}"):
        compare("digits/a", "digits/b", tmp_path)


def test_models_of_two_data_sets_are_refused(tmp_path: Path) -> None:
    save(tmp_path, make_cell("a"), make_cell("a", dataset="mnist"))
    with pytest.raises(InputError, match="bim: data set digits against mnist"):
        compare("digits/a", "mnist/a", tmp_path)


def test_an_unknown_model_suggests_the_nearest(tmp_path: Path) -> None:
    save(tmp_path, make_cell("relog"), make_cell("relu"))
    with pytest.raises(InputError, match=r"no results of a model 'digits/relgo', did you mean 'digits/relog'\?"):
        compare("digits/relgo", "digits/relu", tmp_path)


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    first, second = save(tmp_path / "first", make_cell("a")), save(tmp_path / "second", make_cell("b", "fgsm"))
    with pytest.raises(InputError, match=r"have no cell in common"):
        compare(first, second, tmp_path)
    save(tmp_path / "both", make_cell("a"), make_cell("b", "fgsm"))
    with pytest.raises(InputError, match="have no cell in common"):
        compare("digits/a", "digits/b", tmp_path / "both")


def test_a_folder_without_results_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="there are no results in"):
            compare("digits/a", "digits/b", folder)
