"""Scripts in which ranks die in a save: they start their ranks themselves, as a launcher would end the others too."""

from __future__ import annotations

from dataclasses import dataclass

from properties.judge_killed import KilledBreach, MixedCheckpoint
from properties.killed_issues import find_killed_issue
from properties.oracle import expected
from properties.verdict import Verdict
from worlds.entries import Nested, TensorEntry
from worlds.killed import Kill, KilledScenario
from worlds.outcome import OperationOutcome, Outcome

from .calls import call_code
from .faults import hook_base, override
from .header import described, titled
from .imports import import_block
from .known import CannotWrite, check_known
from .plan import Plan
from .ranks import rank_condition
from .state import state_block, state_helpers
from .steps import can_count, found_of, target_of
from .tensors import mesh_lines
from .text import Items, indented, joined, render

__all__ = ["TIMEOUT", "write_killed_script"]

TIMEOUT = "datetime.timedelta(minutes=1)"
"""How long the others wait for a rank that has died: as long as the slowest of them may take to start."""

_DIE = '''\
def die():
    """As when memory has run out, or the machine is gone: nothing can catch it."""
    time.sleep(3)  # for the other ranks to get on
    os.kill(os.getpid(), signal.SIGKILL)'''
_RUN = '''\
def run(path, step, {classes}):
    """A job that saves; how its ranks ended, each in a process of its own."""
    store = os.path.join(tempfile.mkdtemp(), "store")
    job = mp.spawn(save, (path, step, {classes}, store), nprocs={ranks}, join=False)
    for process in job.processes:
        process.join()
    return [process.exitcode for process in job.processes]'''
_LOAD = """\
try:
    dcp.load(loaded, checkpoint_id=path)
except dcp.CheckpointException as error:
    print(f"load() raised {error!r}")
else:
{found}
    print(f"load() returned, with what was saved at the steps {steps}")
    if steps == {0, 1}:
        sys.exit("what was loaded is in part of one save, in part of another")"""


@dataclass(frozen=True)
class _KilledPlan(Plan):
    """A save of values that are all the number of the step."""

    deadly: frozenset[str] = frozenset()

    @property
    def fill(self) -> str:
        """The step."""
        return "step"

    @property
    def given(self) -> frozenset[str]:
        """Those in which ranks die; the class is an argument, since they die in the second save alone."""
        return self.deadly

    @property
    def compares_content(self) -> bool:
        """But for the step, it does not matter."""
        return False


def write_killed_script(breach: KilledBreach) -> str:
    """A Python file that needs torch alone and shows what a rank that dies in a save leaves behind.

    Raises :class:`CannotWrite`, with one line, for all but a mixture of two saves.
    """
    killed = breach.killed
    if breach.kind is not MixedCheckpoint or killed.operation != "save" or killed.path != "same":
        raise CannotWrite("there is no script yet for what ranks that die leave, but for a mixture of two saves")
    _check(killed)
    plan = _plan(killed)
    body = joined(
        [
            *state_helpers(plan),
            _DIE,
            *(_deadly_class(killed, name) for name in sorted(plan.given)),
            _save(plan),
            _RUN.format(classes=", ".join(sorted(plan.given)), ranks=plan.ranks),
            _main(plan),
        ]
    )
    return joined([_header(breach), import_block(body), body]) + "\n"


def _check(killed: KilledScenario) -> None:
    """Raise :class:`CannotWrite` for what the script does not know."""
    scenario = killed.scenario
    check_known(scenario)
    for kill in killed.kills:
        if kill.skip or not kill.place.startswith(("writer.", "planner.")):
            raise CannotWrite(f"there is no script yet in which a rank dies as in {kill!r}")
    if scenario.save.members or not scenario.save.coordinated:
        raise CannotWrite("there is no script yet in which a rank dies in a sub-group, or with use_collectives=False")
    if any(isinstance(entry, Nested) for entry in scenario.entries):
        raise CannotWrite("there is no script yet in which a rank dies that saves containers")
    for leaf in (*scenario.leaves("save"), *scenario.leaves("load")):
        if isinstance(leaf.entry, TensorEntry) and not can_count(leaf.entry.dtype):
            raise CannotWrite(f"there is no script yet in which a rank dies that saves a tensor of {leaf.entry.dtype}")


