"""Collectives of the simulated world give what gloo gives in real processes, for everything that DCP builds on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharding_spec import ChunkShardingSpec
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard

from worlds import ProcessWorld, SimulatedWorld
from worlds.processes import jobs

WORLD_SIZE = 4


def mine(rank: int, size: int = 2) -> torch.Tensor:
    return torch.arange(size) + 10 * (rank + 1)


def all_gather(rank: int) -> Any:
    gathered = [torch.zeros(2, dtype=torch.int64) for _ in range(WORLD_SIZE)]
    dist.all_gather(gathered, mine(rank))
    return [tensor.tolist() for tensor in gathered]


def all_gather_into_tensor(rank: int) -> Any:
    gathered = torch.zeros(2 * WORLD_SIZE, dtype=torch.int64)
    dist.all_gather_into_tensor(gathered, mine(rank))
    return gathered.tolist()


def all_reduce(rank: int) -> Any:
    results = []
    for op in (dist.ReduceOp.SUM, dist.ReduceOp.MAX, dist.ReduceOp.MIN, dist.ReduceOp.PRODUCT):
        tensor = mine(rank)
        dist.all_reduce(tensor, op)
        results.append(tensor.tolist())
    return results


def reduce(rank: int) -> Any:
    tensor = mine(rank)
    dist.reduce(tensor, dst=2)
    return tensor.tolist() if rank == 2 else None  # elsewhere gloo may leave what it likes


def broadcast(rank: int) -> Any:
    tensor = mine(rank)
    dist.broadcast(tensor, src=3)
    return tensor.tolist()


def broadcast_of_memory(rank: int) -> Any:
    """Gloo sends a tensor's bytes from the first element on, and takes them so, and asks for no strides."""
    from_columns = torch.arange(6).view(2, 3).t() if rank == 1 else torch.zeros(3, 2, dtype=torch.int64)
    into_columns = torch.arange(6).view(3, 2) if rank == 1 else torch.zeros(2, 3, dtype=torch.int64).t()
    for tensor in (from_columns, into_columns):
        dist.broadcast(tensor, src=1)
    return from_columns.tolist(), into_columns.tolist()


def broadcast_refused(rank: int) -> Any:
    """Some dtypes, and what is no plain tensor, cannot be sent."""
    dtensor = distribute_tensor(torch.zeros(4), init_device_mesh("cpu", (WORLD_SIZE,)), [Replicate()])
    said = []
    for tensor in (torch.zeros(1, dtype=torch.int16), torch.zeros(1, dtype=torch.float8_e5m2), dtensor):
        with pytest.raises((RuntimeError, NotImplementedError)) as caught:
            dist.broadcast(tensor, src=0)
        said.append((type(caught.value).__name__, "Invalid scalar type" in str(caught.value)))
    return said


def scatter(rank: int) -> Any:
    tensor = torch.zeros(2, dtype=torch.int64)
    dist.scatter(tensor, [mine(other) for other in range(WORLD_SIZE)] if rank == 1 else None, src=1)
    return tensor.tolist()


def gather(rank: int) -> Any:
    gathered = [torch.zeros(2, dtype=torch.int64) for _ in range(WORLD_SIZE)] if rank == 1 else None
    dist.gather(mine(rank), gathered, dst=1)
    return None if gathered is None else [tensor.tolist() for tensor in gathered]


def reduce_scatter(rank: int) -> Any:
    tensor = torch.zeros(1, dtype=torch.int64)
    dist.reduce_scatter_tensor(tensor, mine(rank, WORLD_SIZE))
    return tensor.tolist()


def all_to_all(rank: int) -> Any:
    tensor = torch.zeros(WORLD_SIZE, dtype=torch.int64)
    dist.all_to_all_single(tensor, mine(rank, WORLD_SIZE))
    return tensor.tolist()


def asynchronous(rank: int) -> Any:
    first, second = mine(rank), mine(rank) * 2
    works = [dist.all_reduce(first, async_op=True), dist.broadcast(second, src=1, async_op=True)]
    for work in works:
        work.wait()
    dist.barrier()
    return first.tolist(), second.tolist()


