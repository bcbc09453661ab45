"""The whole script: its parts in their order."""

from __future__ import annotations

from properties.known_issues import find_known_issue
from properties.verdict import Verdict
from properties.violations import Disagreement

from .calls import call_code
from .content import after_call, before_call, content_helpers
from .damage import damage_lines, damage_plan, unless_it_raises
from .earlier import earlier_plan
from .extensions import extension_blocks
from .faults import fault_blocks
from .files import file_blocks, file_faults, new_directory
from .header import header
from .imports import import_block
from .known import CannotWrite, check_known
from .metadata import checks_metadata, metadata_checks
from .outcomes import compared_call, watchdog
from .plan import EarlierSave, Name, Plan
from .power import power_blocks, power_lines
from .processes import exit_helpers, group_lines, on_its_ranks, set_up
from .races import late_writer_class, thread_classes, thread_order
from .state import content_block, state_block, state_helpers
from .tensors import mesh_lines
from .text import indented, joined

__all__ = ["operation_lines", "write_plan", "write_script"]

_FAILED = """\
except dcp.CheckpointException as error:
    print(f"as it must, a save fails: {error.failures}", flush=True)"""


def write_script(verdict: Verdict) -> str:
    """A Python file that needs torch alone and shows what ``verdict`` says; without a violation, that all is well.

    The text depends on the verdict and the installed torch alone. Raises :class:`CannotWrite`, with one line, for a
    scenario or a violation that has no script yet.
    """
    if verdict.scenario.damages:
        return write_plan(damage_plan(verdict))
    if verdict.scenario.earlier != "nothing":
        return write_plan(earlier_plan(verdict))
    return write_plan(Plan(verdict, find_known_issue(verdict)))


def write_plan(plan: Plan) -> str:
    """The file for what was worked out of a verdict."""
    for scenario in (plan.scenario, *plan.before):
        check_known(scenario)
    blocks = [
        *power_blocks(plan),
        *file_blocks([plan, *plan.earlier]),
        *_fault_blocks(plan),
        *thread_classes(plan),
        *late_writer_class(plan),
        *extension_blocks(plan),
        *_helpers(plan),
        *plan.helpers,
        *content_helpers(plan),
        *watchdog(plan),
        *exit_helpers(plan),
        _statements([*set_up(plan), *new_directory([plan, *plan.earlier]), *_meshes(plan)]),
        _statements(content_block(plan)),
        *(_statements(_earlier_save(save)) for save in plan.earlier),
        *(_statements(operation_lines(plan, name)) for name in plan.names),
    ]
    body = joined([block for block in blocks if block])
    imports = import_block(body)
    return joined([header(plan), imports, body]) + "\n"


def _fault_blocks(plan: Plan) -> list[str]:
    """The classes that make ranks fail, each once."""
    blocks = list(dict.fromkeys(block for each in (*plan.earlier, plan) for block in fault_blocks(each)))
    if len({block.partition("\n")[0] for block in blocks}) < len(blocks):
        raise CannotWrite("there is no script for saves in which ranks fail in several ways yet")
    return blocks


def _helpers(plan: Plan) -> list[str]:
    """The definitions that the state dicts need, each once."""
    helpers = list(dict.fromkeys(helper for each in (plan, *plan.earlier) for helper in state_helpers(each)))
    if len({helper.partition("\n")[0] for helper in helpers}) < len(helpers):
        raise CannotWrite("there is no script for saves whose tensors take another class each yet")
    return helpers


def _meshes(plan: Plan) -> list[str]:
    lines = mesh_lines(plan)
    if any(line not in lines for save in plan.earlier for line in mesh_lines(save)):
        raise CannotWrite("there is no script for saves of DTensors on meshes that change yet")
    return lines


def _earlier_save(save: EarlierSave) -> list[str]:
    call = _may_fail(save, [*state_block(save, "save"), call_code(save, "save")])
    return [*group_lines(save, "save"), *on_its_ranks(save, "save", call)]


def _may_fail(save: Plan, lines: list[str]) -> list[str]:
    """The statements of a save before the one that matters, in which ranks are to fail if they do in ``save``."""
    if not save.faults("save") and not file_faults(save, "save"):
        return lines
    return ["try:", *indented(lines), *_FAILED.splitlines()]


def operation_lines(plan: Plan, name: Name) -> list[str]:
    """The statements that save, or load, with what is compared where it is the last."""
    if name == "save" and plan.written is not None:
        return plan.written
    lines = group_lines(plan, name)
    if name == "save" and plan.is_metadata_alone:
        return [*lines, *on_its_ranks(plan, name, [*state_block(plan, name), *metadata_checks(plan)])]
    if name != plan.last:
        done = [] if plan.in_all_ranks(name) else ["dist.barrier()"]
        call = [*state_block(plan, name), *thread_order(plan), call_code(plan, name)]
        return [*lines, *on_its_ranks(plan, name, call), *done, *power_lines(plan), *damage_lines(plan)]
    if plan.compares_outcome and not checks_metadata(plan):
        return [*lines, *compared_call(plan, state_block(plan, name))]
    threads = thread_order(plan) if name == "save" else []
    head = "returned = " if checks_metadata(plan) and plan.kind is Disagreement else ""
    checks = [*power_lines(plan), *metadata_checks(plan)] if checks_metadata(plan) else after_call(plan)
    ends = unless_it_raises(plan, call_code(plan, name, head=head), checks)
    call = [*state_block(plan, name), *before_call(plan), *threads, *ends]
    return [*lines, *on_its_ranks(plan, name, call)]


def _statements(lines: list[str]) -> str:
    return "\n".join(lines)
