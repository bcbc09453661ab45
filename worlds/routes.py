"""Ways from a saved state to a loaded one other than DCP's own files, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from .concise import Concise
from .entries import Entry, Nested
from .invalid import require
from .layouts import Plain
from .operations import Operation, PlannerOptions, WriterOptions
from .scenario import Scenario
from .storages import FILE_SYSTEM

__all__ = ["Route", "Way", "from_torch_save"]

Way = Literal["torch_save_to_dcp", "broadcast"]
"""A ``torch.save`` file that ``torch_save_to_dcp`` makes a checkpoint of; such a file that
``BroadcastingTorchSaveReader`` reads with ``DynamicMetaLoadPlanner``."""

_ALONE = Operation(distributed=False)
_EMPTY = Scenario(save=_ALONE)


@dataclass(frozen=True, repr=False)
class Route(Concise):
    """The save and load of ``scenario``, which has no faults, by another way.

    The state comes from a file of ``torch.save``, which one process writes, whole and with no options; see
    :func:`from_torch_save`. What reads such a file takes the options of a planner.
    """

    scenario: Scenario = _EMPTY
    by: Way = "torch_save_to_dcp"

    def __post_init__(self) -> None:
        require(self.by in get_args(Way), f"no way to save and load: {self.by!r}")
        require(not self.scenario.faults, "what goes another way has no faults")
        require(not self.scenario.damages, "what goes another way is not damaged")
        require(self.scenario.storage == FILE_SYSTEM, "what goes another way is of DCP's own files")
        require(self.scenario == from_torch_save(self.scenario, self.by), "a file of torch.save is of one process")


def from_torch_save(scenario: Scenario, by: Way = "torch_save_to_dcp") -> Scenario:
    """The scenario with its state whole in the memory of one process, which calls ``torch.save``, to go that way."""
    given = scenario.planner
    options = PlannerOptions(allow_partial_load=given.allow_partial_load)
    if by == "broadcast":
        sharded = given.flatten_sharded_tensors
        options = replace(options, flatten_state_dict=given.flatten_state_dict, flatten_sharded_tensors=sharded)
    return replace(
        scenario,
        entries=tuple(map(_whole, scenario.entries)),
        save=_ALONE,
        writer=WriterOptions(),
        planner=options,
    )


def _whole(entry: Entry) -> Entry:
    if isinstance(entry, Nested):
        # A Stateful object in such a file would be an object of its class, of which DCP knows nothing.
        container = "dict" if entry.container == "stateful" else entry.container
        return replace(entry, container=container, entries=tuple(map(_whole, entry.entries)))
    if entry.saved is None:
        return entry
    memory = entry.saved.memory
    if memory == "expanded" and not isinstance(entry.saved, Plain):
        memory = "contiguous"
    return replace(entry, saved=Plain(memory=memory))
