"""The script of an entry of the planning ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from properties.planning import caching, nested, saves, shards
from properties.planning.breach import PlanBreach
from properties.planning.known_issues import Judge, PlanningIssue
from worlds.concise import Concise

from ..header import described, titled
from ..imports import import_block
from ..known import CannotWrite
from ..text import joined
from . import nested as nested_scripts
from . import saves as save_scripts
from . import shards as shard_scripts
from .section import Section

__all__ = ["write_planning_script"]

_SECTIONS: dict[Judge, Callable[[Any, PlanBreach], Section]] = {
    saves.judge_dedup: save_scripts.of_dedup,
    saves.judge_split: save_scripts.of_split,
    saves.judge_conflict: save_scripts.of_conflict,
    caching.judge_comparison: save_scripts.of_comparison,
    caching.judge_merge: save_scripts.of_merge,
    shards.judge_validation: shard_scripts.of_validation,
    shards.judge_chunk_spec: shard_scripts.of_chunk_spec,
    shards.judge_enumerable_spec: shard_scripts.of_enumerable_spec,
    shards.judge_local_box: shard_scripts.of_local_box,
    shards.judge_fully_sharded: shard_scripts.of_fully_sharded,
    nested.judge_flatten: nested_scripts.of_flatten,
    nested.judge_flatten_sharded_tensors: nested_scripts.of_flatten_sharded_tensors,
    nested.judge_traverse: nested_scripts.of_traverse,
    nested.judge_paths: nested_scripts.of_paths,
}


def write_planning_script(issue: PlanningIssue) -> str:
    """A Python file that needs torch alone, and calls the planning functions with each input that shows the entry.

    Raises :class:`CannotWrite`, with one line, where the installed torch does not show it.
    """
    sections = [_section(issue, judge, case) for judge, case in issue.shown_by]
    helpers = dict.fromkeys(helper for section in sections for helper in section.helpers)
    body = joined([*helpers, *("\n".join(section.lines) for section in sections)])
    return joined([_header(issue, sections), import_block(body), body]) + "\n"


def _section(issue: PlanningIssue, judge: Judge, case: Concise) -> Section:
    breach = next(judge(case), None)
    if breach is None:
        raise CannotWrite(f"the installed torch does not show {issue.id}")
    return _SECTIONS[judge](case, breach)


def _header(issue: PlanningIssue, sections: list[Section]) -> str:
    expected = [section.expected for section in sections]
    return described(titled(issue), expected, [section.seen for section in sections])
