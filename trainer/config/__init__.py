"""What a training may be told: the `trial` section of a study, as typed models. Torch-free, so that the server and the
scheduler validate with the same code that the trainer obeys.

Every leaf is a knob: its dotted path (`optimizer.lr`) may stand under `parameters` of a study.
"""

from trainer.config.base import TaskName
from trainer.config.data import (
    AUGMENTED,
    BUNDLED,
    ISO,
    NORMALIZED,
    OVERSAMPLERS,
    Augment,
    Channels,
    Data,
    Split,
    Synthetic,
    Words,
)
from trainer.config.knobs import (
    CLASSIFICATION_METRICS,
    COST_METRICS,
    PINBALL,
    REGRESSION_METRICS,
    WITH_COMPRESSION,
    but_schedule,
    fixed_paths,
    knob_paths,
    metric_names,
    schedule_knobs,
)
from trainer.config.layered import LAYERED, MOST_LAYERS, layer_of
from trainer.config.model import MODELS, Compression, Model, Transfer
from trainer.config.only_with import ONLY_WITH, Allowed, Way, allows, in_words
from trainer.config.steps import (
    LOSSES,
    CrossValidation,
    DropoutShape,
    EarlyStopping,
    Loss,
    Optimizer,
    Regularization,
    Schedule,
)
from trainer.config.train import TrainConfig

__all__ = [
    "AUGMENTED",
    "BUNDLED",
    "CLASSIFICATION_METRICS",
    "COST_METRICS",
    "ISO",
    "LAYERED",
    "LOSSES",
    "MODELS",
    "MOST_LAYERS",
    "NORMALIZED",
    "ONLY_WITH",
    "OVERSAMPLERS",
    "PINBALL",
    "REGRESSION_METRICS",
    "WITH_COMPRESSION",
    "Allowed",
    "Augment",
    "Channels",
    "Compression",
    "CrossValidation",
    "Data",
    "DropoutShape",
    "EarlyStopping",
    "Loss",
    "Model",
    "Optimizer",
    "Regularization",
    "Schedule",
    "Split",
    "Synthetic",
    "TaskName",
    "TrainConfig",
    "Transfer",
    "Way",
    "Words",
    "allows",
    "but_schedule",
    "fixed_paths",
    "in_words",
    "knob_paths",
    "layer_of",
    "metric_names",
    "schedule_knobs",
]
