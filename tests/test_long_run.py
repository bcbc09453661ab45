"""Thousands of examples: the same in every process, and nothing of them is kept."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, given, seed, settings

from properties import judge
from strategies import scenarios
from worlds import Scenario, SimulatedWorld

pytestmark = pytest.mark.slow

_ONE_THOUSAND = """
import conftest, hashlib
from hypothesis import Phase, given, seed, settings
from properties import judge
from strategies import scenarios
from worlds import SimulatedWorld

@seed(6)
@settings(max_examples=1000, database=None, phases=[Phase.generate])
@given(scenario=scenarios())
def show(scenario):
    outcome = world.run(scenario)
    for text in (repr(scenario), repr(outcome), str(judge(scenario, outcome))):
        print(hashlib.sha256(text.encode()).hexdigest())

with SimulatedWorld() as world:
    show()
"""


def test_one_thousand_examples_are_the_same_in_another_process() -> None:
    """Examples, outcomes with the schedule in them, and what the judge says, whatever strings hash to."""
    first, second = (_digests(hash_seed) for hash_seed in ("1", "2"))
    assert len(first) >= 3 * 1000
    assert first == second


def _digests(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", _ONE_THOUSAND]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


def test_ten_thousand_examples_leave_nothing() -> None:
    """Threads and files are those after the first two thousand, and memory is what it was but for full caches."""
    seen: list[_Resources] = []
    with SimulatedWorld() as world:

        @seed(6)
        @settings(max_examples=2000, database=None, phases=[Phase.generate])
        @given(scenario=scenarios())
        def run(scenario: Scenario) -> None:
            str(judge(scenario, world.run(scenario)))

        for _ in range(5):
            run()
            seen.append(_resources())
            print(seen[-1])
    first, *later = seen
    for after in later:
        assert (after.threads, after.files) == (first.threads, first.files)
        assert after.blocks < 1.05 * first.blocks
        assert after.resident < 1.1 * first.resident


@dataclass(frozen=True)
class _Resources:
    """Threads, open files, the blocks of memory that Python has allocated, and the memory that is resident, in KiB."""

    threads: int
    files: int
    blocks: int
    resident: int


def _resources() -> _Resources:
    gc.collect()
    with suppress(OSError, AttributeError):  # where the C library can give free memory back to the system, let it
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") // 1024
    files = len(list(Path("/proc/self/fd").iterdir()))
    return _Resources(threading.active_count(), files, sys.getallocatedblocks(), resident)
