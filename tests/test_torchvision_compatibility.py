"""torchvision is there, with or without its compiled operators, and nothing is declared where nothing is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from robustboard import torchvision_compatibility as compatibility


def test_torchvision_is_there() -> None:
    assert callable(compatibility.torchvision.datasets.MNIST)
    assert callable(compatibility.torchvision.datasets.CIFAR10)


def test_it_imports_whether_or_not_torchvision_does_alone() -> None:
    script = (
        "try:\n"
        "    import torchvision\n"
        "    alone = True\n"
        "except RuntimeError as trouble:\n"
        "    assert 'torchvision::nms' in str(trouble), trouble\n"
        "    alone = False\n"
        "from robustboard import torchvision_compatibility as compatibility\n"
        "assert callable(compatibility.torchvision.datasets.MNIST)\n"
        "assert bool(compatibility._libraries) != alone, (compatibility._libraries, alone)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr


def test_nothing_is_declared_where_torchvision_imports_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ModuleType("torchvision")
    monkeypatch.setattr(compatibility, "_libraries", [])
    monkeypatch.setattr(importlib, "import_module", lambda name: whole)
    assert compatibility.import_torchvision() is whole
    assert compatibility._libraries == []


def test_another_runtime_error_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(name: str) -> ModuleType:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(compatibility, "_libraries", [])
    monkeypatch.setattr(importlib, "import_module", break_down)
    loaded = sys.modules["torchvision"]
    with pytest.raises(RuntimeError, match="out of luck"):
        compatibility.import_torchvision()
    assert compatibility._libraries == []
    assert sys.modules["torchvision"] is loaded


def test_no_torchvision_at_all_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'torchvision'")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match="torchvision"):
        compatibility.import_torchvision()
