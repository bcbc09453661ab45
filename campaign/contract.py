"""The contract of storages as a page: what authors of one have to know, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Literal

import pytest

from properties.choices import on_files, on_servers, on_storages
from worlds.contract import DUTIES, FAILURES, LIMITS, Clause, clauses_of
from worlds.hooks import HOOKS

from .laws import all_laws

__all__ = ["contract_lines"]


def contract_lines() -> Iterator[str]:
    """The page in Markdown."""
    yield "# What torch.distributed.checkpoint asks of a storage"
    yield ""
    yield "A StorageWriter and a StorageReader for each rank, one of which is the coordinator. Every hook is called"
    yield "once in a save or a load, in this order, unless it says more; before a rank goes on to what is headed by"
    yield "another phase, or is the coordinator's, every rank has done what stands above it."
    yield ""
    yield "What is judged is an object with make_writer(checkpoint_id) and make_reader(checkpoint_id), which each rank"
    yield "calls by itself, and with clean_up(checkpoint_id); `dcp-stress new-storage` writes one."
    for operation, end in (("save", "StorageWriter"), ("load", "StorageReader")):
        yield ""
        yield f"## {operation}: {end}"
        yield from _hooks(operation)  # type: ignore[arg-type]
    yield ""
    yield "## What holds of every storage"
    yield ""
    yield from (f"- {duty}" for duty in DUTIES)
    yield ""
    yield "The laws that judge it, on any storage:"
    yield ""
    yield from _laws(on_storages)
    yield ""
    yield "Where its writer and reader have an `fs` that is DCP's FileSystem or that of torch's fsspec, also:"
    yield ""
    yield from _laws(on_files)
    yield ""
    yield "With an `endpoint`, the address of a server of HTTP, and `at(endpoint)`, which returns the same storage with"
    yield "writers and readers that find the server at another address, also:"
    yield ""
    yield from _laws(on_servers)
    yield ""
    yield "## What depends on a declaration"
    yield ""
    yield from (f"- `{limit}`: {text}" for limit, text in LIMITS.items())
    yield ""
    yield "## Planners of your own"
    yield ""
    yield "The laws on any storage hold with any planners, by --planner=module:name: an object with make_save_planner()"
    yield "or make_load_planner(), or both, which each rank calls by itself; what is left out is torch's own. With one"
    yield "parameter they get the options of DefaultSavePlanner and DefaultLoadPlanner; `options` may list those"
    yield "that are taken. Each has, in the order of the calls:"
    yield ""
    for operation, kind in (("save", "SavePlanner"), ("load", "LoadPlanner")):
        hooks = [name.removeprefix("planner.") for of, name in HOOKS if of == operation and name.startswith("planner.")]
        yield f"- {kind}: {', '.join(f'`{hook}`' for hook in hooks)}"


def _hooks(operation: Literal["save", "load"]) -> Iterator[str]:
    before: object = ()
    for clause in clauses_of(operation, stages=True):
        if clause.hook.phase != before:
            before = clause.hook.phase
            yield ""
            yield f"### {f'phase {before!r}' if before else 'before all phases'}"
            yield ""
            yield f"If it raises: {FAILURES[clause.hook.phase]}."
            yield ""
        yield from _hook(clause)


def _hook(clause: Clause) -> Iterator[str]:
    where = f"on {clause.ranks}"
    if clause.stager:
        where += ", by async_save, of a writer that is an AsyncStager"
    yield f"- `{clause.signature}` {where}."
    yield f"  Is given {clause.given}."
    yield f"  It {clause.does}."
    if clause.raises:
        yield f"  If it raises: {clause.raises}."


def _laws(mark: pytest.MarkDecorator) -> Iterator[str]:
    return (f"- `{law.name}`: {_first_line(law.function)}" for law in all_laws().values() if mark.name in law.marks)


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
