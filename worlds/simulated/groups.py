"""Process groups of a simulated world: torch's own collectives over the exchange, and rank-local state.

What a collective does to the tensors is torch's (``torch.testing._internal.distributed.multi_threaded_pg``), and so is
the set of its names, which differs between versions; only who waits for whom is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.distributed import distributed_c10d as c10d
from torch.testing._internal.distributed.multi_threaded_pg import AllReduce, ProcessLocalGroup, ThreadLocalWorld

from ..patches import Patch
from .broadcast import Broadcast, refuse
from .exchange import Arrival, Exchange
from .scheduler import current_task

__all__ = ["RankContext", "RankLocalWorld", "SimulatedGroup", "group_patches", "rank_context"]


_BACKEND = "dcp_stress_simulated"


class RankContext:
    """What a simulated rank has for its own: its ``torch.distributed`` state. ``exchange`` is that of the run."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size
        self.state = _new_state()
        self.exchange = Exchange()
        self._pristine: tuple[int, ...] = ()

    @contextmanager
    def entered(self, exchange: Exchange, *, distributed: bool) -> Iterator[None]:
        """Inside the block the calling thread, a task of this rank, sees the rank's groups, the default one first."""
        self.exchange = exchange
        try:
            if not distributed:
                yield
                return
            if self.state.default_pg is None:
                self._initialise()
            else:
                self.register()
            yield
        finally:
            torch._C._distributed_c10d._unregister_all_process_groups()

    def register(self) -> None:
        """Tell the calling thread's registry, which torch keeps in C++ for functional collectives, of the groups."""
        for group, name in self.state.pg_names.items():
            torch._C._distributed_c10d._register_process_group(name, group)

    def _initialise(self) -> None:
        dist.init_process_group(_BACKEND, store=HashStore(), rank=self.rank, world_size=self.world_size)
        group = self.state.default_pg
        # ShardedTensor takes an unknown backend's device for CUDA on ranks that hold no shard, and new_group() makes
        # sub-groups with the backend that is written here.
        self.state.pg_map[group] = ("gloo", self.state.pg_map[group][1])
        self.state.pg_backend_config[group] = str(c10d.BackendConfig(c10d.Backend("gloo")))
        self._pristine = self._extent()

    def is_pristine(self) -> bool:
        """Whether there is the default group and nothing else, so that another run may use it."""
        return self._extent() == self._pristine

    def _extent(self) -> tuple[int, ...]:
        state = self.state
        counted = (state.pg_map, state.pg_group_ranks, state.tags_to_pg, state.comms)
        return (id(state.default_pg), state.group_count, *map(len, counted))


def rank_context() -> RankContext | None:
    """The context of the rank that the calling thread belongs to, if any."""
    task = current_task()
    return None if task is None else task.context


class RankLocalWorld(ThreadLocalWorld):
    """``torch.distributed``'s state, one for each rank; outside a world, what was there before."""

    def __init__(self, outside: Any) -> None:
        self._outside = outside

    def _get_world(self) -> Any:
        task = current_task()
        return self._outside if task is None else task.context.state

    @property
    def default_pg(self) -> Any:
        """As the parent's, without its detour: torch asks for it hundreds of times in one save."""
        task = current_task()
        return (self._outside if task is None else task.context.state).default_pg

    @default_pg.setter
    def default_pg(self, value: Any) -> None:
        self._get_world().default_pg = value


def _new_state() -> Any:
    """A new state as torch makes it for a thread that has none, so that no field of it is named here."""
    local = ThreadLocalWorld._world
    before = local.__dict__.pop("world", None)
    state = ThreadLocalWorld()._get_world()
    local.__dict__.pop("world")
    if before is not None:
        local.world = before
    return state


