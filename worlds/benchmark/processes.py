"""Measures the same body under torch's ``MultiProcessTestCase``: each example starts its processes anew, as it is used.

Each of those imports torch and takes seconds, so that one example is a block and none is for warming up.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.distributed as dist
from torch.testing._internal.common_distributed import MultiProcessTestCase

from .child import report
from .cost import Cost, median_cost
from .example import Failed, benchmark_scenario, save_and_load

__all__: list[str] = []

_WORLD_SIZE = "DCP_STRESS_BENCHMARK_WORLD_SIZE"  # an environment variable, which the test's processes inherit


class _Example(MultiProcessTestCase):
    @property
    def world_size(self) -> int:
        return int(os.environ[_WORLD_SIZE])

    def setUp(self) -> None:
        super().setUp()
        self._spawn_processes()

    def tearDown(self) -> None:
        super().tearDown()
        Path(self.file_name).unlink(missing_ok=True)  # the store removes it as well, if it gets that far
        shutil.rmtree(self._checkpoint())

    def test_save_and_load(self) -> None:
        store = dist.FileStore(self.file_name, self.world_size)
        dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.world_size)
        save_and_load(benchmark_scenario(self.world_size), self.rank, self._checkpoint())

    def _checkpoint(self) -> str:
        return f"{self.file_name}.checkpoint"


def _run() -> Cost:
    result = unittest.TestResult()
    wall, cpu = time.perf_counter(), _processor_time()
    _Example("test_save_and_load").run(result)  # type: ignore[no-untyped-call]
    cost = Cost(1000 * (time.perf_counter() - wall), 1000 * (_processor_time() - cpu))
    if not result.wasSuccessful() or result.skipped:
        raise Failed(f"the test did not pass: {result.errors + result.failures + result.skipped}")
    return cost


def _processor_time() -> float:
    """Seconds of this process and of all its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _measure(world_size: int, examples: int, columns: Sequence[str]) -> Mapping[str, Cost]:
    os.environ[_WORLD_SIZE] = str(world_size)
    return {name: median_cost([_run() for _ in range(examples)]) for name in columns}


if __name__ == "__main__":
    report(_measure)
