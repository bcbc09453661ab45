"""Measures the same body in processes that are started once, joined by gloo, and run one example after the other."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from ..scenario import Scenario
from .child import report
from .cost import WARM_UP, Cost, block_sizes, median_cost
from .example import benchmark_scenario, save_and_load

__all__: list[str] = []

_PATIENCE = timedelta(minutes=5)  # a collective that takes longer ends the measurement instead of hanging it


def _work(rank: int, world_size: int, examples: int, directory: str) -> None:
    """What one process of the pool does; leaves the costs of its blocks in a file."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{directory}/store", world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=_PATIENCE)
    scenario = benchmark_scenario(world_size)
    _run_block(scenario, rank, f"{directory}/warm-up", WARM_UP)
    sizes = enumerate(block_sizes(examples))
    blocks = [_run_block(scenario, rank, f"{directory}/block-{index}", size) for index, size in sizes]
    Path(directory, f"costs-{rank}").write_text(json.dumps(blocks))
    dist.barrier()
    dist.destroy_process_group()


def _run_block(scenario: Scenario, rank: int, path: str, size: int) -> tuple[float, float]:
    """Milliseconds per example, on the clock and of this process; all ranks begin and end together."""
    dist.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    for example in range(size):
        save_and_load(scenario, rank, f"{path}-{example}")
    dist.barrier()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return 1000 * wall / size, 1000 * cpu / size


def _measure(world_size: int, examples: int, columns: Sequence[str]) -> Mapping[str, Cost]:
    return {name: _measure_pool(world_size, examples) for name in columns}


def _measure_pool(world_size: int, examples: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix="dcp-stress-pool-") as directory:
        torch.multiprocessing.spawn(_work, (world_size, examples, directory), nprocs=world_size)
        ranks = [json.loads(Path(directory, f"costs-{rank}").read_text()) for rank in range(world_size)]
    blocks = zip(*ranks, strict=True)
    return median_cost([Cost(max(wall for wall, _ in block), sum(cpu for _, cpu in block)) for block in blocks])


if __name__ == "__main__":
    report(_measure)
