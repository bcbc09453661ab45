"""Scripts of a call with an argument that it cannot have: what is given, by whom, and what each rank says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from properties.judge_misuse import MisuseBreach
from properties.misuse_issues import find_misuse_issue
from properties.verdict import describe_ranks, ranks_text
from properties.violations import (
    Deadlock,
    NotRefused,
    TouchedTarget,
    UnclearRefusal,
    UnexpectedFailure,
    Violation,
    WroteBeforeRefusal,
)
from worlds.entries import Entry, Nested, ObjectEntry, TensorEntry
from worlds.layouts import MeshSharding, Plain, Shard
from worlds.misuses import Kind, Misuse

from .calls import function_name
from .header import described, said, titled
from .imports import import_block
from .known import CannotWrite
from .outcomes import STAY, watchdog_text
from .processes import exit_helpers, set_up
from .ranks import rank_condition, rank_list
from .text import Items, indented, joined, quoted, render

__all__ = ["write_misuse_script"]

_CHECKS: dict[type[Violation], list[str]] = {
    Deadlock: [],
    NotRefused: ['if seen == "returned" and {wrong}:', '    sys.exit("it is not in the group, and was not told so")'],
    TouchedTarget: [
        "if shown(state_dict) != before:",
        '    sys.exit(f"what is refused has loaded {{shown(state_dict)}}, where {{before}} was")',
    ],
    UnclearRefusal: [
        "from_within = (AttributeError, ArithmeticError, LookupError, NameError)",
        "if any(isinstance(error, from_within) for error in errors):",
        '    sys.exit("what was raised does not say which argument is wrong")',
    ],
    UnexpectedFailure: [
        "loaded = make_state(-1.0)",
        "try:",
        "    dcp.load(loaded, checkpoint_id=path)",
        "except dcp.CheckpointException as error:",
        '    sys.exit(f"what was saved cannot be loaded: {{error}}")',
    ],
    WroteBeforeRefusal: [
        "changed = {{file for file, content in read_files().items() if files.get(file) != content}}",
        "if changed:",
        '    sys.exit(f"what is refused has written {{sorted(changed)}}")',
    ],
}
"""What is wrong, if it is still there, by the kind of the violation; where ranks hang, it is they who say so."""

_SHOWN = '''\
def shown(value):
    """The text of what is loaded into."""
    return str({key: getattr(each, "to_local", lambda: each)() for key, each in value.items()})'''
_READ_FILES = '''\
def read_files():
    """What is in the files below the path."""
    return {str(file): file.read_bytes() for file in pathlib.Path(path).rglob("*") if file.is_file()}'''

_WRONG: dict[Kind, dict[str, str]] = {
    "no state": {"state_dict": "None"},
    "list for a state": {"state_dict": "[]"},
    "number for an id": {"{storage}": "None", "checkpoint_id": "1"},
    "id of no storage": {"{storage}": "None", "checkpoint_id": '"nosuch://checkpoint"'},
    "path for a storage": {"{storage}": "path"},
    "storage's class": {"{storage}": "dcp.{own}"},
    "storage for the other": {"{storage}": "dcp.{other}(path)"},
    "planner's class": {"planner": "dcp.Default{Name}Planner"},
    "planner for the other": {"planner": "dcp.Default{Other}Planner()"},
    "text for a group": {"process_group": '"gloo"'},
    "coordinator behind the last": {"coordinator_rank": "{size}"},
    "coordinator below 0": {"coordinator_rank": "-1"},
    "no_dist": {"no_dist": "True"},
    "no collectives": {"use_collectives": "False"},
    "no threads": {"{storage}": "dcp.{own}(path, thread_count=0)"},
    "threads below 0": {"{storage}": "dcp.{own}(path, thread_count=-1)"},
    "copy ahead below 0": {"{storage}": "dcp.{own}(path, per_thread_copy_ahead=-1)"},
    "format by its name": {"{storage}": 'dcp.{own}(path, serialization_format="torch_save")'},
    "over a checkpoint": {"{storage}": "dcp.{own}(path, overwrite=False)"},
    "executor by its name": {"async_checkpointer_type": '"process"'},
    "stager's class": {"async_stager": "DefaultStager"},
}
"""The arguments that are wrong, and their source, by what is wrong with them."""


@dataclass(frozen=True)
class _Job:
    """How the processes of the script begin and end."""

    misuse: Misuse
    kind: type[Violation]
    leaves_group: bool = False
    compares_outcome: bool = True
    raises: bool = True

    @property
    def ranks(self) -> int:
        return self.misuse.operation.world_size

    @property
    def has_group(self) -> bool:
        return self.misuse.operation.distributed

    @property
    def holds_group(self) -> bool:
        return any(isinstance(entry, TensorEntry) and entry.saved != Plain() for entry in self.misuse.entries)

    @property
    def hangs(self) -> bool:
        return self.ranks > 1


def write_misuse_script(breach: MisuseBreach) -> str:
    """A Python file that needs torch alone and shows how a call ends that was given what it cannot have.

    Raises :class:`CannotWrite`, with one line, for a violation that has no script yet.
    """
    if breach.kind not in _CHECKS or breach.when not in ("in the call", "as it is loaded"):
        raise CannotWrite(f"there is no script for a wrong argument that ends in {breach.kind.__name__} yet")
    misuse, job = breach.misuse, _Job(breach.misuse, breach.kind)
    body = joined(
        [
            *_helpers(breach, job),
            "\n".join([*set_up(job), *_mesh(misuse)]),
            "\n".join(_arguments(misuse)),
            "\n".join([*_before(breach), *_call(misuse, job), *_check(breach)]),
        ]
    )
    return joined([_header(breach, job), import_block(body), body]) + "\n"


def _helpers(breach: MisuseBreach, job: _Job) -> list[str]:
    name = function_name(breach.misuse.operation, breach.misuse.name)
    found = [watchdog_text(f"in {name}()", job.ranks)] if job.hangs else []
    found += [_SHOWN] if breach.kind is TouchedTarget else []
    found += [_READ_FILES] if breach.kind is WroteBeforeRefusal else []
    return [*found, _state(breach.misuse), *exit_helpers(job)]


def _state(misuse: Misuse) -> str:
    entries = render(Items("    return {", tuple(map(_entry, misuse.entries))), indent=4)
    return f'def make_state(value):\n    """The state dict, with that value in it."""\n{entries}'


def _entry(entry: Entry) -> str:
    if isinstance(entry, Nested) or not isinstance(entry.key, str):
        raise CannotWrite("there is no script for a wrong argument beside containers or int keys yet")
    key = quoted(entry.key)
    if isinstance(entry, ObjectEntry):
        return f"{key}: value"
    tensor = f"torch.full({entry.shape}, value)"
    if (entry.saved, entry.loaded) == (Plain(), Plain()):
        return f"{key}: {tensor}"
    if isinstance(entry.saved, MeshSharding) and entry.saved.placements == (Shard(0),) and len(entry.shape) == 1:
        return f"{key}: distribute_tensor({tensor}, mesh, [Shard(0)])"
    raise CannotWrite("there is no script for a wrong argument beside tensors of such a layout yet")


def _mesh(misuse: Misuse) -> list[str]:
    meshes = {
        entry.saved.mesh
        for entry in misuse.entries
        if isinstance(entry, TensorEntry) and isinstance(entry.saved, MeshSharding)
    }
    if not meshes:
        return []
    if meshes != {(misuse.operation.world_size,)}:
        raise CannotWrite("there is no script for a wrong argument beside tensors on a part of the ranks yet")
    return [f'mesh = init_device_mesh("cpu", ({misuse.operation.world_size},))']


def _arguments(misuse: Misuse) -> Iterator[str]:
    """What every rank gives, and then what is wrong."""
    name, operation = misuse.name, misuse.operation
    if name == "load" or misuse.over:
        yield "dcp.save(make_state(1.0), checkpoint_id=path)"
    yield f"state_dict = make_state({'1.0' if name == 'save' else '-1.0'})"
    words = {
        "storage": "storage_writer" if name == "save" else "storage_reader",
        "own": "FileSystemWriter" if name == "save" else "FileSystemReader",
        "other": "FileSystemReader" if name == "save" else "FileSystemWriter",
        "Name": name.capitalize(),
        "Other": "Load" if name == "save" else "Save",
        "size": str(operation.world_size),
    }
    right = {"state_dict": "state_dict"}
    if operation.api != "legacy":
        right["checkpoint_id"] = "path"
    right[words["storage"]] = f"dcp.{words['own']}(path)"
    if operation.api == "legacy" and not operation.distributed:
        right["no_dist"] = "True"
    if misuse.kind == "group of others":
        others = [rank for rank in range(operation.world_size) if rank not in misuse.wrong]
        right["process_group"] = f"dist.new_group({rank_list(others)})  # which not all of them are in"
    yield "arguments = {"
    yield from (f"    {quoted(key)}: {_with_comma(value)}" for key, value in right.items())
    yield "}"
    wrong = _WRONG.get(misuse.kind, {})
    if misuse.kind == "no name":
        wrong = {"{storage}": "None"} if operation.api == "legacy" else {"{storage}": "None", "checkpoint_id": "None"}
    if wrong:
        given = [f"arguments[{quoted(key.format(**words))}] = {value.format(**words)}" for key, value in wrong.items()]
        yield from [f"if {rank_condition('rank', misuse.ranks)}:", *indented(given)] if misuse.ranks else given


def _with_comma(value: str) -> str:
    code, mark, remark = value.partition("  #")
    return f"{code},{mark}{remark}"


def _before(breach: MisuseBreach) -> list[str]:
    if breach.kind is TouchedTarget:
        return ["before = shown(state_dict)"]
    return ["files = read_files()"] if breach.kind is WroteBeforeRefusal else []


def _call(misuse: Misuse, job: _Job) -> Iterator[str]:
    function = function_name(misuse.operation, misuse.name)
    if job.hangs:
        yield "seen = None"
        yield "threading.Thread(target=watchdog, daemon=True).start()"
    yield "errors = []"
    yield "try:"
    yield f"    dcp.{function}(**arguments){'.result()' if misuse.operation.api == 'async' else ''}"
    yield '    seen = "returned"'
    yield "except dcp.CheckpointException as error:"
    yield '    seen = f"raised {error!r}"'
    yield "    errors = [failed for failed, _ in error.failures.values()]"
    yield "except Exception as error:"
    yield '    seen = f"raised {error!r}"'
    yield "    errors = [error]"
    yield f'print(f"{"[rank {rank}] " if job.ranks > 1 else ""}{function}() {{seen}}", flush=True)'
    if job.hangs:
        yield from STAY.splitlines()


def _check(breach: MisuseBreach) -> list[str]:
    wrong = rank_condition("rank", breach.misuse.wrong)
    return [line.format(wrong=wrong) for line in _CHECKS[breach.kind]]


def _header(breach: MisuseBreach, job: _Job) -> str:
    misuse, issue = breach.misuse, find_misuse_issue(breach)
    function = function_name(misuse.operation, misuse.name)
    title = titled(issue, f"{function}() is given what it cannot have, and does not say so")
    call = breach.outcome.loaded if breach.when == "as it is loaded" else breach.outcome.call
    seen = [f"{ranks} {text}" for ranks, text in describe_ranks(() if call is None else call.ranks, said)]
    told = "every rank raises an error that says what is wrong, before anything is done; or all is right"
    if misuse.kind == "group of others":
        told = "a rank that is not in the group is told so"
    whose = f"where {ranks_text(misuse.wrong)} of {job.ranks} gave what is wrong, " if misuse.ranks else ""
    return described(title, [f"{whose}{told}"], seen, ranks=job.ranks)
