"""The statements of the steps of a history, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from worlds.histories import History
from worlds.outcome import Raised

from ..calls import call_code, result_lines
from ..faults import in_step_alone
from ..files import file_faults
from ..processes import group_lines, on_its_ranks
from ..races import first_method, thread_order
from ..state import state_block
from ..tensors import mesh_lines
from ..text import indented
from .step import StepPlan

__all__ = ["Body"]

_NEW_JOB = """\
# Another job: its processes are new, and no plans are in their caches.
for name, cache in vars(dcp.SavePlanner).items():
    if name.startswith("_cached_"):
        cache.clear()"""


class Body:
    """Writes one step after the other, and what must be there for it first, where it is not there yet."""

    def __init__(self, history: History, plans: Sequence[StepPlan]) -> None:
        self._history = history
        self._plans = plans
        self._there: set[str] = set()
        self._counts = any(
            in_step_alone(plans, plan.name, fault.hook.split(".")[0])
            for plan in plans
            for fault in plan.faults(plan.name)
        )

    def before(self, plan: StepPlan) -> list[str]:
        """What every rank does before a step."""
        index, history = plan.number - 1, self._history
        lines = [f"# Step {plan.number}"]
        if history.planner.enable_plan_caching and index and history.begins_job(index):
            lines = [_NEW_JOB]
        for line in (*group_lines(plan, plan.name), *mesh_lines(plan)):
            if line not in self._there:
                variable = line.partition(" = ")[0]
                self._there = {other for other in self._there if other.partition(" = ")[0] != variable} | {line}
                lines.append(line)
        return [*lines, *self._counted(plan)]

    def step(self, plan: StepPlan) -> list[str]:
        """A step, which ends; one that is overtaken has only been called then."""
        held = ["ended = threading.Event()"] if plan.is_overtaken else []
        call = [call_code(plan, plan.name)]
        done = call if plan.is_overtaken else [*may_fail(plan, call), *_mended(plan)]
        state = [*held, *state_block(plan, plan.name), *thread_order(plan)]
        lines = [*self.before(plan), *on_its_ranks(plan, plan.name, [*state, *done])]
        return lines if plan.is_overtaken else [*lines, *_all_together(plan)]

    def ended(self, plan: StepPlan) -> list[str]:
        """The end of a step that was overtaken."""
        end = ["ended.set()", *may_fail(plan, result_lines(plan)), *_mended(plan)]
        return [*self._counted(plan), *on_its_ranks(plan, plan.name, end), *_all_together(plan)]

    def _counted(self, plan: StepPlan) -> list[str]:
        return [f"step = {plan.number}"] if self._counts else []


def may_fail(plan: StepPlan, lines: list[str]) -> list[str]:
    """The statements, in a ``try`` where the step has failed."""
    if plan.returned:
        return lines
    must = any(plan.faults(plan.name)) or bool(file_faults(plan, plan.name)) or not plan.scenario.writer.overwrite
    says = f"{'as it must, ' if must else ''}a {plan.name} fails"
    if all(isinstance(rank, Raised) and rank.failures for rank in plan.seen.ranks):
        caught = [
            "except dcp.CheckpointException as error:",
            f'    print(f"{says}, naming ranks {{sorted(error.failures)}}", flush=True)',
        ]
    else:
        caught = [
            "except (Exception, dcp.CheckpointException) as error:",
            f'    print(f"{says}: {{error!r}}", flush=True)',
        ]
    return ["try:", *indented(lines), *caught]


def _all_together(plan: StepPlan) -> list[str]:
    """What keeps the ranks that took no part until the others have done theirs."""
    return [] if plan.in_all_ranks(plan.name) else ["dist.barrier()"]


def _mended(plan: StepPlan) -> list[str]:
    """The statements after which what is used again fails no more on a file, and waits for nothing."""
    use = plan.uses.get("writer" if plan.name == "save" else "reader")
    if use is None or use.is_last:
        return []
    files = [f"{use.variable}.fs = FileSystem()"] if file_faults(plan, plan.name) else []
    return [*files, *([f"del {use.variable}.{first_method(plan)}"] if plan.is_overtaken else [])]
