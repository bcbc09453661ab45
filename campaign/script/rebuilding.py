"""Scripts in which a checkpoint is read without a template, and compared with what was saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from properties.expected_rebuilding import expected_rebuilding
from properties.judge_rebuilding import RebuildingBreach
from properties.oracle import expected
from properties.rebuilding_issues import find_rebuilding_issue
from properties.verdict import Verdict, describe_ranks, rank_text
from properties.violations import Deadlock, NotRefused, UnexpectedFailure
from worlds.entries import Path
from worlds.operations import Operation
from worlds.outcome import ContainerState, EntryState, ObjectState, OperationOutcome, Outcome
from worlds.rebuilding import Rebuilding

from .calls import call_code
from .header import described, titled
from .imports import import_block
from .known import CannotWrite, check_known
from .places import key_literal
from .plan import Name, Plan
from .processes import exit_helpers, group_lines, on_its_ranks, set_up
from .state import content_block, state_block, state_helpers
from .tensors import mesh_lines
from .text import Code, Items, headed, indented, joined, quoted, render

__all__ = ["write_rebuilding_script"]

_SHOWN = '''\
def shown(value):
    """The text of ``value``{of_tensor}."""
{tensor}    if isinstance(value, dict):
        return str({{key: shown(inner) for key, inner in value.items()}})
    return str(list(map(shown, value))) if isinstance(value, list) else repr(value)'''
_OF_TENSOR = "; that of a tensor is of its bytes, since a NaN is unequal to itself"
_TENSOR = """\
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)} {as_bytes(value).flatten().tolist()}"
"""
_CHECK = """\
if shown(rebuilt) != shown(expected):
    sys.exit(f"expected {shown(expected)}, and it is {shown(rebuilt)}")"""


@dataclass(frozen=True, kw_only=True)
class _RebuildingPlan(Plan):
    """A save, of which all that was saved is compared, and what is read of it by ``reader``, if it does not raise."""

    reader: Operation
    reading_raises: bool

    @property
    def last(self) -> Name:
        """DCP loads into no state dict here."""
        return "save"

    @property
    def ranks(self) -> int:
        """As many as save, or as read."""
        return max(self.scenario.save.whole_world, self.reader.whole_world)

    @property
    def has_group(self) -> bool:
        """Whether those that save, or those that read, have one."""
        return self.scenario.save.distributed or self.reader.distributed

    @property
    def leaves_group(self) -> bool:
        """Whether what reads is a process without a group, as one that converts a checkpoint is."""
        return self.has_group and not self.reader.distributed

    @property
    def compares_outcome(self) -> bool:
        """What was read is compared, with statements of its own."""
        return False

    @property
    def compares_content(self) -> bool:
        """It does matter, but with what is read."""
        return True

    @property
    def raises(self) -> bool:
        """Whether the reading does."""
        return self.reading_raises


def write_rebuilding_script(breach: RebuildingBreach) -> str:
    """A Python file that needs torch alone and shows what is wrong with what is read without a template.

    Raises :class:`CannotWrite`, with one line, for what hangs or is to be refused, and for what is not the same on
    every rank that reads.
    """
    rebuilding = breach.rebuilding
    _check(breach)
    scenario = rebuilding.scenario
    verdict = Verdict(scenario, Outcome(OperationOutcome(())), expected(scenario))
    plan = _RebuildingPlan(verdict, reader=rebuilding.reader, reading_raises=breach.kind is UnexpectedFailure)
    wanted = _expected(rebuilding)
    save = [*state_block(plan, "save"), call_code(plan, "save")]
    done = ["dist.barrier()"] if plan.ranks > 1 else []
    done += ["dist.destroy_process_group()"] if plan.leaves_group else []
    body = joined(
        [
            *_helpers(plan),
            *exit_helpers(plan),
            "\n".join([*set_up(plan), *mesh_lines(plan)]),
            "\n".join(content_block(plan)),
            "\n".join([*group_lines(plan, "save"), *on_its_ranks(plan, "save", save), *done]),
            "\n".join(_reading(plan, rebuilding, [f"expected = {render(wanted)}", *_CHECK.splitlines()])),
        ]
    )
    return joined([_header(plan, breach), import_block(body), body]) + "\n"


def _check(breach: RebuildingBreach) -> None:
    check_known(breach.rebuilding.scenario)
    if breach.kind in (Deadlock, NotRefused):
        raise CannotWrite(
            f"there is no script for a reading without a template that ends in {breach.kind.__name__} yet"
        )
    if breach.rebuilding.reader.members:
        raise CannotWrite("there is no script for a reading without a template in a sub-group yet")


def _helpers(plan: Plan) -> list[str]:
    has_tensors = bool(plan.tensors("save"))  # else there is no as_bytes()
    parts = {"of_tensor": _OF_TENSOR, "tensor": _TENSOR} if has_tensors else {"of_tensor": "", "tensor": ""}
    return [*state_helpers(plan), _SHOWN.format(**parts)]


def _expected(rebuilding: Rebuilding) -> Code:
    """What each rank that reads must hold, made of ``saved``."""
    states = [expected_rebuilding(rebuilding, rank) for rank in range(rebuilding.reader.world_size)]
    if any(state != states[0] for state in states):
        raise CannotWrite("there is no script for ranks that are to read different things yet")
    tree: dict[Any, Any] = {}
    for path, state in states[0].items():
        _put(tree, path, state)
    leaves = {leaf.path: leaf.fqn for leaf in rebuilding.scenario.leaves("save")}
    return _literal(tree, (), leaves)


def _put(tree: dict[Any, Any], path: Path, state: EntryState) -> None:
    inside: Any = tree
    for step in path[:-1]:
        inside = inside[step]
    if isinstance(state, ContainerState):
        inside[path[-1]] = _List() if state.type == "list" else {}
    else:
        inside[path[-1]] = state


class _List(dict[int, Any]):
    """The items of a list, by their places."""


def _literal(tree: Any, path: Path, leaves: dict[Path, str]) -> Code:
    if isinstance(tree, dict):
        is_list = isinstance(tree, _List)
        inner = {key: _literal(value, (*path, key), leaves) for key, value in tree.items()}
        items = [code if is_list else headed(f"{key_literal(key)}: ", code) for key, code in inner.items()]
        return Items("[" if is_list else "{", tuple(items))
    if isinstance(tree, ObjectState) and tree.type == "NoneType":  # also where a place of a list was not asked for
        return "None"
    if path in leaves:
        return f"saved[{quoted(leaves[path])}]"
    raise CannotWrite("there is no script that compares a tuple that was read without a template yet")


def _reading(plan: _RebuildingPlan, rebuilding: Rebuilding, checks: list[str]) -> list[str]:
    """The statements that read, and compare, on the ranks that do."""
    keys = None if rebuilding.keys is None else set(rebuilding.keys)
    asked = "None" if keys is None else render(Items("{", tuple(map(quoted, sorted(keys)))))
    match rebuilding.by:
        case "keys":
            calls = [f"rebuilt = _load_state_dict_from_keys({asked}, checkpoint_id=path)"]
        case "planner":
            calls = ["rebuilt = {}", _by_planner(plan, asked)]
        case by:
            calls = _conversion(twice=by == "there_and_back")
    everywhere = plan.reader.world_size == plan.ranks
    return [*calls, *checks] if everywhere else ["if rank == 0:", *indented([*calls, *checks])]


def _by_planner(plan: _RebuildingPlan, asked: str) -> str:
    arguments = ["rebuilt", "dcp.FileSystemReader(path)"]
    if plan.reader.coordinator:
        arguments.append(f"coordinator_rank={plan.reader.coordinator}")
    if plan.reader.no_dist or not plan.reader.distributed:
        arguments.append("no_dist=True")
    keys = () if asked == "None" else (f"keys={asked}",)
    return render(Items("dcp.load_state_dict(", (*arguments, Items("planner=_EmptyStateDictLoadPlanner(", keys))))


def _conversion(*, twice: bool) -> list[str]:
    lines = ['file = f"{path}.pt"', "dcp_to_torch_save(path, file)"]
    if twice:
        lines += ['torch_save_to_dcp(file, f"{path}-again")', 'dcp_to_torch_save(f"{path}-again", file)']
    return [*lines, "rebuilt = torch.load(file, weights_only=False)"]


def _header(plan: _RebuildingPlan, breach: RebuildingBreach) -> str:
    issue = find_rebuilding_issue(breach)
    title = titled(issue, "what is read without a template is not what was saved")
    said = [f"{ranks} {text}" for ranks, text in describe_ranks(breach.read.ranks, rank_text)]
    seen = said if breach.kind is UnexpectedFailure else [breach.headline.split(": ", 1)[1], *breach.detail]
    wanted = "what was saved under the keys" if breach.rebuilding.keys is not None else "all that was saved"
    return described(title, [f"what is read is {wanted}"], seen, ranks=plan.ranks)
