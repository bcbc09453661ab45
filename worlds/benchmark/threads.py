"""Measures the same body under torch's ``MultiThreadedTestCase``: each example is one test method, as it is used."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch.testing._internal.common_distributed import MultiThreadedTestCase

from ..scenario import Scenario
from .child import report
from .cost import Cost, alternate
from .example import Failed, benchmark_scenario, save_and_load

__all__: list[str] = []


class _Example(MultiThreadedTestCase):
    scenario: ClassVar[Scenario]
    directory: ClassVar[str]

    @property
    def world_size(self) -> int:
        return self.scenario.save.world_size

    def setUp(self) -> None:
        super().setUp()
        type(self).directory = tempfile.mkdtemp(prefix="dcp-stress-threads-")
        self._spawn_threads()  # type: ignore[no-untyped-call]

    def tearDown(self) -> None:
        super().tearDown()  # type: ignore[no-untyped-call]
        shutil.rmtree(self.directory)

    def test_save_and_load(self) -> None:
        save_and_load(self.scenario, self.rank, f"{self.directory}/checkpoint")


def _run() -> None:
    result = unittest.TestResult()
    _Example("test_save_and_load").run(result)  # type: ignore[no-untyped-call]
    if not result.wasSuccessful() or result.skipped:
        raise Failed(f"the test did not pass: {result.errors + result.failures + result.skipped}")


def _measure(world_size: int, examples: int, columns: Sequence[str]) -> Mapping[str, Cost]:
    _Example.scenario = benchmark_scenario(world_size)
    return alternate(dict.fromkeys(columns, _run), examples)


if __name__ == "__main__":
    report(_measure)
