"""The contract of result files: what is written reads back the same, and what is not a result is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handmade import make_cell, make_manifest
from robustboard.benchmark import records, results
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.records import CellResult, NotRun
from robustboard.benchmark.results import read_cell, read_folder, read_manifest, read_manifests, write_cell, write_manifest


@given(
    flags=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20),
    model=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10),
    eps=st.floats(0, 1),
    parameter=st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cell_reads_back_as_it_was_written(
    tmp_path: Path, flags: list[tuple[bool, bool]], model: str, eps: float, parameter: float | int | str
) -> None:
    correct, fooled = zip(*flags, strict=True)
    cell = make_cell(model, correct=correct, fooled=fooled, eps=eps, params={"p": parameter})
    write_cell(cell, tmp_path / "cell.json")
    assert read_cell(tmp_path / "cell.json") == cell


def test_a_written_cell_is_plain_json_with_a_line_a_field(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "cell.json"
    write_cell(make_cell(), path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert list(content) == [field.name for field in fields(CellResult)]
    assert len(path.read_text(encoding="utf-8").splitlines()) > 60
    assert [other.name for other in path.parent.iterdir()] == ["cell.json"]  # nothing unfinished is left


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return apply


DAMAGES: dict[str, Callable[[Path], object]] = {
    "extra field": changed(lambda cell: cell.update(surprise=1)),
    "extra field in a block": changed(lambda cell: cell["outcome"].update(surprise=1)),
    "missing block": changed(lambda cell: cell.pop("cost")),
    "missing field": changed(lambda cell: cell["outcome"].pop("n_fooled")),
    "a word for a number": changed(lambda cell: cell["outcome"].update(n_fooled="many")),
    "a number in quotes": changed(lambda cell: cell["outcome"].update(n_fooled="5")),
    "a truth value for a number": changed(lambda cell: cell["dataset"].update(n=True)),
    "a fraction for a count": changed(lambda cell: cell["outcome"].update(n=20.5)),
    "null for a number": changed(lambda cell: cell["outcome"].update(robust_accuracy=None)),
    "NaN": changed(lambda cell: cell["outcome"].update(robust_accuracy=float("nan"))),
    "NaN among the distances": changed(lambda cell: cell["per_example"]["distance"].__setitem__(0, float("nan"))),
    "infinity": changed(lambda cell: cell["cost"].update(seconds=float("inf"))),
    "a flag of 2": changed(lambda cell: cell["per_example"]["fooled"].__setitem__(0, 2)),
    "another schema": changed(lambda cell: cell.update(schema="robustboard/cell/2")),
    "an unknown norm": changed(lambda cell: cell["attack"].update(norm="l1")),
    "a list": lambda path: path.write_text("[]", encoding="utf-8"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(b"\x80\x04\xff"),
    "deeply nested": lambda path: path.write_text("[" * 100_000, encoding="utf-8"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_not_a_result_is_refused_by_name_in_one_line(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "cell.json"
    write_cell(make_cell(), path)
    damage(path)
    with pytest.raises(InputError, match=r"cell\.json is no result of this program: ") as trouble:
        read_cell(path)
    assert "\n" not in str(trouble.value)


CONTRADICTIONS: dict[str, Callable[[Path], object]] = {
    "lists of different lengths": changed(lambda cell: cell["per_example"]["fooled"].pop()),
    "more examples than rows": changed(lambda cell: cell["outcome"].update(n=21)),
    "no examples at all": changed(
        lambda cell: (cell["outcome"].update(n=0), [values.clear() for values in cell["per_example"].values()])
    ),
    "an accuracy over 1": changed(lambda cell: cell["outcome"].update(robust_accuracy=1.7)),
}


@pytest.mark.parametrize("damage", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_result_that_contradicts_itself_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    # What reads as a result is put into tables: a contradiction would end a report in a traceback, or worse, not end it.
    path = tmp_path / "cell.json"
    write_cell(make_cell(), path)
    damage(path)
    with pytest.raises(InputError, match=r"cell\.json"):
        read_cell(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match="is no result of this program"):
            read_cell(path)


def test_the_first_wrong_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    write_cell(make_cell(), path)
    DAMAGES["a word for a number"](path)
    with pytest.raises(InputError, match=r"outcome\.n_fooled: "):
        read_cell(path)


def test_the_schema_describes_every_field(tmp_path: Path) -> None:
    results.write_schema(tmp_path)
    schema = json.loads((tmp_path / results.SCHEMA_FILE).read_text(encoding="utf-8"))
    blocks = {"CellResult": schema, **schema["$defs"]}
    seen = 0
    for name, block in blocks.items():
        kind = getattr(records, name)
        assert is_dataclass(kind)
        assert set(block["properties"]) == {field.name for field in fields(kind)}
        # What older files do not have is the only thing that may be absent.
        assert set(block["properties"]) - set(block["required"]) <= {"joined", "code", "candidates"}
        assert block["additionalProperties"] is False
        for field, content in block["properties"].items():
            assert content.get("description", "").endswith("."), f"{name}.{field}"
            seen += 1
    assert seen > 50


def test_a_file_in_the_way_of_the_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for path in (tmp_path / "file" / "cell.json", tmp_path / "file" / "deeper" / "cell.json"):
        with pytest.raises(InputError, match=r"cannot write .*cell\.json: .*choose another folder with --out"):
            write_cell(make_cell(), path)


def test_a_folder_in_the_way_of_the_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "cell.json" / "inside").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot write"):
        write_cell(make_cell(), tmp_path / "cell.json")
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cell.json"
    write_cell(make_cell(), path)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_cell(make_cell("relog"), path)
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == ["cell.json"]


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "standard"
    manifest = make_manifest({"digits": {"relu": ["fgsm", "bim"]}}, [NotRun("mnist", "", "no data")])
    write_manifest(manifest, folder)
    assert read_manifest(folder) == manifest
    assert read_manifests(tmp_path) == ([manifest], [])
    assert read_manifest(tmp_path) is None
    (folder / results.MANIFEST_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json is no manifest of this program"):
        read_manifest(folder)


def test_a_folder_gives_its_cells_and_names_what_is_none(tmp_path: Path) -> None:
    write_cell(make_cell(), tmp_path / "digits" / "relu" / "bim.json")
    write_cell(make_cell(attack="fgsm"), tmp_path / "digits" / "relu" / "fgsm.json")
    write_manifest(make_manifest({}), tmp_path)
    results.write_schema(tmp_path)
    (tmp_path / "digits" / "damaged.json").write_text("{", encoding="utf-8")
    (tmp_path / "foreign.json").write_text('{"a": 1}', encoding="utf-8")
    cells, troubles = read_folder(tmp_path)
    assert [cell.attack.name for cell in cells] == ["bim", "fgsm"]
    assert len(troubles) == 2
    assert "damaged.json" in troubles[0]
    assert "foreign.json" in troubles[1]
    assert (tmp_path / "foreign.json").read_text(encoding="utf-8") == '{"a": 1}'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda cell: cell["outcome"].update(robust_accuracy=0.95), "outcome.robust_accuracy is 0.95, but 0.75 by its examples"),
        (lambda cell: cell["outcome"].update(clean_accuracy=0.5), "outcome.clean_accuracy is 0.5, but 1 by its examples"),
        (lambda cell: cell["per_example"].update(index=[0] * 20), "per_example.index is not dataset.indices"),
    ],
)
def test_a_cell_whose_numbers_are_not_those_of_its_examples_is_left_out(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    write_cell(make_cell(), tmp_path / "cell.json")
    changed(change)(tmp_path / "cell.json")
    cells, (trouble,) = read_folder(tmp_path)
    assert cells == []
    assert told in trouble


def test_what_is_hidden_and_the_data_of_pages_are_no_results(tmp_path: Path) -> None:
    cell = make_cell()
    for place in ("kept/cell.json", ".drawn/cell.json", "site/data/cell.json"):
        write_cell(cell, tmp_path / place)
        write_manifest(make_manifest({}), (tmp_path / place).parent)
    (tmp_path / "site" / results.SITE_FILE).write_text("{}", encoding="utf-8")
    assert read_folder(tmp_path) == ([cell], [])
    assert len(read_manifests(tmp_path)[0]) == 1
    assert len(read_folder(tmp_path / "site" / "data")[0]) == 1, "who names the folder wants it"
