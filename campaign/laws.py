"""The laws as a campaign runs them: the functions of ``properties/test_*.py`` themselves, without pytest."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import properties
import properties.planning
from properties.choices import on_files, on_servers, on_storages, why_unfit
from properties.sharding import SHARDS
from worlds import ProcessWorld, SimulatedWorld, TorchrunWorld

from .opened import OpenedWorlds
from .status import Refused

__all__ = ["Law", "all_laws", "chosen_laws"]

_FIXTURES = ("world", SimulatedWorld.name, ProcessWorld.name, TorchrunWorld.name)


@dataclass(frozen=True)
class Law:
    """A law. ``function`` draws its cases; ``inner`` is what judges one, and all that is known of it is in there."""

    name: str
    module: str
    function: Any
    inner: Any
    only_in: tuple[str, ...] | None = None
    marks: frozenset[str] = frozenset()
    """The names of pytest's marks, which say on which storages it holds; see :mod:`properties.choices`."""

    @property
    def is_of_storages(self) -> bool:
        """Whether it holds on any storage, or on any of some kind."""
        return not self.marks.isdisjoint(mark.name for mark in (on_storages, on_files, on_servers))

    @property
    def node(self) -> str:
        """What pytest calls it."""
        return f"{self.module.replace('.', '/')}.py::test_{self.name}"

    @property
    def argument(self) -> str:
        """The name of the parameter that takes the case."""
        return list(inspect.signature(self.inner).parameters)[-1]

    @property
    def case_type(self) -> type[Any]:
        """The class of its cases."""
        kind: type[Any] = typing.get_type_hints(self.inner)[self.argument]
        return kind

    @property
    def needs_processes(self) -> bool:
        """Whether it runs on real ranks in any world."""
        return ProcessWorld.name in inspect.signature(self.inner).parameters

    @property
    def shards(self) -> int:
        """Into how many parts its examples are cut."""
        return SHARDS if "shard" in inspect.signature(self.inner).parameters else 1

    @property
    def examples(self) -> int:
        """How many a run has of it, in all shards, under the profile that was loaded when it was imported."""
        chosen: int = self.function._hypothesis_internal_use_settings.max_examples
        return chosen * self.shards

    def runs_in(self, world: str) -> bool:
        """Whether it makes sense in the world of that name."""
        return self.only_in is None or world in self.only_in

    def fixtures(self, opened: OpenedWorlds, *, shard: int = 0) -> dict[str, Any]:
        """What it is given beside the case."""
        parameters = inspect.signature(self.inner).parameters
        given: dict[str, Any] = {name: getattr(opened, name) for name in _FIXTURES if name in parameters}
        return {**given, "shard": shard} if "shard" in parameters else given

    def judge(self, case: object, opened: OpenedWorlds) -> None:
        """Raise the violation if the case breaks it; known issues are counted."""
        self.inner(**self.fixtures(opened), **{self.argument: case})


@cache
def all_laws() -> Mapping[str, Law]:
    """Every law by its name."""
    found: dict[str, Law] = {}
    for module in [*_modules(properties), *_modules(properties.planning)]:
        for name, function in vars(module).items():
            if name.startswith("test_") and hasattr(function, "hypothesis"):
                law = _law(module.__name__, name.removeprefix("test_"), function)
                assert law.name not in found, f"there are two laws {law.name!r}"
                found[law.name] = law
    return found


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name.startswith("test_")]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def _law(module: str, name: str, function: Any) -> Law:
    marks = {mark.name: mark.args for mark in getattr(function, "pytestmark", ())}
    inner = function.hypothesis.inner_test
    return Law(
        name,
        module,
        function,
        inner,
        marks.get("only_in"),
        frozenset(marks),
    )


def chosen_laws(names: typing.Sequence[str], world: str, *, storage: str = "", planners: str = "") -> list[Law]:
    """The laws of those names, or without any name all that make sense in that world, and hold on those if any.

    A name is a law's, or the name of a module without ``test_``, as ``blame``, which stands for all in it. Raises
    :class:`Refused`.
    """
    laws = all_laws()
    chosen = {law.name: law for name in names for law in _named(name, laws)} if names else dict(laws)
    for law in [*chosen.values()]:
        if not law.runs_in(world):
            if names:
                raise Refused(f"the law {law.name} makes sense in the {' or '.join(law.only_in or ())} world alone")
            del chosen[law.name]
        elif (reason := why_unfit(law.marks, world, storage, planners)) is not None:
            if law.name in names:
                raise Refused(f"the law {law.name} {reason}")
            del chosen[law.name]
    if not chosen:
        unfit = _named(names[0], laws) if names else ()
        why = dict.fromkeys(why_unfit(law.marks, world, storage, planners) for law in unfit)
        raise Refused(f"no law of {', '.join(names)} {' or '.join(filter(None, why))}")
    return [*chosen.values()]


def _named(name: str, laws: Mapping[str, Law]) -> list[Law]:
    if name in laws:
        return [laws[name]]
    found = [law for law in laws.values() if law.module.rpartition(".")[2] == f"test_{name}"]
    if not found:
        raise Refused(f"there is no law {name!r}, only {', '.join(laws)}")
    return found
