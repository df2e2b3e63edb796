"""The house: which room knows which, what the attacks must not touch, and how long files and functions may be."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("attacks", "models", "benchmark")
FILES = [path for room in (*ROOMS, "src") for path in sorted((ROOT / room).rglob("*.py"))]
FORBIDDEN_ROOMS = {
    "attacks": ("robustboard.models", "robustboard.benchmark"),
    "models": ("robustboard.attacks", "robustboard.benchmark"),
}
NO_BUSINESS_OF_ATTACKS = ("click", "argparse", "pathlib", "os", "io", "sys", "logging", "tqdm", "subprocess", "shutil")
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, those in functions included; `from a import b` counts as a and a.b."""
    package = "robustboard." + ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            module = f"{above}.{node.module}".rstrip(".") if node.level else node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def of_room(*rooms: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(ROOT).parts[0] in rooms]


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_there_is_a_house() -> None:
    for room in ROOMS:
        assert len(of_room(room)) > 3


@pytest.mark.parametrize("path", of_room("attacks", "models"), ids=name)
def test_arrows_point_one_way(path: Path) -> None:
    forbidden = FORBIDDEN_ROOMS[path.relative_to(ROOT).parts[0]]
    assert [module for module in imported(path) if is_within(module, forbidden)] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_rooms_are_imported_by_their_full_names(path: Path) -> None:
    # `from models import …` must find a researcher's own package, never ours.
    assert [module for module in imported(path) if is_within(module, ROOMS)] == []


@pytest.mark.parametrize("path", of_room("attacks"), ids=name)
def test_attacks_are_pure_tensor_code(path: Path) -> None:
    called = [node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert {"open", "print", "input", "exec", "eval"}.isdisjoint(called)
    assert [module for module in imported(path) if is_within(module, NO_BUSINESS_OF_ATTACKS)] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_file_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))
    assert docstring
    assert docstring.splitlines()[0].strip()


def test_the_list_of_packages_is_that_of_the_folders_with_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for path in of_room(*ROOMS)}
    # A listed folder without code does not survive a clone, and the package would not install.
    assert listed == {"robustboard", *(".".join(("robustboard", *folder.parts)) for folder in folders)}
    for folder in folders:
        assert (ROOT / folder / "__init__.py").is_file(), folder


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_file_and_no_function_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {function: length for function, length in lengths.items() if length > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_is_loaded_that_can_run_code(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert options.get("weights_only") == "True", f"line {node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert options.get("allow_pickle") == "False", f"line {node.lineno}"
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("pickle.load", "pickle.loads"), f"line {node.lineno}"
