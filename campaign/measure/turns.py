"""One law in a process of its own, which waits before each example until it has its turn.

So the laws of a run take turns, each with its own state of Hypothesis, and a bug that kills one leaves the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from functools import wraps
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from hypothesis import seed, settings
from hypothesis.errors import HypothesisException

from worlds.hygiene import quiet

from ..laws import Law
from ..minimize import SHARE_OF_DRAWN, can_be_minimized, minimized
from ..opened import OpenedWorlds
from ..pool import sweep
from ..unit import seed_of
from .by_chance import choosing_by_chance, is_by_chance, settings_by_chance

__all__ = ["Broke", "Lost", "Shrunk", "TurnTaker"]


@dataclass(frozen=True)
class Broke:
    """A case that broke the law."""

    case: Any
    headline: str


@dataclass(frozen=True)
class Shrunk(Broke):
    """The smallest case that was found, after so many runs of the law, and whether it came to its end."""

    runs: int = 0
    whole: bool = True


@dataclass(frozen=True)
class Lost:
    """How the process of a law ended before it had answered."""

    how: str


class TurnTaker:
    """The process of a law, as the one sees it that gives the turns."""

    def __init__(
        self, law: Law, number: int, *, shrink_seconds: float, patience: float, by_chance: bool = False
    ) -> None:
        self.law = law
        self.cpu = 0.0
        self.exhausted = False
        self._patience = patience
        self._shrink_seconds = shrink_seconds
        self._connection, theirs = Pipe()
        self._process = os.fork()
        if self._process == 0:
            self._connection.close()
            status = 1
            try:
                os.setsid()  # what it starts ends with it
                choosing = choosing_by_chance() if by_chance else contextlib.nullcontext()
                with contextlib.suppress(EOFError), choosing:  # there are no more turns
                    _serve(law, number, _Turns(law, theirs, shrink_seconds, by_chance=by_chance), theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def take(self, turns: int) -> int | tuple[int, Broke] | Lost:
        """Let it run so many examples: how many it ran, fewer where it has no more, and what broke in the last."""
        answer = self._ask(turns, self._patience)
        if isinstance(answer, Lost):
            return answer
        ran, broke, self.exhausted, self.cpu = answer
        return ran if broke is None else (ran, broke)

    def shrink(self) -> Shrunk | Lost:
        """Let it shrink what it has found."""
        answer: Shrunk | Lost = self._ask(0, self._shrink_seconds + self._patience)
        return answer

    def _ask(self, turns: int, patience: float) -> Any:
        try:
            self._connection.send(turns)
            if not self._connection.poll(patience):
                self.end()
                return Lost(f"hung for {patience:.0f} s")
            return self._connection.recv()
        except (EOFError, OSError):
            return Lost(self.end())

    def end(self) -> str:
        """End it, and all that it has started; in words, how it ended."""
        if self._process == 0:
            return "was ended"
        ended, status = os.waitpid(self._process, os.WNOHANG)
        if not ended:
            try:
                os.killpg(self._process, signal.SIGKILL)
            except ProcessLookupError:  # it has not come so far as to have a group
                os.kill(self._process, signal.SIGKILL)
            _, status = os.waitpid(self._process, 0)
        sweep(self._process)
        self._process = 0
        self._connection.close()
        code = os.waitstatus_to_exitcode(status)
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


class _IsOver(BaseException):
    """There is no time left to shrink; Hypothesis lets it pass."""


class _Turns:
    """Stands between Hypothesis and the law: it waits for turns, ends shrinking in time, and minimizes what is left.

    Shrinking may go from one symptom of the bug to another, since torch has that one bug more than else: pytest shrinks
    each symptom by itself, and shows the smallest of them too. Its time is of the law's own CPU, so that what it comes
    to does not depend on what else runs; where the law waits for processes, it is what passes.
    """

    def __init__(self, law: Law, connection: Connection, shrink_seconds: float, *, by_chance: bool) -> None:
        self.by_chance = by_chance
        self._law = law
        self._connection = connection
        self._shrink_seconds = shrink_seconds
        self._left = 0
        self._ran = 0
        self._runs = 0
        self._begun = 0.0
        self._begun_to_shrink = 0.0
        self._clock = time.monotonic if law.needs_processes else time.process_time
        self._last: Broke | None = None
        self._smallest: Broke | None = None

    def wait(self, *, exhausted: bool = False) -> None:
        """Answer what came of the last turns, unless these are the first, and wait for more."""
        if self._begun:
            self._answer(None, exhausted=exhausted)
        self._begun = self._begun or time.process_time()
        self._left, self._ran = self._connection.recv(), 0

    def _answer(self, broke: Broke | None, *, exhausted: bool = False) -> None:
        self._connection.send((self._ran, broke, exhausted, time.process_time() - self._begun))

    def __call__(self, **arguments: Any) -> None:
        if self.by_chance and not is_by_chance():
            return
        if not self.broken:
            while self._left == 0:
                self.wait()
            self._left -= 1
            self._ran += 1
        elif self._clock() > self._begun_to_shrink + self._shrink_seconds * SHARE_OF_DRAWN:
            raise _IsOver
        self._runs += 1
        try:
            self._law.inner(**arguments)
        except HypothesisException:
            raise
        except Exception as error:
            broke = _broke(arguments[self._law.argument], error)
            case = broke.case
            if not self.broken:
                self._answer(broke)
                self._connection.recv()  # to be told to shrink
                self._begun_to_shrink = self._clock()
                self._runs = 0
            if self._smallest is None or len(repr(case)) <= len(repr(self._smallest.case)):
                self._smallest = broke
            self._last = broke
            raise

    @property
    def broken(self) -> bool:
        """Whether the law has been broken."""
        return self._last is not None

    def shrunk(self, opened: OpenedWorlds, *, whole: bool) -> Shrunk:
        """What is left of it. Where Hypothesis has come to its end, that is made smaller which it ran last."""
        found = self._last if whole else self._smallest
        assert found is not None
        if not can_be_minimized(found.case):
            return Shrunk(found.case, found.headline, runs=self._runs, whole=whole)
        smallest = found

        def shows(case: Any) -> bool:
            nonlocal smallest
            self._runs += 1
            try:
                self._law.judge(case, opened)
            except AssertionError as error:
                smallest = _broke(case, error)
                return True
            return False

        left = self._begun_to_shrink + self._shrink_seconds - self._clock()
        came_to = minimized(found.case, shows, seconds=left, clock=self._clock)
        return Shrunk(smallest.case, smallest.headline, runs=self._runs, whole=came_to.whole)


def _broke(case: Any, error: Exception) -> Broke:
    return Broke(case, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")


def _serve(law: Law, number: int, turns: _Turns, connection: Connection) -> None:
    turns.wait()
    usual = law.function._hypothesis_internal_use_settings
    law.function._hypothesis_internal_use_settings = settings(usual, database=None, report_multiple_bugs=False)
    with OpenedWorlds() as opened, quiet():
        law.function.hypothesis.inner_test = wraps(law.inner)(lambda **arguments: turns(**arguments))
        if turns.by_chance:
            usual = law.function._hypothesis_internal_use_settings
            law.function._hypothesis_internal_use_settings = settings_by_chance(usual)
        for shard in range(law.shards):
            seed(seed_of(number, law.name, shard))(law.function)
            whole = True
            try:
                law.function(**law.fixtures(opened, shard=shard))
            except _IsOver:
                whole = False
            except Exception as error:
                if not turns.broken:  # not the law, but what runs it
                    connection.send(Lost(f"failed by {type(error).__name__}: {error}"))
                    return
            if turns.broken:
                connection.send(turns.shrunk(opened, whole=whole))
                return
        while True:
            turns.wait(exhausted=True)
