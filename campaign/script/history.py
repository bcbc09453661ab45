"""Scripts of histories: a save that goes wrong after others of its job, or a load that mixes two saves, or names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from properties.history_issues import find_history_issue
from properties.judge import judge_save
from properties.judge_history import HistoryBreach, UnderAnotherName
from properties.judge_killed import MixedCheckpoint
from properties.oracle import expected
from properties.verdict import Verdict
from worlds.entries import Nested, TensorEntry
from worlds.example import ExampleWorld
from worlds.histories import Load, Save, Step
from worlds.outcome import OperationOutcome, Outcome
from worlds.scenario import Scenario
from worlds.storages import limits_of

from .alone import of_no_step, verdict_alone
from .calls import call_code
from .earlier import earlier_plan
from .faults import fault_blocks
from .files import file_blocks, file_faults, new_directory, on_failing_files
from .imports import import_block
from .known import CannotWrite, check_known
from .overtaken import write_overtaken_script
from .plan import Name, Plan
from .processes import exit_helpers, set_up
from .saved_step import SavedStep
from .state import state_block, state_helpers
from .steps import can_count, found_of, target_of
from .stored_history import write_stored_history_script
from .text import Items, docstring, headed, indented, joined, render
from .write import may_fail, write_plan, write_script

__all__ = ["write_history_script"]

_COMPARE = """\
print(f"load() returned, with what was saved at the steps {steps}")
if len(steps) > 1:
    sys.exit("what was loaded is in part of one save, in part of another")"""
_COMPARE_NAMES = """\
print(f"load() returned, with what was saved at the steps {steps}")
if steps != {1.0}:
    sys.exit("what was loaded was saved under another name, at a step that has not saved it")"""


def write_history_script(breach: HistoryBreach, world: ExampleWorld) -> str:
    """A Python file that needs torch alone and shows what came of the steps of a history.

    What the ``world`` shows of the last step by itself too is written as a scenario. Raises :class:`CannotWrite`, with
    one line, for all else but a save that breaks a law after others of its job, and a load by one rank that mixes two
    saves, or two names.
    """
    alone = verdict_alone(breach, world)
    if alone is not None:
        return write_script(alone)
    mixes = breach.kind in (MixedCheckpoint, UnderAnotherName)
    if breach.history.is_overtaken(breach.step):
        return write_overtaken_script(breach)
    if not limits_of(breach.history.storage).metadata:
        return write_stored_history_script(breach)
    for step in breach.history.steps[: breach.step + 1]:
        if step.again or (step.without and not mixes):
            raise CannotWrite("there is no script for a history that uses something again, or leaves entries out, yet")
        if isinstance(step, Save) and step.overtaken:
            raise CannotWrite("there is no script for a history in which a save is overtaken yet")
    return _write_mixture(breach) if mixes else write_plan(_plan_of_save(breach))


def _plan_of_save(breach: HistoryBreach) -> Plan:
    """That of the last save; those before it in its job come first.

    Each has a path of its own; or all have one, where it matters for an operation on a file that something is there.
    """
    history, last = breach.history, breach.step
    first = next(index for index in range(last, -1, -1) if history.begins_job(index))
    seen = breach.outcome.steps[last]
    outcome = Outcome(seen.operation, None, seen.metadata, seen.metadata_error, seen.files)
    verdict = judge_save(history.scenario(last), outcome) if isinstance(history.steps[last], Save) else None
    if not all(isinstance(step, Save) for step in history.steps[first:last]) or verdict is None or verdict:
        raise CannotWrite("there is no script yet for a step of a history that is no save, or breaks no law by itself")
    before = tuple(of_no_step(history.scenario(index)) for index in range(first, last))
    bare = replace(verdict, scenario=of_no_step(verdict.scenario))
    is_over = any(step.at == history.steps[last].at for step in history.steps[first:last])
    if bare.scenario.earlier != "nothing" and not is_over:  # but over a save of another job
        before = (*earlier_plan(bare).before, *before)
    return Plan(bare, find_history_issue(breach), before)


def _write_mixture(breach: HistoryBreach) -> str:
    history = breach.history
    *saves, load = history.steps[: breach.step + 1]
    ranks = max(step.operation.world_size for step in saves)
    _check(saves, load)
    if breach.kind is UnderAnotherName:
        _check_names(breach)
    steps = [_step(history.scenario(index), index + 1, ranks) for index in range(len(saves))]
    reading = _Reading(_bare(history.scenario(breach.step)), number=breach.step + 1, job=ranks)
    helpers = dict.fromkeys(block for step in steps for block in (*fault_blocks(step), *state_helpers(step)))
    body = joined(
        [
            *file_blocks([*steps, reading]),
            *helpers,
            *exit_helpers(steps[0]),
            "\n".join([*set_up(steps[0]), *new_directory(steps)]),
            *("\n".join(may_fail(step, [*state_block(step, "save"), call_code(step, "save")])) for step in steps),
            "\n".join(_load(reading, ranks, _COMPARE if breach.kind is MixedCheckpoint else _COMPARE_NAMES)),
        ]
    )
    return joined([_header(breach, ranks), import_block(body), body]) + "\n"


def _check(saves: list[Step], load: Step) -> None:
    """Raise :class:`CannotWrite` for what the script does not know."""
    sizes = {step.operation.world_size for step in saves}
    plain = isinstance(load, Load) and not load.partial and load.operation.world_size == 1 and not load.faults
    if len(sizes) > 1 or not plain or not all(isinstance(step, Save) and step.operation.distributed for step in saves):
        raise CannotWrite("there is no script yet for a mixture but of saves by the same ranks, loaded by one")


def _check_names(breach: HistoryBreach) -> None:
    """Raise :class:`CannotWrite` unless the first save alone has what is loaded, so that its number says enough."""
    saved = [{leaf.entry.key for leaf in breach.history.scenario(index).leaves("save")} for index in range(breach.step)]
    loaded = {leaf.entry.key for leaf in breach.history.scenario(breach.step).leaves("load")}
    if not loaded <= saved[0] or any(loaded & later for later in saved[1:]):
        raise CannotWrite("there is no script yet for names that are mixed but of what one save alone has saved")


@dataclass(frozen=True, kw_only=True)
class _Reading(SavedStep):
    """The load at the end."""

    @property
    def names(self) -> tuple[Name, ...]:
        """It alone."""
        return ("load",)


def _step(scenario: Scenario, number: int, ranks: int) -> SavedStep:
    return SavedStep(_bare(scenario), number=number, job=ranks)


def _bare(scenario: Scenario) -> Verdict:
    bare = of_no_step(scenario)
    check_known(bare)
    for entry in bare.entries:
        if isinstance(entry, Nested) or (isinstance(entry, TensorEntry) and not can_count(entry.dtype)):
            raise CannotWrite("there is no script yet for a mixture in containers, or of such a dtype")
    return Verdict(bare, Outcome(OperationOutcome(())), expected(bare))


def _load(reading: Plan, ranks: int, compare: str) -> list[str]:
    leaves = reading.leaves("load")
    reader = on_failing_files(reading, "load", "dcp.FileSystemReader(path)") if file_faults(reading, "load") else None
    given = () if reader is None else (headed("storage_reader=", reader),)
    arguments = ("loaded", "checkpoint_id=path", *given, *(("no_dist=True",) if ranks > 1 else ()))
    lines = [
        render(Items("loaded = {", tuple(map(target_of, leaves)))),
        render(Items("dcp.load(", arguments)),
        render(Items("steps = {", tuple(map(found_of, leaves)))),
        compare,
    ]
    return lines if ranks == 1 else ["if rank == 0:", *indented(lines)]


def _header(breach: HistoryBreach, ranks: int) -> str:
    issue = find_history_issue(breach)
    title = "a load mixes what was saved at two steps" if issue is None else issue.title
    upstream = "" if issue is None or issue.upstream is None else f" ({issue.upstream})"
    launcher = "python" if ranks == 1 else f"torchrun --standalone --nproc-per-node={ranks}"
    return docstring(
        [
            f"torch.distributed.checkpoint: {title}{upstream}.",
            "Expected: what is loaded afterwards was all saved at one step, or load() raises CheckpointException.",
            f"Seen with torch {torch.__version__}:\n    {breach.headline}",
            f"    {launcher} reproduce.py",
            "The exit status is 1 while the bug is there, and 0 when it is gone.",
        ]
    )
