"""A worker: a process of its own that does one unit after the other, as its standard input asks for them.

What it writes down goes to its log, and the same lines to its standard output for whoever drives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from hypothesis import Verbosity, seed, settings

from properties.drawing import set_up_drawing
from properties.profiles import COMMON
from strategies import limit_planners, limit_storages
from worlds import SimulatedWorld
from worlds.hygiene import quiet

from .finding import Finding, describe, see_again
from .grouping import group_of
from .logs import Log, Record
from .minimize import Minimized, can_be_minimized, minimized
from .opened import OpenedWorlds
from .pool import sweep
from .slot import Slot
from .unit import Unit
from .watch import Broken, SliceIsOver, Watch

__all__ = ["Worker", "prepare"]

_GRACE = 10
"""Seconds that a worker has to end by itself when its driver is dead."""

_MANY = 10**9
"""Examples: a slice ends by its time."""


def prepare() -> None:
    """Set Hypothesis up for a campaign; before the laws are imported, which go by it."""
    set_up_drawing()
    settings.register_profile(
        "campaign",
        COMMON,
        max_examples=_MANY,
        derandomize=False,
        database=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    settings.load_profile("campaign")
    torch.set_num_threads(1)


class Worker:
    """Does units. ``write`` takes each record; ``slot`` says what is being done."""

    def __init__(self, opened: OpenedWorlds, log: Log, slot: Slot, tell: Any) -> None:
        from .laws import all_laws  # not before prepare()

        self.stopped = False
        self._laws = all_laws()
        self._opened = opened
        self._log = log
        self._slot = slot
        self._tell = tell
        self._seen: dict[str, set[int]] = {}
        self._found: set[str] = set()

    def write(self, record: Record) -> None:
        """To the log first: what the driver has heard of is there for whoever comes after it."""
        record = {"at": round(time.time(), 3), **record}
        self._log.append(record)
        self._tell(record)

    def do(self, unit: Unit) -> None:
        """Run the law until the slice is over, and write down what came of it."""
        law = self._laws[unit.law]
        unit = Unit.from_data({**unit.to_data(), "known": sorted({*unit.known, *self._found})})
        seen = self._seen.setdefault(law.name, set())
        watch = Watch(
            law, unit, self._slot, self.write, seen, world=self._opened.chosen, is_stopped=lambda: self.stopped
        )
        self.write({"is": "begin", "unit": unit.id, "law": law.name, "seed": unit.seed})
        law.function.hypothesis.inner_test = wraps(law.inner)(lambda **arguments: watch(**arguments))
        fixtures = law.fixtures(self._opened)
        error = ""
        while not watch.is_over() and not error:
            seed(unit.seed + (watch.run << 32))(law.function)
            error = self._run(law.function, fixtures, watch)
            if watch.target is not None:
                self._describe(unit, watch.found(self._opened))
            elif not watch.draw_others():
                break
        watch.flush()
        self.write({"is": "end", "unit": unit.id, "error": error, "stopped": self.stopped})

    @staticmethod
    def _run(function: Any, fixtures: dict[str, Any], watch: Watch) -> str:
        try:
            function(**fixtures)
        except SliceIsOver:
            pass
        except Exception as error:  # a violation, which the watch knows of, or what Hypothesis has to say
            if watch.target is None:
                return " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return ""

    def _describe(self, unit: Unit, broken: Broken) -> None:
        law = self._laws[unit.law]
        finding = describe(law, broken.case, broken.error, self._opened, seed=unit.seed, shrunk=broken.shrunk)
        self._found.add(finding.id)
        self.write({"is": "finding", "unit": unit.id, "finding": finding.to_data()})

    def finish(self, finding: Finding, unit: str, seconds: float) -> None:
        """Make a finding small and describe it, whose worker has died before it came to that.

        It is written down first that this is tried, so that it is tried once.
        """
        self.write({"is": "finishing", "finding": finding.id})
        law = self._laws[finding.law]

        def broken_by(case: object) -> Exception | None:
            try:
                law.judge(case, self._opened)
            except Exception as error:
                return error
            return None

        def shows(case: object) -> bool:
            error = None if self.stopped else broken_by(case)
            return error is not None and group_of(law.name, error).id == finding.id

        case = finding.read_case()
        found = minimized(case, shows, seconds=seconds) if can_be_minimized(case) else Minimized(case, whole=False)
        error = broken_by(found.case)
        if error is not None and group_of(law.name, error).id == finding.id:
            shrunk = found.whole and not self.stopped
            finding = describe(law, found.case, error, self._opened, seed=finding.seed, shrunk=shrunk)
        else:
            finding = replace(finding, flaky=True, no_script="it did not show when it was run once more")
        self.write({"is": "finding", "unit": unit, "finding": finding.to_data()})
        self.write({"is": "finished", "finding": finding.id})

    def again(self, finding: Finding) -> None:
        """Run a finding's case once more, and write down whether it shows what it showed."""
        state, headline = see_again(finding, self._opened)
        self.write({"is": "again", "finding": finding.id, "state": state, "headline": headline})


def _serve(directory: Path, name: str, world: str, storage: str = "", planners: str = "") -> None:
    # What torch, or a law, prints is not what the driver reads.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver's affair
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    prepare()

    def tell(record: Record) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody is there any more; the log has it
            output.write(json.dumps(record) + "\n")
            output.flush()

    limit_storages(shared=world != SimulatedWorld.name, only=storage or None)
    limit_planners(planners or None)
    with OpenedWorlds(world) as opened, Log(directory / "log" / f"{name}.jsonl") as log, quiet():
        worker = Worker(opened, log, Slot(directory / "slots" / name), tell)
        signal.signal(signal.SIGTERM, lambda *_: setattr(worker, "stopped", True))
        tell({"is": "ready"})
        for line in sys.stdin:
            asked = json.loads(line)
            if "again" in asked:
                worker.again(Finding.from_data(asked["again"]))
            elif "finish" in asked:
                worker.finish(Finding.from_data(asked["finish"]), asked["unit"], asked["seconds"])
            else:
                worker.do(Unit.from_data(asked["unit"]))
            if worker.stopped:
                break


def _end_with(parent: int) -> None:
    """End with the process that has started this one, whatever ends it: after this example, if that does not hang."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    sweep(os.getpid())
    os._exit(1)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), *sys.argv[2:])
