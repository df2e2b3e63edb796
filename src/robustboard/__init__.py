"""Robustboard: how robust is a small image classifier, and how far can that number be believed?

robustboard.evaluate(model, images, labels, attacks=["bim", "cw"])
robustboard.load_model("mnist/relog")
"""

from robustboard.benchmark.api import evaluate
from robustboard.models.registry import load_model

__all__ = ["evaluate", "load_model"]
