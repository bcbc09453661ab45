"""Faults, as a small subclass of the storage or the planner that raises at the hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed.checkpoint as dcp

from worlds.faults import Fault
from worlds.file_faults import FileFault
from worlds.request_faults import RequestFault
from worlds.state import Stateful
from worlds.storages import FILE_SYSTEM

from .errors import error_class, error_expression
from .known import CannotWrite
from .plan import Name, Plan
from .ranks import rank_condition
from .storage import Side, storage_class
from .text import indented

__all__ = ["failing_class", "fault_blocks", "hook_base", "hook_text", "in_step_alone", "override", "stateful_class"]


@dataclass(frozen=True)
class _Owner:
    """What a hook belongs to: the class, of DCP or of the script itself, and the name of the subclass in the script."""

    base: Any
    subclass: str
    name: str
    """The class as the script has it."""


_STORAGES: dict[tuple[str, str], Side] = {("save", "writer"): "writer", ("load", "reader"): "reader"}
_OWNERS: dict[tuple[str, str], _Owner] = {
    ("save", "planner"): _Owner(dcp.DefaultSavePlanner, "FailingSavePlanner", "dcp.DefaultSavePlanner"),
    ("save", "stateful"): _Owner(Stateful, "FailingStateful", "Stateful"),
    ("load", "stateful"): _Owner(Stateful, "FailingTarget", "Stateful"),
    ("load", "planner"): _Owner(dcp.DefaultLoadPlanner, "FailingLoadPlanner", "dcp.DefaultLoadPlanner"),
}

_STATEFUL = '''\
class Stateful:
    """Has a state dict, which DCP asks of it and gives back to it."""

    def __init__(self, entries):
        self.entries = entries

    def state_dict(self):
        return dict(self.entries)

    def load_state_dict(self, state_dict):
        self.entries = state_dict'''

# torch's own future takes an Exception and nothing else.
_NO_EXCEPTION = '''\
class FailedFuture(torch.futures.Future):
    """A future that raises ``error``, which need not be an Exception."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.set_result(None)

    def wait(self):
        raise self.error

    value = wait'''
_NO_EXCEPTIONS = ("CheckpointException", "KeyboardInterrupt", "SystemExit", "CancelledError")


def failing_class(plan: Plan, name: Name, prefix: str) -> str | None:
    """The class that an operation uses for ``writer``, ``reader`` or ``planner``; none where it is DCP's own."""
    if name == "save" and prefix in plan.given:
        return prefix
    has_faults = prefix in plan.failing_kinds or any(fault.hook.startswith(f"{prefix}.") for fault in plan.faults(name))
    return _owner(plan.scenario.storage, name, prefix).subclass if has_faults else None


def stateful_class(plan: Plan, name: Name) -> str:
    """The class of the ``Stateful`` objects in the state dict of the operation."""
    return failing_class(plan, name, "stateful") or "Stateful"


def hook_text(plan: Plan, fault: Fault | FileFault | RequestFault) -> str:
    """The hook as the class and the method that a reader of DCP knows; of an operation on files, what fails."""
    if isinstance(fault, FileFault):
        file, method = fault.call.split(".")
        return f"the {method} of {'the metadata' if file == 'metadata' else f'a file with {file}'}"
    prefix, method = fault.hook.split(".")
    return f"{_owner(plan.scenario.storage, fault.operation, prefix).base.__name__}.{method}"


def fault_blocks(*plans: Plan) -> list[str]:
    """The classes of the exceptions and the subclasses that raise them, in any of the steps that use these."""
    faults = [fault for plan in plans for name in plan.names for fault in plan.faults(name)]
    for fault in faults:
        if fault.through not in ("call", "future"):
            raise CannotWrite(f"there is no script for a fault through the {fault.through} yet")
    if any(fault.through == "future" and fault.error in _NO_EXCEPTIONS for fault in faults):
        blocks = [_NO_EXCEPTION]
    else:
        blocks = []
    sources = [block for fault in faults for block in error_class(fault).split("\n\n\n") if block]
    blocks += dict.fromkeys(sources)
    if any(plan.has_stateful(name) for plan in plans for name in plan.names):
        blocks.append(_STATEFUL)
    if any(plan.passed for plan in plans):
        blocks.append("passed = []")
    by_owner: dict[tuple[Name, str], list[_Failure]] = {}
    for plan in plans:
        for name in plan.names:
            for fault in plan.faults(name):
                prefix = fault.hook.split(".")[0]
                by_owner.setdefault((name, prefix), []).append(
                    _Failure(plan, fault, in_step_alone(plans, name, prefix))
                )
    blocks += [_subclass(_owner(mine[0].plan.scenario.storage, *key), mine) for key, mine in by_owner.items()]
    return blocks


def in_step_alone(plans: Sequence[Plan], name: Name, prefix: str) -> bool:
    """Whether what fails does so in one step of several that use its class."""
    uses = [plan for plan in plans if name in plan.names and failing_class(plan, name, prefix) is not None]
    return len(uses) > 1


def _owner(storage: str, name: str, prefix: str) -> _Owner:
    if (name, prefix) in _STORAGES:
        side = _STORAGES[name, prefix]
        kind = storage_class(storage, side)
        return _Owner(kind.base, f"Failing{side.capitalize()}", kind.name)
    if (name, prefix) not in _OWNERS:
        raise CannotWrite(f"there is no script for a scenario in which a {prefix} fails at {name} yet")
    return _OWNERS[name, prefix]


@dataclass(frozen=True)
class _Failure:
    """A fault, the plan that has it, and whether it is there in one step of several."""

    plan: Plan
    fault: Fault
    in_step_alone: bool


def _subclass(owner: _Owner, failures: Sequence[_Failure]) -> str:
    by_method: dict[str, list[_Failure]] = {}
    for failure in failures:
        by_method.setdefault(failure.fault.hook.split(".")[1], []).append(failure)
    methods = ["\n".join(indented(_method(owner, method, mine))) for method, mine in by_method.items()]
    return f"class {owner.subclass}({owner.name}):\n" + "\n\n".join(methods)


def _method(owner: _Owner, method: str, failures: Sequence[_Failure]) -> list[str]:
    head, call = override(owner.base, method)
    in_call = _raises([failure for failure in failures if failure.fault.through == "call"], _raise)
    in_future = _raises([failure for failure in failures if failure.fault.through == "future"], _fail_future)
    body = [*in_call[0]]
    if in_call[1]:  # every rank has raised
        pass
    elif not in_future[0]:
        body.append(f"return {call}")
    else:
        body += [f"future = {call}", "future.wait()", *in_future[0]]
        if not in_future[1]:
            body.append("return future")
    return [head, *indented(body)]


def hook_base(hook: str) -> Any:
    """The class of DCP that a hook of a save belongs to."""
    return _owner(FILE_SYSTEM, "save", hook.split(".")[0]).base


def override(base: type, method: str) -> tuple[str, str]:
    """The first line of an override, and the call of what it overrides.

    DCP looks at the names of some parameters, so they are those of the method itself.
    """
    parameters = list(inspect.signature(getattr(base, method)).parameters.values())
    declared = ", ".join(_declared(parameter) for parameter in parameters)
    passed = ", ".join(_passed(parameter) for parameter in parameters[1:])
    return f"def {method}({declared}):", f"super().{method}({passed})"


def _declared(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{_passed(parameter)}{default}"


def _passed(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    return f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name


def _raises(failures: Sequence[_Failure], raising: Callable[[Fault], tuple[str, ...]]) -> tuple[list[str], bool]:
    """Statements that fail on the ranks of ``failures``, and whether those are all that call the hook."""
    by_statements: dict[tuple[str, tuple[str, ...]], list[_Failure]] = {}
    for failure in failures:
        fault = failure.fault
        passed = (f'passed.append("{fault.hook.split(".")[1]}")',) if fault in failure.plan.passed else ()
        when = f"step == {failure.plan.step}" if failure.in_step_alone else ""
        by_statements.setdefault((when, (*passed, *raising(fault))), []).append(failure)
    lines = []
    for (when, statements), mine in by_statements.items():
        members = mine[0].plan.members(mine[0].fault.operation)
        ranks = sorted(members[failure.fault.rank] for failure in mine)
        who = "" if len(ranks) == len(members) else rank_condition("dist.get_rank()", ranks)
        if not when and not who:
            return list(statements), True
        lines += [f"if {' and '.join(filter(None, (when, who)))}:", *indented(statements)]
    return lines, False


def _raise(fault: Fault) -> tuple[str, ...]:
    return (f"raise {error_expression(fault)}",)


def _fail_future(fault: Fault) -> tuple[str, ...]:
    error = error_expression(fault)
    if fault.error in _NO_EXCEPTIONS:
        return (f"return FailedFuture({error})",)
    return ("failed = torch.futures.Future()", f"failed.set_exception({error})", "return failed")
