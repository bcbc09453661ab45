"""A checkpoint that is read without a template, as plain data: whole, as a ``torch.save`` file, or by keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .concise import Concise
from .invalid import require
from .operations import Operation
from .outcome import OperationOutcome
from .scenario import Scenario
from .storages import FILE_SYSTEM

__all__ = ["By", "Rebuilding", "RebuildingOutcome"]

By = Literal["dcp_to_torch_save", "there_and_back", "keys", "planner"]
"""``dcp_to_torch_save`` and ``torch.load``; the same after it went back through ``torch_save_to_dcp``;
``_load_state_dict_from_keys``; ``load_state_dict`` of an empty dict with ``_EmptyStateDictLoadPlanner``."""

_EMPTY = Scenario()
_ALONE = Operation(distributed=False)


@dataclass(frozen=True, repr=False)
class Rebuilding(Concise):
    """The save of ``scenario``, and a state dict that is made of its checkpoint and of nothing else.

    ``keys`` are the names to read, or the beginnings of names; ``None`` is everything. The ranks that read are those
    of the scenario's load where the way to read is one for several ranks, and else a process without a group.
    """

    scenario: Scenario = _EMPTY
    by: By = "dcp_to_torch_save"
    keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require(not self.scenario.all_faults, "what is rebuilt has no faults")
        require(not self.scenario.damages, "what is rebuilt is not damaged")
        require(self.scenario.writer.known_to_torch, "what is rebuilt has no extensions but torch's")
        require(self.scenario.storage == FILE_SYSTEM, "what is rebuilt is of DCP's own files")
        require(self.by in ("dcp_to_torch_save", "there_and_back", "keys", "planner"), f"no way to read: {self.by!r}")
        require(self.keys is None or self.by in ("keys", "planner"), f"{self.by} takes no keys")

    @property
    def reader(self) -> Operation:
        """The ranks that read, and how they are called."""
        return self.scenario.load if self.by in ("keys", "planner") else _ALONE


@dataclass(frozen=True)
class RebuildingOutcome:
    """What came of it; ``read`` is ``None`` where the save did not return on every rank, which other laws judge.

    The state of a rank that read is what it has rebuilt.
    """

    save: OperationOutcome
    read: OperationOutcome | None = None
