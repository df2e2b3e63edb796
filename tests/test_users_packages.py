"""A user's file and the package beside it: what it imports is hers, whatever the checkout's own folders are called."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import ROOT, put
from robustboard.benchmark.subjects import user_subject
from robustboard.benchmark.user_files import call, code_of

OWN_PACKAGE = "from torch import nn\n\ndef make(classes=10):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
OWN_FILE = "from models import make\n\ndef build():\n    return make()\n"


@pytest.mark.parametrize("on_path", [False, True], ids=["", "her folder is on the path already"])
def test_a_users_own_package_named_models_is_the_one_found(tmp_path: Path, on_path: bool) -> None:
    # From the checkout, whose own folder is called `models` and comes first on the path of `python -c`.
    put(tmp_path / "models" / "__init__.py", OWN_PACKAGE)
    own = put(tmp_path / "mine.py", OWN_FILE)
    words = [
        "run",
        "--dataset",
        "digits",
        "--n",
        "4",
        "--attacks",
        "fgsm",
        "--device",
        "cpu",
        "--model",
        f"{own}:build",
        "--out",
        str(tmp_path / "out"),
    ]
    script = "from robustboard.benchmark.cli import main; main()"
    environment = {**os.environ, **({"PYTHONPATH": str(tmp_path)} if on_path else {})}
    answer = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "out" / "standard@4" / "digits" / f"{tmp_path.name}.mine.build" / "fgsm.json").is_file()


LATE_FILE = "def build():\n    from models import make\n    return make()\n"


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("text", [OWN_FILE, LATE_FILE], ids=["imported above", "imported when called"])
def test_two_users_files_each_find_their_own_package(tmp_path: Path, text: str) -> None:
    for name, classes in (("first", 10), ("second", 7)):
        put(tmp_path / name / "models" / "__init__.py", OWN_PACKAGE.replace("classes=10", f"classes={classes}"))
        put(tmp_path / name / "mine.py", text)
    answers = [
        user_subject(f"{tmp_path / name / 'mine.py'}:build", "digits", "softmax").build()(torch.zeros(1, 1, 8, 8)).shape[1]
        for name in ("first", "second")
    ]
    assert answers == [10, 7]


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("text", [OWN_FILE, LATE_FILE], ids=["imported above", "imported when called"])
def test_the_code_of_a_users_file_is_that_of_what_it_imports(tmp_path: Path, text: str) -> None:
    package = put(tmp_path / "models" / "__init__.py", OWN_PACKAGE)
    own = put(tmp_path / "mine.py", text)
    call(own, "build")
    first = code_of(own)
    assert first == hashlib.sha256(package.read_bytes()).hexdigest()
    put(package, OWN_PACKAGE + "# another forward\n")
    assert code_of(own) != first


@pytest.mark.usefixtures("tidy")
def test_files_of_one_name_in_two_folders_are_two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [put(tmp_path / name / "model.py", OWN_FILE) for name in ("first", "second")]
    assert [user_subject(f"{path}:build", "digits", "softmax").name for path in own] == [
        "first.model.build",
        "second.model.build",
    ]
    monkeypatch.chdir(tmp_path / "first")
    assert user_subject("model.py:build", "digits", "softmax").name == "model.build"


@pytest.mark.parametrize(
    "text",
    [
        "import torchvision\n\ndef build():\n    return torchvision.models.shufflenet_v2_x0_5(num_classes=10)\n",
        "def build():\n    from torchvision.models import shufflenet_v2_x0_5\n    return shufflenet_v2_x0_5(num_classes=10)\n",
    ],
    ids=["imported above", "imported when called"],
)
def test_a_users_file_may_import_a_torchvision_that_lacks_its_operators(tmp_path: Path, text: str) -> None:
    """In a process of its own: in this one other tests have declared the operators."""
    own = put(tmp_path / "mine.py", text)
    script = (
        f"from pathlib import Path\nfrom robustboard.benchmark.user_files import call\nprint(call(Path({str(own)!r}), 'build'))"
    )
    answer = subprocess.run([sys.executable, "-c", script, own], capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert "ShuffleNetV2" in answer.stdout


@pytest.mark.usefixtures("tidy")
def test_a_folder_whose_name_begins_alike_is_another(tmp_path: Path) -> None:
    put(tmp_path / "ab" / "neighbour.py", "")
    own = put(tmp_path / "a" / "mine.py", f"import sys\nsys.path.append({str(tmp_path / 'ab')!r})\nimport neighbour\n" + OWN_FILE)
    put(tmp_path / "a" / "models.py", OWN_PACKAGE)
    call(own, "build")
    assert code_of(own) == hashlib.sha256(OWN_PACKAGE.encode()).hexdigest()