def _plan(killed: KilledScenario) -> _KilledPlan:
    verdict = Verdict(killed.scenario, Outcome(OperationOutcome(())), expected(killed.scenario))
    return _KilledPlan(verdict, deadly=frozenset(kill.place.split(".")[0] for kill in killed.kills))


def _deadly_class(killed: KilledScenario, name: str) -> str:
    by_place: dict[str, list[Kill]] = {}
    for kill in killed.kills:
        if kill.place.startswith(f"{name}."):
            by_place.setdefault(kill.place, []).append(kill)
    methods = [_deadly_method(killed, kills) for kills in by_place.values()]
    return f"class Dying{name.capitalize()}(dcp.{hook_base(f'{name}.').__name__}):\n" + "\n\n".join(methods)


def _deadly_method(killed: KilledScenario, kills: list[Kill]) -> str:
    head, call = override(hook_base(kills[0].place), kills[0].place.split(".")[1])
    before, after = ([kill.rank for kill in kills if kill.done is done] for done in (False, True))
    body = _death(killed, before)
    body += [f"result = {call}", *_death(killed, after), "return result"] if after else [f"return {call}"]
    return "\n".join(indented([head, *indented(body)]))


def _death(killed: KilledScenario, ranks: list[int]) -> list[str]:
    if not ranks:
        return []
    if len(ranks) == killed.scenario.save.world_size:
        return ["die()"]
    return [f"if {rank_condition('dist.get_rank()', sorted(ranks))}:", "    die()"]


def _save(plan: _KilledPlan) -> str:
    """The function that each rank runs."""
    arguments = ", ".join(("rank", "path", "step", *sorted(plan.given), "store"))
    group = (
        '"gloo"',
        'f"file://{store}"',
        "rank=rank",
        f"world_size={plan.ranks}",
        f"timeout={TIMEOUT}",
    )
    lines = [render(Items("dist.init_process_group(", group))] if plan.has_group else []
    lines += [*mesh_lines(plan), *state_block(plan, "save"), call_code(plan, "save")]
    lines += ["dist.destroy_process_group()"] if plan.has_group else []
    says = '"""What a rank does: it saves a state dict with the number of the step in it."""'
    return "\n".join([f"def save({arguments}):", *indented([says, *lines])])


def _main(plan: _KilledPlan) -> str:
    deadly = sorted(plan.given)
    usual = {"writer": "dcp.FileSystemWriter", "planner": "dcp.DefaultSavePlanner"}
    leaves = plan.scenario.leaves("load")
    loaded = Items("loaded = {", tuple(target_of(leaf) for leaf in leaves))
    found = indented([render(Items("steps = {", tuple(found_of(leaf) for leaf in leaves)))])
    lines = [
        "path = tempfile.mkdtemp()",
        f"if any(run(path, 0, {', '.join(usual[name] for name in deadly)})):",
        '    sys.exit("the first save failed")',
        f"if -signal.SIGKILL not in run(path, 1, {', '.join(f'Dying{name.capitalize()}' for name in deadly)}):",
        '    sys.exit("no rank died in the second save")',
        render(loaded),
        _LOAD.replace("{found}", "\n".join(found)),
    ]
    return "\n".join(['if __name__ == "__main__":', *indented(lines)])


def _header(breach: KilledBreach) -> str:
    title = titled(find_killed_issue(breach), "a rank that dies in a save leaves a mixture of two checkpoints")
    expected = "what is loaded afterwards was all saved at one step, or load() raises CheckpointException"
    return described(title, [expected], ["load() returned, with what was saved at the steps {0, 1}"])
