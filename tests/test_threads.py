"""Threads that a rank starts: they see the rank's groups, run one at a time, and a wait among them is never a hang."""

from __future__ import annotations

import concurrent.futures
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from worlds import Schedule, SimulatedWorld
from worlds.abandoned import Abandoned
from worlds.outcome import Deadlocked

EITHER = pytest.mark.parametrize("threads_first", [False, True])
Body = Callable[[int], object]


def run(world: SimulatedWorld, body: Body, ranks: int, *, threads_first: bool) -> tuple[object, ...]:
    """What each rank of ``body`` returned or where it waits, and the same again in a second run."""
    schedule = Schedule(threads_first=threads_first)
    launched = world.launch(body, ranks, schedule=schedule)
    assert world.launch(body, ranks, schedule=schedule) == launched
    return launched.ranks


@EITHER
def test_async_save_talks_to_the_ranks_of_its_own_world(
    world: SimulatedWorld, tmp_path: Path, threads_first: bool
) -> None:
    def body(rank: int) -> list[float]:
        saved = {"a": torch.arange(4.0), f"of {rank}": torch.full((2,), float(rank))}
        future = dcp.async_save(saved, checkpoint_id=tmp_path, storage_writer=dcp.FileSystemWriter(tmp_path))
        assert isinstance(future, concurrent.futures.Future)
        future.result()
        dist.barrier()
        target = {"a": torch.zeros(4), f"of {(rank + 1) % 3}": torch.zeros(2)}
        dcp.load(target, checkpoint_id=tmp_path)
        return [element for tensor in target.values() for element in tensor.tolist()]

    own = ([1.0, 1.0], [2.0, 2.0], [0.0, 0.0])
    expected = tuple([0.0, 1.0, 2.0, 3.0, *following] for following in own)
    assert run(world, body, 3, threads_first=threads_first) == expected


@EITHER
def test_collectives_in_threads_meet_those_of_the_other_ranks(world: SimulatedWorld, threads_first: bool) -> None:
    def body(rank: int) -> float:
        total = torch.tensor([float(rank)])
        thread = threading.Thread(target=dist.all_reduce, args=(total,))
        thread.start()
        thread.join()
        return total.item()

    assert run(world, body, 4, threads_first=threads_first) == (6.0,) * 4


@EITHER
def test_what_is_built_on_locks_works_among_the_threads_of_a_rank(world: SimulatedWorld, threads_first: bool) -> None:
    def body(rank: int) -> tuple[list[int], list[int], bool]:
        items: queue.Queue[int] = queue.Queue(maxsize=1)  # so that the producer has to wait as well
        started = threading.Event()

        def produce() -> None:
            started.set()
            for item in range(3):
                items.put(10 * rank + item)

        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            squares = pool.map(lambda number: number * number, range(4))
            producer = pool.submit(produce)
            got = [items.get() for _ in range(3)]
            producer.result()
        return got, list(squares), started.wait()

    expected = tuple(([10 * rank, 10 * rank + 1, 10 * rank + 2], [0, 1, 4, 9], True) for rank in range(2))
    assert run(world, body, 2, threads_first=threads_first) == expected


def test_threads_first_chooses_who_goes_on(world: SimulatedWorld) -> None:
    def body(_: int) -> list[str]:
        order: list[str] = []
        thread = threading.Thread(target=order.append, args=("thread",))
        thread.start()
        order.append("rank")
        thread.join()
        return order

    assert run(world, body, 1, threads_first=False) == (["rank", "thread"],)
    assert run(world, body, 1, threads_first=True) == (["thread", "rank"],)


def test_time_limit_strikes_when_nothing_else_can_happen(world: SimulatedWorld) -> None:
    def body(_: int) -> tuple[bool, bool]:
        never, soon = threading.Event(), threading.Event()
        thread = threading.Thread(target=soon.set)
        thread.start()
        seen = soon.wait(timeout=3600), never.wait(timeout=3600)
        thread.join()
        return seen

    assert run(world, body, 2, threads_first=False) == ((True, False),) * 2


@EITHER
def test_rank_that_waits_for_its_own_thread_for_ever_is_named(world: SimulatedWorld, threads_first: bool) -> None:
    def body(rank: int) -> str:
        held = threading.Lock()
        held.acquire()
        if rank == 1:
            thread = threading.Thread(target=held.acquire)
            thread.start()
            thread.join()
        return "returned"

    first, second = run(world, body, 2, threads_first=threads_first)
    assert first == "returned"
    assert isinstance(second, Deadlocked)
    assert str(second.waiting).startswith("the end of ")


def test_outside_a_world_threads_are_as_ever() -> None:
    with SimulatedWorld() as world:
        world.launch(lambda _: None, 2)
        done = threading.Event()
        thread = threading.Thread(target=done.set)
        thread.start()
        assert done.wait(60)
        thread.join()
        assert not thread.is_alive()


@pytest.mark.parametrize(("error", "said"), [(Abandoned, []), (OSError, [OSError])])
def test_finalizer_that_waits_in_a_rank_that_is_given_up_is_nobodys_failure(
    error: type[BaseException], said: list[type[BaseException]], world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of an executor, which wakes its threads while one of them is unwound and holds the lock."""
    seen: list[object] = []

    class Finalized:
        def __del__(self) -> None:
            raise error

    def body(_: int) -> None:
        Finalized()

    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_type))
    world.launch(body, 1)
    assert seen == said
