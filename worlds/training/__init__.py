"""A training as plain data, saved and loaded by way of ``get_state_dict`` and ``set_state_dict``, in any world."""

from .case import Side, Training
from .layers import Again, Block, Counter, Embedding, Mlp, Norm, Renamed, Scale
from .optimizer import Optimizer
from .outcome import FLAT, Failed, Held, HeldTensor, Loaded, Saved, TrainingOutcome
from .parallelism import Parallelism
from .run import run_training

__all__ = [
    "FLAT",
    "Again",
    "Block",
    "Counter",
    "Embedding",
    "Failed",
    "Held",
    "HeldTensor",
    "Loaded",
    "Mlp",
    "Norm",
    "Optimizer",
    "Parallelism",
    "Renamed",
    "Saved",
    "Scale",
    "Side",
    "Training",
    "TrainingOutcome",
    "run_training",
]
