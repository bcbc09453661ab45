"""Where it happens: the scenario as plain data, and the engines that run it on every rank."""

from .outcome import Outcome
from .processes import ProcessWorld
from .scenario import (
    ChunkSharding,
    Fault,
    InvalidScenario,
    ObjectEntry,
    Operation,
    Scenario,
    Schedule,
    TensorEntry,
    WriterOptions,
)
from .simulated import SimulatedWorld
from .torchrun import TorchrunWorld

__all__ = [
    "ChunkSharding",
    "Fault",
    "InvalidScenario",
    "ObjectEntry",
    "Operation",
    "Outcome",
    "ProcessWorld",
    "Scenario",
    "Schedule",
    "SimulatedWorld",
    "TensorEntry",
    "TorchrunWorld",
    "WriterOptions",
]
