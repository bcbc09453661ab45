"""Where it happens: the scenario as plain data, and the engines that run it on every rank."""

from .outcome import Outcome
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

__all__ = [
    "ChunkSharding",
    "Fault",
    "InvalidScenario",
    "ObjectEntry",
    "Operation",
    "Outcome",
    "Scenario",
    "Schedule",
    "SimulatedWorld",
    "TensorEntry",
    "WriterOptions",
]
