"""How a registry entry is trained: settings, augmentation, the loop, checkpoints. Tensors in, a trained network out.

No data sets are looked up here and no attack is imported: adversarial training takes its attack as a plain function.
"""

from robustboard.models.training.loop import TrainingError, train
from robustboard.models.training.settings import TrainingSettings, default_settings

__all__ = ["TrainingError", "TrainingSettings", "default_settings", "train"]
