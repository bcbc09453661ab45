"""The worlds that a command runs cases in, each made when it is first asked for."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from types import TracebackType

from properties.check import World
from worlds import ProcessWorld, SimulatedWorld, TorchrunWorld
from worlds.example import ExampleWorld

from .status import Unable

__all__ = ["OpenedWorlds"]


class OpenedWorlds:
    """A context manager that ends the worlds it has made.

    ``chosen`` is the one in which laws and ledgers run that do not ask for another one.
    """

    def __init__(
        self, chosen: str = SimulatedWorld.name, *, checkpoint_dir: str | None = None, timeout: float = 120
    ) -> None:
        self.chosen = chosen
        self._checkpoint_dir = checkpoint_dir
        self._timeout = timeout
        self._stack = ExitStack()

    def __enter__(self) -> OpenedWorlds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def world(self) -> World:
        """The chosen one."""
        made: World = getattr(self, self.chosen)
        return made

    @property
    def example_world(self) -> ExampleWorld:
        """The chosen one, for what runs step by step; raises :class:`Unable` where that is not offered."""
        if self.chosen == TorchrunWorld.name:
            raise Unable("a job of torchrun runs scenarios alone: leave out --world=torchrun")
        return self.processes if self.chosen == ProcessWorld.name else self.simulated

    @cached_property
    def simulated(self) -> SimulatedWorld:
        """The simulated world."""
        return self._stack.enter_context(SimulatedWorld())

    @cached_property
    def processes(self) -> ProcessWorld:
        """Real ranks; raises :class:`Unable` in a job, each of whose ranks is a process already."""
        if self.chosen == TorchrunWorld.name:
            raise Unable(
                "what needs processes of its own does not run in a job of torchrun: leave out --world=torchrun"
            )
        return self._stack.enter_context(ProcessWorld())

    @cached_property
    def torchrun(self) -> TorchrunWorld:
        """The ranks of the job that this process is rank 0 of."""
        return self._stack.enter_context(TorchrunWorld(self._checkpoint_dir, timeout=self._timeout))
