"""Strategies for histories: what a training does with its checkpoints, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import Key, ObjectEntry, TensorEntry
from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.histories import Again, History, Load, Save, Step
from worlds.layouts import Layout, MeshSharding, Plain, Shard
from worlds.operations import STAGERS, NamedBy, Operation, PlannerOptions, Stager

from ._bounds import check_bounds, within_limit
from ._reused import reused, sampled_from
from ._several import several
from ._telling import tell
from ._weighted import weighted
from .calls import schedules, writer_options
from .case_features import case_features
from .failures import failing_ranks, faults
from .file_faults import file_faults
from .layouts import chunk_sharding_specs, on_accelerator
from .states import fqns, object_values
from .tensors import dtypes, tensor_shapes

__all__ = ["histories", "with_operation"]

_PLACES = ("a", "a", "a", "b")
_HALFWAY = ("writer.write_data", "planner.resolve_data", "planner.finish_plan")
"""Where a rank fails that leaves other ranks the time to write."""
_PLANNED = ("planner.create_global_plan", "writer.prepare_global_plan", "writer.prepare_local_plan")
"""Where a rank fails that has made its own plan, and has not been given it back."""

_SOMETIMES = st.sampled_from((False, False, True))
_RARELY = st.sampled_from((False, False, False, False, True))
_NAMED_BY: tuple[NamedBy, ...] = ("both", "both", "storage")
_KINDS: tuple[Again, ...] = ("planner", "writer", "reader", "stager", "tensors")
# Each by itself, so that any of them can go; or all, as in a training that keeps what it has made.
_SOME_AGAIN: SearchStrategy[tuple[Again, ...]] = st.tuples(*[_SOMETIMES] * len(_KINDS)).map(
    lambda drawn: tuple(kind for kind, there in zip(_KINDS, drawn, strict=True) if there)
)
_AGAIN = weighted((2, _SOME_AGAIN), (1, st.just(_KINDS)), whole=0)
_SHAPES = weighted((1, tensor_shapes(max_dims=2)), (2, tensor_shapes(min_dims=1, max_dims=2)), whole=0)
_DTYPES = weighted((9, st.just("float32")), (1, dtypes()), whole=1)


@st.composite
def histories(
    draw: DrawFn, *, max_world_size: int = 3, min_steps: int = 1, max_steps: int = 6, max_entries: int = 2
) -> History:
    """Histories of ``min_steps`` to ``max_steps`` saves and loads over one or two checkpoints, some saves with a load.

    A step overwrites in place more often than it saves elsewhere; ranks fail in it, at hooks or in operations on files,
    or it is refused; it is by as many ranks as the one before or by others, of some of the entries or all, and with a
    planner, writer, reader or stager that is new or was used before. Half of the histories are of one job, since that
    is as long as anything is remembered; and some uploads are overtaken by the step behind them. Shrinks towards one
    save by one rank. Which bugs are found depends on what lies between two steps at one place, so that the steps are a
    list from which any can go.
    """
    check_bounds("world_size", 1, max_world_size, at_least=1)
    check_bounds("steps", min_steps, max_steps)
    check_bounds("entries", 0, max_entries)
    largest = within_limit(max_world_size)
    writer = draw(writer_options(), label="writer")
    caching = draw(sampled_from((False, False, False, True)), label="plan caching")
    dedup = draw(sampled_from((False, False, True)), label="dedup to the lowest rank")
    entries = draw(several(_entries(largest), min_size=min(1, max_entries), max_size=max_entries, unique_by=_key))
    usual = draw(_usuals(largest, caching), label="usual")
    one = _moves(usual, tuple(map(_key, entries)))
    moves = several(one, min_size=min_steps, max_size=max_steps, unique_by=id)  # two may well be equal
    steps = _with_overtaken([step for move in draw(moves, label="steps") for step in move])
    synced = any(fault.call.endswith(".fsync") for step in steps for fault in step.file_faults)
    history = History(
        tuple(entries),
        steps,
        replace(writer, overwrite=True, sync_files=writer.sync_files or synced),
        PlannerOptions(dedup_save_to_lowest_rank=dedup, enable_plan_caching=caching),
    )
    tell(case_features(history))
    return history


def _key(entry: TensorEntry | ObjectEntry) -> Key:
    return entry.key


def _with_overtaken(steps: list[Step]) -> tuple[Step, ...]:
    """The steps, of which none is overtaken but by one that can, and that one as such a step is."""
    found: list[Step] = []
    for step in steps:
        before = found[-1] if found else None
        if isinstance(before, Save) and before.overtaken:
            if _is_of_same_job(before, step):
                step = _overtaking(before, step)
            else:
                found[-1] = replace(before, overtaken=False)
        found.append(step)
    if found and isinstance(last := found[-1], Save):
        found[-1] = replace(last, overtaken=False)
    return tuple(found)


def _is_of_same_job(one: Step, other: Step) -> bool:
    return all(getattr(one.operation, name) == getattr(other.operation, name) for name in ("world_size", "distributed"))


def _overtaking(before: Save, step: Step) -> Step:
    operation = replace(step.operation, schedule=before.operation.schedule)
    if operation.uploads:
        operation = replace(operation, stager=before.operation.stager)
    again = tuple(kind for kind in step.again if kind not in ("planner", "writer"))
    step = replace(step, operation=operation, without=before.without, again=again, faults=(), file_faults=())
    return replace(step, overtaken=False) if isinstance(step, Save) else step


@reused
def _entries(world_size: int) -> SearchStrategy[TensorEntry | ObjectEntry]:
    objects: SearchStrategy[TensorEntry | ObjectEntry] = st.builds(ObjectEntry, fqns(), object_values())
    return weighted((4, _tensors(world_size)), (1, objects))


@reused
@st.composite
def _tensors(draw: DrawFn, world_size: int) -> TensorEntry | ObjectEntry:
    key = draw(fqns(), label="key")
    shape = draw(_SHAPES, label="shape")
    dtype = draw(_DTYPES, label="dtype")
    saved, loaded = (draw(_layouts(len(shape), world_size), label=label) for label in ("saved", "loaded"))
    return TensorEntry(key, shape, dtype, *on_accelerator(draw, dtype, saved, loaded))


@reused
def _layouts(dims: int, world_size: int) -> SearchStrategy[Layout]:
    """Ways to hold a tensor that go with any world."""
    plain: SearchStrategy[Layout] = st.just(Plain())
    if not dims:
        return plain
    meshes: SearchStrategy[Layout] = st.integers(0, dims - 1).map(
        lambda dim: MeshSharding((world_size,), (Shard(dim),))
    )
    chunks: SearchStrategy[Layout] = chunk_sharding_specs(dims=dims, world_size=world_size)
    return weighted((2, plain), (2, meshes), (1, chunks))


@dataclass(frozen=True)
class _Usual:
    """What most steps of a history have alike, and all of one job; the ranks are ``largest`` at most."""

    largest: int
    world_size: int
    alone: bool
    one_job: bool
    stager: Stager | None
    caching: bool


@reused
def _usuals(largest: int, caching: bool) -> SearchStrategy[_Usual]:
    return st.builds(
        _Usual,
        st.just(largest),
        st.sampled_from((1, *range(2, largest + 1), *range(2, largest + 1))),
        _SOMETIMES,
        st.booleans(),
        st.sampled_from((None, None, None, *STAGERS)),
        st.just(caching),
    )


@reused
@st.composite
def _moves(draw: DrawFn, usual: _Usual, keys: tuple[Key, ...]) -> tuple[Step, ...]:
    """A step, and often a load of what it has left: what a save that fails has broken shows nowhere else.

    An upload that is overtaken is so by another one as often as not: what the two share is in each other's way.
    """
    name: Literal["save", "load"] = draw(sampled_from(("save", "save", "save", "load")), label="step")
    step = draw(_steps(usual, keys, name), label=name)
    steps: tuple[Step, ...] = (step,)
    followed = draw(st.booleans(), label="and a load")
    if isinstance(step, Save) and step.overtaken and draw(st.booleans(), label="by an upload"):
        upload = draw(_steps(usual, keys, "save"), label="upload")
        steps = step, with_operation(upload, step.operation)
    if not followed:
        return steps
    return *steps, replace(draw(_steps(usual, keys, "load"), label="load"), at=step.at)


def with_operation(step: Step, operation: Operation) -> Step:
    """The step, by the ranks of that operation: of those that fail, the ones that are among them."""
    ranks = range(operation.world_size)
    faults = tuple(fault for fault in step.faults if fault.rank in ranks)
    file_faults = tuple(fault for fault in step.file_faults if fault.rank in ranks)
    return replace(step, operation=operation, faults=faults, file_faults=file_faults)


@reused
@st.composite
def _steps(draw: DrawFn, usual: _Usual, keys: tuple[Key, ...], name: Literal["save", "load"]) -> Step:
    # All but the faults is drawn for each kind of step, so that what follows does not shift.
    at = draw(sampled_from(_PLACES), label="at")
    operation = draw(_operations(usual), label="operation")
    stager = draw(sampled_from((*[None] * 5, *[usual.stager] * 3, *STAGERS)), label="stager, if asynchronous")
    overtaken = draw(_SOMETIMES, label="is overtaken, if asynchronous")
    option = draw(_RARELY, label="is not to overwrite, or is partial")
    failing = draw(st.booleans() if name == "save" else _SOMETIMES, label="fails")
    below = draw(_SOMETIMES, label="below the storage, if it fails")
    without = draw(_some_of(keys), label="without")
    again = draw(_AGAIN, label="again")
    if stager is not None and name == "save":
        operation = replace(operation, api="async", coordinator=0, stager=stager)
    step: Step
    if name == "load":
        step = Load(at, operation, option, without, tuple(kind for kind in again if kind in ("planner", "reader")))
    else:
        used = tuple(kind for kind in again if kind != "reader")
        step = Save(at, operation, not option, without, used, overtaken=overtaken and operation.uploads)
        failing = failing and not option
    if failing and below:
        of_files = _file_faults(name, operation.world_size, operation.coordinator)
        return replace(step, file_faults=draw(of_files, label="operations on files that fail"))
    if failing:
        at_hooks = _faults(name, operation.world_size, operation.coordinator, usual.caching)
        return replace(step, faults=draw(at_hooks, label="faults"))
    return step


@reused
@st.composite
def _operations(draw: DrawFn, usual: _Usual) -> Operation:
    """As :func:`strategies.operations` has them with ``core``, mostly by the usual number of ranks."""
    largest = usual.largest
    size = draw(sampled_from((usual.world_size,) * 4 + tuple(range(1, largest + 1))), label="world size")
    api: Literal["current", "legacy"] = draw(sampled_from(("current", "current", "legacy")), label="api")
    coordinator = draw(st.integers(0, largest - 1), label="coordinator, if legacy")
    alone = draw(_SOMETIMES, label="without torch.distributed, if alone")
    named_by = draw(sampled_from(_NAMED_BY), label="named by, if not legacy")
    schedule = draw(schedules(world_size=largest), label="schedule")
    if usual.one_job:
        size, alone = usual.world_size, usual.alone
    return Operation(
        size,
        min(coordinator, size - 1) if api == "legacy" else 0,
        api,
        distributed=size > 1 or not alone,
        schedule=replace(schedule, order=tuple(rank for rank in schedule.order if rank < size)),
        named_by="both" if api == "legacy" else named_by,
    )


@reused
def _some_of(keys: tuple[Key, ...]) -> SearchStrategy[tuple[Key, ...]]:
    nothing: SearchStrategy[tuple[Key, ...]] = st.just(())
    if not keys:
        return nothing
    return weighted((2, nothing), (1, st.lists(st.sampled_from(keys), min_size=1, unique=True).map(tuple)))


@reused
def _file_faults(name: Literal["save", "load"], size: int, coordinator: int) -> SearchStrategy[tuple[FileFault, ...]]:
    """Without what is lost where the power fails, since a history goes on."""
    anything = file_faults(operation=name, world_size=size, coordinator=coordinator)
    return anything.map(lambda drawn: tuple(map(_without_loss, drawn)))


def _without_loss(fault: FileFault) -> FileFault:
    return replace(fault, error="EIO") if fault.error == "lost" else fault


@reused
def _faults(
    name: Literal["save", "load"], size: int, coordinator: int, caching: bool
) -> SearchStrategy[tuple[Fault, ...]]:
    anywhere = faults(operation=name, world_size=size, coordinator=coordinator, max_hooks=2)
    if name == "load":
        return anywhere
    # Where all fail, nobody writes.
    some = failing_ranks(world_size=size, coordinator=coordinator).map(
        lambda failed: sorted(failed)[: max(1, size - 1)]
    )
    halfway = st.tuples(st.sampled_from(_HALFWAY), some).map(
        lambda drawn: tuple(Fault("save", rank, drawn[0]) for rank in drawn[1])
    )
    # What is remembered of a plan must not be more than came of it.
    planned = st.sampled_from(_PLANNED).map(lambda hook: (Fault("save", coordinator, hook),))
    return weighted((1, halfway), (1, anywhere), (4 * caching, planned))