def send_and_receive(rank: int) -> Any:
    received = torch.zeros(2, dtype=torch.int64)
    sending = dist.isend(mine(rank), dst=(rank + 1) % WORLD_SIZE)
    source = dist.recv(received, src=(rank - 1) % WORLD_SIZE)
    assert sending is not None
    sending.wait()
    return received.tolist(), source


def objects(rank: int) -> Any:
    everyone: list[Any] = [None] * WORLD_SIZE
    dist.all_gather_object(everyone, {"rank": rank, "text": "x" * rank})
    at_root: list[Any] | None = [None] * WORLD_SIZE if rank == 2 else None
    dist.gather_object(("from", rank), at_root, dst=2)
    listed = [rank, ("of", rank)]
    dist.broadcast_object_list(listed, src=3)
    scattered: list[Any] = [None]
    dist.scatter_object_list(scattered, [f"for {other}" for other in range(WORLD_SIZE)] if rank == 1 else None, src=1)
    return everyone, at_root, listed, scattered


def objects_are_copies(rank: int) -> Any:
    brought = [rank]
    everyone: list[Any] = [None] * WORLD_SIZE
    dist.all_gather_object(everyone, brought)
    return everyone[rank] is brought


def sub_groups(rank: int) -> Any:
    odd, even = dist.new_group([3, 1]), dist.new_group([0, 2])
    group = odd if rank % 2 else even
    assert group is not None
    tensor = mine(rank)
    dist.all_reduce(tensor, group=group)
    everyone: list[Any] = [None] * 2
    dist.all_gather_object(everyone, rank, group=group)
    listed = [rank]
    dist.broadcast_object_list(listed, src=dist.get_global_rank(group, 1), group=group)
    ranks = dist.get_process_group_ranks(group)
    return tensor.tolist(), everyone, listed, ranks, dist.get_rank(group), dist.get_world_size(group), dist.get_rank()


def functional_collectives(rank: int) -> Any:
    summed = functional.all_reduce(mine(rank), "sum", list(range(WORLD_SIZE)))
    gathered = functional.all_gather_tensor(mine(rank), 0, list(range(WORLD_SIZE)))
    return torch.Tensor.tolist(summed + 0), torch.Tensor.tolist(gathered + 0)


def sharded(rank: int) -> Any:
    spec = ChunkShardingSpec(0, [f"rank:{other}/cpu" for other in (2, 0, 1, 3)])
    tensor = sharded_tensor.empty(spec, 7, 2, dtype=torch.int64)
    for shard in tensor.local_shards():
        shard.tensor.fill_(rank)
    whole = torch.zeros(7, 2, dtype=torch.int64) if rank == 1 else None
    tensor.gather(dst=1, out=whole)
    return None if whole is None else whole.tolist()


def mesh(rank: int) -> Any:
    grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    tensor = distribute_tensor(torch.arange(20).reshape(5, 4), grid, [Shard(0), Shard(1)])
    local = tensor.to_local().tolist()
    moved = tensor.redistribute(placements=[Replicate(), Shard(0)]).to_local().tolist()
    return local, moved, tensor.full_tensor().tolist(), grid["tp"].get_local_rank(), grid["dp"].size()


