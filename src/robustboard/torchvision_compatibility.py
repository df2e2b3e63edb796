"""Lets the package index's torchvision import beside a CPU build of torch.

Such a pair lacks torchvision's compiled operators, and its import stops at "operator torchvision::nms does not exist":
it only registers shape functions for two of them. Declaring the two is enough; nothing here uses them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

MISSING = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_libraries: list[torch.library.Library] = []  # torch drops a declaration with the object that made it


def import_torchvision() -> ModuleType:
    """torchvision, after declaring its missing operators if, and only if, it does not import without."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as trouble:
        if "torchvision::nms" not in str(trouble):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in MISSING.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _libraries.append(library)
    return importlib.import_module("torchvision")


torchvision = import_torchvision()
