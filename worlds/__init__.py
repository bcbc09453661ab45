"""Where it happens: the scenario as plain data, and the engines that run it on every rank."""

from .damage import Damage
from .entries import Nested, ObjectEntry, TensorEntry
from .faults import Fault
from .file_faults import FileFault
from .invalid import InvalidScenario
from .layouts import (
    ChunkSharding,
    EnumerableSharding,
    MeshSharding,
    Plain,
    Replicate,
    Shard,
    StridedShard,
    Tile,
)
from .operations import Operation, PlannerOptions, Schedule, WriterOptions
from .outcome import Outcome
from .processes import ProcessWorld
from .request_faults import RequestFault
from .scenario import Scenario
from .simulated import SimulatedWorld
from .torchrun import TorchrunWorld

__all__ = [
    "ChunkSharding",
    "Damage",
    "EnumerableSharding",
    "Fault",
    "FileFault",
    "InvalidScenario",
    "MeshSharding",
    "Nested",
    "ObjectEntry",
    "Operation",
    "Outcome",
    "Plain",
    "PlannerOptions",
    "ProcessWorld",
    "Replicate",
    "RequestFault",
    "Scenario",
    "Schedule",
    "Shard",
    "SimulatedWorld",
    "StridedShard",
    "TensorEntry",
    "Tile",
    "TorchrunWorld",
    "WriterOptions",
]