class SimulatedGroup(ProcessLocalGroup):
    """A process group whose ranks meet in the exchange of the run; it passes for gloo, so tensors stay on the CPU."""

    def __init__(self, rank: int, world_size: int) -> None:
        super().__init__(rank, world_size)  # type: ignore[no-untyped-call]
        self._ranks: tuple[int, ...] | None = None  # not known before torch has registered the group

    def size(self) -> int:
        return self._world_size  # type: ignore[no-any-return]

    def rank(self) -> int:
        return self._rank  # type: ignore[no-any-return]

    @property
    def _device_types(self) -> list[torch.device]:
        """The CPU, which ``async_save`` asks for; none before torch has registered the group.

        Until then torch 2.15 takes a group with devices for one that a flight recorder in C++ can be hooked on.
        """
        return [torch.device("cpu")] if self in c10d._world.pg_names else []

    def meet(self, kind: str, brought: Any) -> Arrival:
        """Come to the next collective of this group, and bring something."""
        context = rank_context()
        if context is None:
            raise RuntimeError(f"{kind} on a simulated process group outside its world")
        ranks = self.ranks()
        return context.exchange.arrive((self.pg_name, ranks), ranks, self._rank, kind, brought)

    def ranks(self) -> tuple[int, ...]:
        """The global ranks of the group, by rank within it."""
        if self._ranks is None:
            self._ranks = tuple(dist.get_process_group_ranks(self))
        return self._ranks

    def new_group(self, ranks: list[int], *, group_name: str, timeout: timedelta | None = None, **_: Any) -> Any:
        """The group of those global ranks, as ``torch.distributed.new_group`` asks its default group for it."""
        if self.rank() not in ranks:
            # As of real groups, none of which is asked for a new one: then torch knows the ranks of what is no group.
            known: Any = c10d._world.pg_group_ranks
            known[dist.GroupMember.NON_GROUP_MEMBER] = {rank: index for index, rank in enumerate(ranks)}
            return None
        return SimulatedGroup(ranks.index(self.rank()), len(ranks))

    def getBackendName(self) -> str:
        return "gloo"

    def barrier(self, opts: Any = None) -> Any:
        return _SimulatedWork(self.meet("barrier", None), _Nothing())

    def broadcast(self, tensors: Any, opts: Any = None, *_: Any) -> Any:
        """Into the tensors of the ranks that are not the root."""
        refuse(tensors)
        return _Join(Broadcast(opts.rootRank), self).join(self.rank(), tensors)

    def reduce(self, tensors: Any, opts: Any = None, *_: Any) -> Any:
        """Into the root's tensor; the other ranks' tensors stay as they are."""
        mine = tensors if self.rank() == opts.rootRank else [tensor.clone() for tensor in tensors]
        return _Join(AllReduce(opts.reduceOp), self).join(self.rank(), mine)

    def allgather_coalesced(self, output_lists: Any, inputs: list[torch.Tensor], opts: Any = None) -> Any:
        """One ``allgather`` for each input; ``output_lists`` has a list of the group's size for each of them."""
        for outputs, tensor in zip(output_lists, inputs, strict=True):
            work = self.allgather([outputs], [tensor])  # type: ignore[no-untyped-call]
        return work

    def send(self, tensors: list[torch.Tensor], dst: int, tag: int = 0) -> Any:
        """Hand ``tensors`` to ``dst``; goes on at once, as with a buffer."""
        self._meet_pair(self.rank(), dst, tag, [tensor.clone() for tensor in tensors])
        return _SimulatedWork(None, _Nothing())

    def recv(self, tensors: list[torch.Tensor], src: int, tag: int = 0) -> Any:
        """Wait for what ``src`` sends."""
        return _ReceivingWork(self._meet_pair(src, self.rank(), tag, tensors))

    def _meet_pair(self, src: int, dst: int, tag: int, brought: Any) -> Arrival:
        context = rank_context()
        if context is None:
            raise RuntimeError("send or recv on a simulated process group outside its world")
        ranks = self.ranks()
        place = 0 if self.rank() == src else 1
        key = (self.pg_name, ranks, src, dst, tag)
        return context.exchange.arrive(key, (ranks[src], ranks[dst]), place, f"send from {ranks[src]}", brought)


class _Nothing:
    def work(self, data: list[Any]) -> None:
        """No tensor changes hands."""


class _SimulatedWork(torch._C._distributed_c10d.Work):
    """A collective that was begun; the last rank to come does the work, in its own thread."""

    def __init__(self, arrival: Arrival | None, collective: Any) -> None:
        super().__init__()
        self._arrival = arrival
        meeting = None if arrival is None else arrival.meeting
        if meeting is not None and meeting.is_full():
            try:
                collective.work(meeting.in_order())
            except Exception as error:  # every rank of the group is to hear of it, not only the last to come
                meeting.error = error

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:
        if self._arrival is not None:
            self._arrival.wait_for_all()
        return True

    def is_completed(self) -> bool:
        arrival = self._arrival
        return arrival is None or (arrival.meeting is not None and arrival.meeting.is_full())

    def is_success(self) -> bool:
        return self.is_completed()

    def exception(self) -> Any:
        return None

    def get_future(self) -> Any:
        """A future that is done: waits first, since torch's futures cannot let another rank run."""
        self.wait()
        future: torch.futures.Future[None] = torch.futures.Future()
        future.set_result(None)
        return future


class _ReceivingWork(_SimulatedWork):
    def __init__(self, arrival: Arrival) -> None:
        super().__init__(None, _Nothing())
        self._arrival = arrival

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:
        assert self._arrival is not None
        sent, tensors = self._arrival.wait_for_all().in_order()
        for tensor, value in zip(tensors, sent, strict=True):
            tensor.detach().copy_(value)
        return True


class _Join:
    """Stands in for torch's own meeting place of threads, which neither sees a deadlock nor has an order."""

    def __init__(self, collective: Any, group: SimulatedGroup) -> None:
        self._collective = collective
        self._group = group

    def join(self, rank: int, data: Any) -> Any:
        root = getattr(self._collective, "src", getattr(self._collective, "dst", None))
        kind = type(self._collective).__name__ + ("" if root is None else f" with root {root}")
        return _SimulatedWork(self._group.meet(kind, data), self._collective)


_start_coll: Any = ProcessLocalGroup._start_coll
_end_coll: Any = ProcessLocalGroup._end_coll


def _start_simulated(collective: Any, group: Any) -> Any:
    return _Join(collective, group) if isinstance(group, SimulatedGroup) else _start_coll(collective, group)


def _end_simulated(collective: Any, group: Any) -> None:
    if not isinstance(group, SimulatedGroup):
        _end_coll(collective, group)


def group_patches() -> list[Patch]:
    """What a running world replaces in ``torch.distributed``, beside the object collectives."""
    return [
        Patch(c10d, "_world", RankLocalWorld(c10d._world)),
        Patch(ProcessLocalGroup, "_start_coll", staticmethod(_start_simulated)),
        Patch(ProcessLocalGroup, "_end_coll", staticmethod(_end_simulated)),
        # What DDP tells of itself when it is made, for which it asks a group that is no Python for its backend.
        Patch(dist.Logger, "set_construction_data_and_log", _say_nothing),
    ]


def _say_nothing(*_: object, **__: object) -> None:
    """Nobody reads it."""


def _create_group(_store: Any, rank: int, world_size: int, _timeout: timedelta) -> SimulatedGroup:
    return SimulatedGroup(rank, world_size)


dist.Backend.register_backend(_BACKEND, _create_group, devices=["cpu", "cuda"])
