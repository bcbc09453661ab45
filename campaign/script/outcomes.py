"""How a script compares what the call did on each rank with what it must do: who raised, and who is named."""

from __future__ import annotations

from properties.reach import REFUSAL
from properties.violations import Disagreement, UnexpectedFailure, WrongException
from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.outcome import Raised

from .calls import call_code, function_name
from .errors import error_repr, file_error_repr
from .known import CannotWrite
from .plan import Plan
from .processes import on_its_ranks
from .races import thread_order
from .text import indented, quoted

__all__ = ["STAY", "compared_call", "expected_text", "watchdog", "watchdog_text"]

SECONDS = 20
"""How long a rank waits before a script takes it for hanging."""

_WATCHDOG = '''\
def watchdog():
    """End this process if it still waits after {seconds} seconds, and say where it stands."""
    time.sleep({seconds})
    if seen is None:
        gc.disable()  # in Python 3.11 it may wait for itself within what follows
        frame = sys._current_frames()[threading.main_thread().ident]
        stack = "".join(traceback.format_stack(frame))
        print(f"{label}still {where}:\\n{{stack}}", flush=True)
{pause}    os._exit(1)'''
STAY = """\
# A rank that left would end the wait of those that still hang, with a lost connection.
dist.barrier(group=answered)"""
"""What keeps a rank that has its answer, where others may hang."""

_PAUSE = "    time.sleep(1)  # for the other ranks to say it too\n"


def watchdog(plan: Plan) -> list[str]:
    """The function that ends a rank that hangs; nothing where none does."""
    if not plan.hangs:
        return []
    return [watchdog_text(f"in {function_name(plan.operation, plan.last)}()", plan.ranks)]


def watchdog_text(where: str, ranks: int) -> str:
    """The function for a script of that many ranks; it says that this one is still ``where`` it should not be."""
    label = "[rank {rank}] " if ranks > 1 else ""
    return _WATCHDOG.format(label=label, where=where, seconds=SECONDS, pause=_PAUSE if ranks > 1 else "")


def expected_text(plan: Plan) -> str:
    """What the last operation must do on each rank, as the script prints it."""
    if plan.stage is None:
        return "returned"
    phase = f" in {plan.stage.phase!r}" if plan.stage.phase is not None else ""
    if plan.stage.one_of and not plan.failing:
        return f"raised CheckpointException{phase}"
    return f"raised CheckpointException{phase} naming {_named(plan)}"


def _named(plan: Plan) -> str:
    """The ranks, or what each of them raised where that is what is wrong."""
    if not _shows_exceptions(plan):
        return f"ranks {list(plan.failing)}"
    return str({rank: _PlainRepr(_exception_repr(plan, faults)) for rank, faults in plan.failing.items()})


class _PlainRepr(str):
    """Text that stands in a ``repr`` without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _shows_exceptions(plan: Plan) -> bool:
    if plan.kind is not UnexpectedFailure:
        return plan.kind in (WrongException, Disagreement)
    # Where the right ranks are named, what is said of them is what is wrong.
    seen = [rank.failures or () for rank in plan.outcome.ranks if isinstance(rank, Raised)]
    return plan.stage is not None and {rank for failures in seen for rank, _ in failures} == set(plan.failing)


def _exception_repr(plan: Plan, faults: tuple[int, ...]) -> str:
    hit = next((hit.index for hit in plan.outcome.hits if hit.index in faults), faults[0])
    if hit == REFUSAL:
        raise CannotWrite("there is no script that compares what DCP says of what it refuses yet")
    fault = plan.scenario.all_faults[hit]
    if isinstance(fault, FileFault):
        return file_error_repr(fault)
    if not isinstance(fault, Fault):
        raise CannotWrite("there is no script that compares the exception of a request yet")
    if fault.hook == "reader.read_metadata" and plan.kind is WrongException:
        raise CannotWrite("there is no script that compares the exception of read_metadata yet")
    return error_repr(fault)


def compared_call(plan: Plan, state: list[str]) -> list[str]:
    """The state dict, the last call, what it did on this rank in ``seen``, and the comparison with what it must do."""
    everywhere = plan.in_all_ranks(plan.last)
    lines = [*state] if everywhere else []
    lines += [] if _compares_ranks(plan) else [_broken(f"expected = {quoted(expected_text(plan))}")]
    if plan.hangs or not everywhere:
        lines.append("seen = None")
    call = [] if everywhere else [*state]
    if plan.hangs:
        call.append("threading.Thread(target=watchdog, daemon=True).start()")
    if plan.last == "save":
        call += thread_order(plan)
    lines += on_its_ranks(plan, plan.last, [*call, *_attempt(plan), *plan.afterwards])
    lines += _together(plan)
    message = 'sys.exit(f"{prefix}expected: {{expected}}")'.format(prefix="[rank {rank}] " if plan.ranks > 1 else "")
    condition = "seen != expected" if everywhere else "seen not in (None, expected)"
    lines.append(f"if {condition}:\n    {message}")
    if plan.passed:
        what = "f\"went on to {', '.join(passed)}\""
        lines.append(f"if passed:\n    sys.exit({what})")
    return lines


def _broken(line: str) -> str:
    """A statement whose text is on two lines where it is too long for one, so that no formatter joins them."""
    before, here, after = line.partition(" naming {")
    if len(line) <= 120 or not here:
        return line
    variable, _, text = before.partition(" = ")
    return "\n".join([f"{variable} = (", *indented([f'{text} naming "', f'"{{{after}']), ")"])


def _attempt(plan: Plan) -> list[str]:
    """The call in a ``try`` that takes down how it ended."""
    phase = " in {error.args[0]!r}" if plan.stage is not None and plan.stage.phase is not None else ""
    call = plan.attempted or [call_code(plan, plan.last)]
    lines = ["try:", *indented([*call, 'seen = "returned"'])]
    caught = []
    if plan.stage is not None and plan.stage.one_of and not plan.failing:
        caught = [f'seen = f"raised CheckpointException{phase}"']
    elif _shows_exceptions(plan):
        caught = [
            "named = {rank: failure[0] for rank, failure in sorted(error.failures.items())}",
            f'seen = f"raised CheckpointException{phase} naming {{named}}"',
        ]
    elif plan.stage is not None:
        caught = [
            "named = sorted(error.failures)",
            f'seen = f"raised CheckpointException{phase} naming ranks {{named}}"',
        ]
    if caught:
        lines += ["except dcp.CheckpointException as error:", *indented(caught)]
    huge = any(fault.error == "Huge" for fault in plan.faults(plan.last))
    lines += ["except BaseException as error:", f'    seen = f"raised {{error!r{":.200" if huge else ""}}}"']
    label = "[rank {rank}] " if plan.ranks > 1 else ""
    function = function_name(plan.operation, plan.last)
    return [*lines, f'print(f"{label}{function}() {{seen}}", flush=True)']


def _compares_ranks(plan: Plan) -> bool:
    """Whether the ranks are compared with each other."""
    return plan.kind is Disagreement and plan.ranks > 1


def _together(plan: Plan) -> list[str]:
    """What keeps a rank until the others have their answer; and what it must then hear of them."""
    if _compares_ranks(plan):
        return [
            "everyone = [None] * dist.get_world_size()",
            "dist.all_gather_object(everyone, seen)",
            f"expected = everyone[{plan.members(plan.last)[0]}]",
        ]
    if plan.ranks == 1:
        return []
    if plan.hangs:
        return [STAY]
    return ["dist.barrier()"]
