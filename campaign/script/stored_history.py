"""Scripts of histories on files of safetensors: saves over and beside what is there, and what a load then finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from properties.history_issues import find_history_issue
from properties.judge_history import HistoryBreach, MemoryShows
from properties.judge_killed import EarlierChanged
from properties.oracle import expected
from properties.verdict import Verdict
from properties.violations import NotLoaded, NotRefused
from worlds.entries import Nested, TensorEntry
from worlds.histories import Save
from worlds.operations import Operation
from worlds.outcome import OperationOutcome, Outcome

from .calls import call_code
from .faults import fault_blocks
from .imports import import_block
from .known import CannotWrite, check_known
from .places import key_literal
from .processes import exit_helpers, set_up
from .saved_step import SavedStep
from .state import state_block, state_helpers
from .steps import can_count, found_of
from .storage import storage_class
from .tensors import mesh_lines
from .text import Items, docstring, indented, joined, render
from .values import dtype_arguments, shape_literal
from .write import may_fail

__all__ = ["write_stored_history_script"]

_LOADS = """\
except dcp.CheckpointException as error:
    print(f"as it must, load() fails: {error.failures}")
else:
    print(f"load() returned, with {loaded}")"""
_FILES = 'files = {file: file.read_bytes() for file in pathlib.Path(f"{path}/FIRST").glob("*.safetensors")}'
_UNCHANGED = """\
if any(file.read_bytes() != content for file, content in files.items()):
    sys.exit("a save to another path has changed what was saved first")"""

_WRITTEN = """\
missing = [name for name in names if not pathlib.Path(f"{path}/AT", name).exists()]
if missing:
    sys.exit(f"the last save has not written {missing}, as it does where its writer is new")"""


@dataclass(frozen=True, kw_only=True)
class _Step(SavedStep):
    """One to a path below that of the script."""

    at: str

    @property
    def path(self) -> str:
        """That of the checkpoint."""
        return f'f"{{path}}/{self.at}"'


def write_stored_history_script(breach: HistoryBreach) -> str:
    """A Python file that needs torch and the package safetensors, and shows what came of the last step.

    Raises :class:`CannotWrite`, with one line, for all but saves by the same ranks through one API, with new planners.
    """
    history, last = breach.history, breach.step
    saves = [index for index in range(last + 1) if isinstance(history.steps[index], Save)]
    _check(breach, saves)
    ranks = history.steps[0].operation.world_size
    steps = [_step(breach, index, ranks) for index in saves]
    helpers = dict.fromkeys(block for step in steps for block in (*fault_blocks(step), *state_helpers(step)))
    again = {index for index in saves if history.steps[index].again}
    body = joined(
        [
            *helpers,
            *exit_helpers(steps[0]),
            "\n".join([*set_up(steps[0]), *mesh_lines(steps[0])]),
            *("\n".join(_save(breach, step, kept=bool(again))) for step in steps),
            "\n".join(_last(breach, ranks)),
        ]
    )
    return joined([_header(breach, ranks), import_block(body), body]) + "\n"


def _check(breach: HistoryBreach, saves: list[int]) -> None:
    """Raise :class:`CannotWrite` for what the script does not know."""
    history, last = breach.history, breach.step
    steps = history.steps[: last + 1]
    later = [step for index, step in enumerate(steps) if index not in (*saves, last)]
    sizes = {step.operation.world_size for step in steps if isinstance(step, Save)}
    called = {step.operation for step in steps if isinstance(step, Save)}
    usual = {Operation(operation.world_size, schedule=operation.schedule) for operation in called}
    plain = {replace(operation, named_by="both") for operation in called} <= usual
    load = steps[last]
    by_one = isinstance(load, Save) or not (load.faults or load.again)
    again = {kind for step in steps for kind in step.again}
    kept = [index for index in saves if steps[index].again]
    in_turn = not again or (again == {"writer"} and kept == saves[1:] and not any(step.all_faults for step in steps))
    if later or not plain or len(sizes) > 1 or not by_one or not in_turn:
        raise CannotWrite("there is no script for a history on that storage but of plain saves by the same ranks yet")
    if breach.kind not in (NotRefused, NotLoaded, EarlierChanged, MemoryShows):
        raise CannotWrite("there is no script for such a step of a history on that storage yet")
    for entry in history.entries:
        if isinstance(entry, Nested) or not isinstance(entry, TensorEntry) or not can_count(entry.dtype):
            raise CannotWrite("there is no script yet for a history on that storage with such entries")


def _step(breach: HistoryBreach, index: int, ranks: int) -> _Step:
    scenario = breach.history.scenario(index)
    entries = (replace(entry, step=0) for entry in scenario.entries if isinstance(entry, TensorEntry))
    bare = replace(scenario, entries=tuple(entries))
    check_known(bare)
    verdict = Verdict(bare, Outcome(OperationOutcome(())), expected(bare))
    return _Step(verdict, number=index + 1, at=breach.history.steps[index].at, job=ranks)


def _save(breach: HistoryBreach, step: _Step, *, kept: bool) -> Iterator[str]:
    is_last = step.number == breach.step + 1
    if is_last and breach.kind is EarlierChanged:
        yield _FILES.replace("FIRST", breach.history.steps[0].at)
    if not kept:
        yield from may_fail(step, [*state_block(step, "save"), call_code(step, "save")])
        return
    told = step.scenario.save.tells_path
    before = [earlier.at for earlier in breach.history.steps[: step.number - 1] if isinstance(earlier, Save)]
    if not before or not (told or before[-1] == step.at):  # or one that is used again would go elsewhere
        kind = storage_class(breach.history.storage, "writer")
        yield render(Items(f"writer = {kind.name}(", (step.path, *kind.arguments)))
    yield from state_block(step, "save")
    where = (f"checkpoint_id={step.path}",) if told else ()
    yield render(Items("dcp.save(", ("state_dict", *where, "storage_writer=writer")))


def _last(breach: HistoryBreach, ranks: int) -> list[str]:
    if isinstance(breach.history.steps[breach.step], Save):
        if missing := _missing(breach):
            names = render(Items("names = [", tuple(f'"{name}"' for name in missing)))
            return [*names.splitlines(), *_WRITTEN.replace("AT", breach.history.steps[breach.step].at).splitlines()]
        return _UNCHANGED.splitlines() if breach.kind is EarlierChanged else ['print("every save returned")']
    return _load(breach, ranks)


def _missing(breach: HistoryBreach) -> list[str]:
    """The files that a save which returned has not written, and writes alone."""
    seen = breach.outcome.steps[breach.step]
    if breach.kind is not MemoryShows or seen.alone is None or not seen.operation.returned:
        return []
    there = dict(seen.contents)
    return [name for name, _ in seen.alone.contents if name not in there]


def _load(breach: HistoryBreach, ranks: int) -> list[str]:
    """The load by one rank, into tensors of 0, which is no step."""
    step = breach.history.steps[breach.step]
    reading = breach.history.scenario(breach.step)
    leaves = reading.leaves("load")
    targets = tuple(
        Items(f"{key_literal(leaf.path[0])}: torch.zeros(", (shape_literal(leaf.entry), *dtype_arguments(leaf.entry)))
        for leaf in leaves
        if isinstance(leaf.entry, TensorEntry)
    )
    reader = f'{storage_class(breach.history.storage, "reader").name}(f"{{path}}/{step.at}")'
    call = render(Items("dcp.load(", ("loaded", f"storage_reader={reader}", *(("no_dist=True",) if ranks > 1 else ()))))
    lines = [render(Items("loaded = {", targets)), "try:", *indented(call.splitlines()), *_LOADS.splitlines()]
    if breach.kind is NotRefused:
        lines.append('    sys.exit("what was loaded was not saved at the last save")')
    else:
        found = render(Items("steps = {", tuple(map(found_of, leaves))))
        lines += indented([*found.splitlines(), "if 0 in steps:", '    sys.exit("a part of it was not loaded")'])
    return lines if ranks == 1 else ["if rank == 0:", *indented(lines)]


def _header(breach: HistoryBreach, ranks: int) -> str:
    issue = find_history_issue(breach)
    title = "a checkpoint in files of safetensors is not what was saved" if issue is None else issue.title
    upstream = "" if issue is None or issue.upstream is None else f" ({issue.upstream})"
    launcher = "python" if ranks == 1 else f"torchrun --standalone --nproc-per-node={ranks}"
    return docstring(
        [
            f"torch.distributed.checkpoint: {title}{upstream}.",
            _expected(breach),
            f"Seen with torch {torch.__version__}:\n    {breach.headline}",
            f"    {launcher} reproduce.py",
            "The exit status is 1 while the bug is there, and 0 when it is gone.",
        ]
    )


def _expected(breach: HistoryBreach) -> str:
    if breach.kind is EarlierChanged:
        return "Expected: a save to one path leaves what is at another as it is."
    if _missing(breach):
        return "Expected: the last save writes the same files as where its writer is new."
    if breach.kind is MemoryShows:
        return "Expected: the last save succeeds, as it does where nothing is at its path."
    if breach.kind is NotRefused:
        return "Expected: load() raises CheckpointException, since the last save was without what it asks for."
    return "Expected: load() raises CheckpointException, or loads all of what was to be saved."