def strided_mesh(rank: int) -> Any:
    """Rows that FSDP on top of tensor parallelism cuts unevenly: where they go depends on the rank's place."""
    grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    rows = torch.arange(3 * 2).reshape(3, 2)[[0, 1] if rank % 2 == 0 else [2]]  # what tensor parallelism leaves here
    local = rows.chunk(2)[rank // 2] if len(rows) > rank // 2 else rows[:0]
    placements = [_StridedShard(0, split_factor=2), Shard(0)]
    tensor = DTensor.from_local(local, grid, placements, shape=torch.Size((3, 2)), stride=(2, 1))
    return local.tolist(), tensor.full_tensor().tolist()


def fully_sharded_step(rank: int) -> Any:
    grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    with torch.no_grad():
        module = torch.nn.Sequential(torch.nn.Linear(2, 5, bias=False), torch.nn.Linear(5, 2, bias=False))
        for weight in module.parameters():
            weight.copy_(torch.arange(10.0).reshape(weight.shape))
    plan = {"0": ColwiseParallel(use_local_output=False), "1": RowwiseParallel()}
    fully_shard(parallelize_module(module, grid["tp"], plan), mesh=grid["dp"])
    module(torch.tensor([[1.0, 2.0 * rank]])).sum().backward()
    gradients: list[Any] = [weight.grad for weight in module.parameters()]
    return [gradient.to_local().tolist() for gradient in gradients]


BODIES: dict[str, Callable[[int], Any]] = {
    body.__name__: body
    for body in (
        all_gather,
        all_gather_into_tensor,
        all_reduce,
        reduce,
        broadcast,
        broadcast_of_memory,
        broadcast_refused,
        scatter,
        gather,
        reduce_scatter,
        all_to_all,
        asynchronous,
        send_and_receive,
        objects,
        objects_are_copies,
        sub_groups,
        functional_collectives,
        sharded,
        mesh,
        strided_mesh,
        fully_sharded_step,
    )
}


def all_bodies(rank: int) -> dict[str, Any]:
    return {name: body(rank) for name, body in BODIES.items()}


@pytest.fixture(scope="module")
def gloo(processes: ProcessWorld) -> Sequence[dict[str, Any]]:
    """What each rank gets in real processes, which no other test has: the groups that are made stay in them."""
    pool = processes.new_pool(WORLD_SIZE)
    try:
        answers = pool.run(lambda rank: partial(jobs.call, all_bodies, rank))
    finally:
        pool.close()
    answers.raise_broken()
    return [answers.ranks[rank] for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("name", BODIES)
def test_collective_gives_what_gloo_gives(name: str, gloo: Sequence[dict[str, Any]], world: SimulatedWorld) -> None:
    assert list(world.launch(BODIES[name], WORLD_SIZE).ranks) == [results[name] for results in gloo]


def equal_to_all(rank: int) -> list[bool]:
    """Whether this rank's mesh equals another one of its own, and whether it does those of the other ranks."""
    mine = init_device_mesh("cpu", (WORLD_SIZE,), mesh_dim_names=("dp",))
    _meshes[rank] = mine
    dist.barrier()
    again = init_device_mesh("cpu", (WORLD_SIZE,), mesh_dim_names=("dp",))
    return [again == mine, *(again == _meshes[other] for other in range(WORLD_SIZE) if other != rank)]


_meshes: dict[int, Any] = {}


def test_mesh_of_a_rank_is_no_other_ranks(world: SimulatedWorld) -> None:
    """DTensor keeps by mesh what it has found out, and it is another thing for each rank."""
    assert world.launch(equal_to_all, WORLD_SIZE).ranks == ([True, False, False, False],) * WORLD_SIZE


def test_mesh_is_no_earlier_one_over_groups_of_other_names(world: SimulatedWorld) -> None:
    def make(rank: int, shape: tuple[int, ...], names: tuple[str, ...]) -> Any:
        return init_device_mesh("cpu", shape, mesh_dim_names=names)["tp"]

    first, _ = world.launch(partial(make, shape=(2, 1), names=("dp", "tp")), 2).ranks
    (second,) = world.launch(partial(make, shape=(1,), names=("tp",)), 1).ranks
    assert world.launch(lambda _: first == second, 1).ranks == (False,)


def _wrong_root(rank: int) -> str:
    with pytest.raises(RuntimeError) as caught:
        dist.gather_object(rank, None, dst=2)
    return str(caught.value)


def _short_list(rank: int) -> str:
    with pytest.raises(RuntimeError) as caught:
        dist.scatter_object_list([None], [1, 2])
    return str(caught.value)


def _outside(rank: int) -> Any:
    group = dist.new_group([0])
    return dist.get_global_rank(group, 0), dist.get_world_size(group)


@pytest.mark.parametrize(("body", "size"), [(_wrong_root, 2), (_short_list, 1), (_outside, 2)])
def test_what_gloo_refuses_is_refused_in_its_words(
    body: Callable[[int], Any], size: int, processes: ProcessWorld, world: SimulatedWorld
) -> None:
    """Where torch asks for nothing before; and of a group that a rank is not in, it knows the ranks."""
    assert world.launch(body, size).ranks == processes.launch(body, size).ranks
