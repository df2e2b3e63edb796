"""Robustboard: how robust is a small image classifier, and how far can that number be believed?

robustboard.evaluate(model, images, labels, attacks=["bim", "cw"])
robustboard.load_model("mnist/relog")
robustboard.load_results("leaderboards/results").to_pandas()
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustboard.benchmark.api import evaluate
    from robustboard.benchmark.memory import keep_freed_memory
    from robustboard.benchmark.report.results_table import load_results
    from robustboard.models.registry import load_model

# Read at MKL's first product, not before. Without it MKL picks its kernel by the height of the matrix, an example's logits differ
# in their last bits by the batch it stands in, and an attack that walks on ties ends elsewhere. Strict kernels sum a row alike
# whatever the batch, the threads and the Intel processor's generation; on others MKL takes no mode. Who has chosen one keeps it.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

__all__ = ["evaluate", "keep_freed_memory", "load_model", "load_results"]

_HOMES = {
    "evaluate": "robustboard.benchmark.api",
    "keep_freed_memory": "robustboard.benchmark.memory",
    "load_model": "robustboard.models.registry",
    "load_results": "robustboard.benchmark.report.results_table",
}


def __getattr__(name: str) -> object:
    """Import the functions when they are asked for: the command line must be able to answer Ctrl-C before torch is there."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
