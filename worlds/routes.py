"""Ways from a saved state to a loaded one other than DCP's own files, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from .concise import Concise
from .entries import Entry, Nested, TensorEntry
from .invalid import require
from .layouts import Layout, Plain
from .operations import Operation, PlannerOptions, WriterOptions
from .scenario import Scenario

__all__ = ["SAFETENSORS_DTYPES", "Route", "Way", "from_torch_save", "of_dtype", "to_safetensors"]

Way = Literal["torch_save_to_dcp", "broadcast", "fsspec", "safetensors", "consolidated"]
"""A ``torch.save`` file that ``torch_save_to_dcp`` makes a checkpoint of; such a file that
``BroadcastingTorchSaveReader`` reads with ``DynamicMetaLoadPlanner``; ``FsspecWriter`` and ``FsspecReader``;
``HuggingFaceStorageWriter``, by which each rank writes a file, and ``HuggingFaceStorageReader``; both, where the writer
has made one file of those and the reader reads it."""

SAFETENSORS_DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("uint16", "uint32", "uint64", "complex64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
)
"""The dtypes that safetensors 0.8 can write and read."""

_ALONE = Operation(distributed=False)
_EMPTY = Scenario(save=_ALONE)


@dataclass(frozen=True, repr=False)
class Route(Concise):
    """The save and load of ``scenario``, which has no faults, by another way.

    What comes from a ``torch.save`` file is saved by one process, whole, and with no options; see
    :func:`from_torch_save`. What goes into files of safetensors is of their dtypes, and by ranks that coordinate; see
    :func:`to_safetensors`.
    """

    scenario: Scenario = _EMPTY
    by: Way = "torch_save_to_dcp"

    def __post_init__(self) -> None:
        require(self.by in get_args(Way), f"no way to save and load: {self.by!r}")
        require(not self.scenario.faults, "what goes another way has no faults")
        require(not self.scenario.damages, "what goes another way is not damaged")
        if self.is_of_safetensors:
            require(self.scenario == to_safetensors(self.scenario), "safetensors cannot hold this, or not so")
        elif self.by != "fsspec":
            require(self.scenario == from_torch_save(self.scenario), "a file of torch.save is of one process")

    @property
    def is_of_safetensors(self) -> bool:
        """Whether the files are of safetensors."""
        return self.by in ("safetensors", "consolidated")


def from_torch_save(scenario: Scenario) -> Scenario:
    """The scenario with its state whole in the memory of one process, which calls ``torch.save``."""
    options = PlannerOptions(allow_partial_load=scenario.planner.allow_partial_load)
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


def to_safetensors(scenario: Scenario) -> Scenario:
    """The scenario with dtypes that safetensors can hold, ranks that coordinate, and no options of DCP's own files."""
    api = "current" if scenario.save.api == "uncoordinated" else scenario.save.api
    return replace(
        scenario,
        entries=tuple(map(_of_safetensors, scenario.entries)),
        save=replace(scenario.save, api=api),
        writer=WriterOptions(),
    )


def _of_safetensors(entry: Entry) -> Entry:
    if isinstance(entry, Nested):
        return replace(entry, entries=tuple(map(_of_safetensors, entry.entries)))
    if not isinstance(entry, TensorEntry) or entry.dtype in SAFETENSORS_DTYPES:
        return entry
    return of_dtype(entry, "uint8")


def of_dtype(entry: TensorEntry, dtype: str) -> TensorEntry:
    """The tensor with another dtype, in memory that a tensor of any dtype can have."""
    return replace(entry, dtype=dtype, saved=_for_any_dtype(entry.saved), loaded=_for_any_dtype(entry.loaded))


def _for_any_dtype(layout: Layout | None) -> Layout | None:
    if layout is None or layout.memory not in ("conjugated", "negated", "gradient"):
        return layout
    return replace(layout, memory="contiguous")  # type: ignore[arg-type]
