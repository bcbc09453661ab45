"""Scripts of the planning ledger: what they say, and that each shows its issue in a process that has torch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.cli import main
from campaign.script import CannotWrite
from campaign.script.planning import write_planning_script
from properties.ledger import torch_release
from properties.planning.breach import PlanBreach, PlanRaised
from properties.planning.known_issues import PLANNING_ISSUES, PlanningIssue
from properties.planning.nested import judge_flatten
from tests.script_runs import Plant, run_script
from tests.script_texts import check_text
from worlds.concise import Concise
from worlds.plans import Leaf, NestedState

ISSUES = pytest.mark.parametrize("issue", PLANNING_ISSUES.values(), ids=lambda issue: issue.id)

SAYS = {
    "empty-chunk-at-the-same-offset": "no rank writes [WriteItem(index=MetadataIndex(fqn='a'",
    "weighed-as-whole-tensor": "the ranks write [4, 12] bytes",
    "zero-dims-unchecked": "the chunks are accepted",
    "single-plan-unchecked": "the chunks are accepted",
    "chunk-with-more-dims": "the chunks are accepted",
    "empty-chunk-within-another": "refused: ['key:t0 has overlapping chunks",
    "ranks-that-disagree": "accepted, and recorded as {'a': TensorStorageMetadata(",
    "chunk-spec-behind-the-end": "offsets and sizes are [([0], [1]), ([1], [0]), ([2], [0])], and should be",
    "cached-plan-of-another-dtype": "the plans are taken for the same",
    "cached-plan-of-other-paths": "the plans are taken for the same",
    "cached-plans-of-fewer-ranks": "the plans are ['cached 0'], and should be ['cached 0', 'new 1']",
    "strided-shard-as-box": "rank 0 is said to have the indices [[0, 1]], and has [[0, 2]]",
    "fsdp-and-tp-uneven": "rank 4 is said to have the indices [[6]], and has [[]]",
    "empty-dict-lost": "{'a': {}} came back as {}",
    "keys-become-text": "{0: tensor(0)} came back as {'0': tensor(0)}",
    "tuples-not-traversed": "visited [('a',)], and there are [('a', 0)]",
    "get-element-past-the-end": "IndexError: list index out of range",
}

_CHECKPOINT = "torch.distributed.checkpoint"
# How torch could be changed so that an issue is gone.
REPAIRS = {
    "get-element-past-the-end": Plant(
        f"{_CHECKPOINT}._traverse", "get_element", "len(cur_value) < part", "len(cur_value) <= part"
    ),
    "cached-plan-of-another-dtype": Plant(
        f"{_CHECKPOINT}.planner_helpers",
        "_compare_save_plans",
        "tensor_data.size != other_tensor_data.size",
        "(tensor_data.size, tensor_data.properties) != (other_tensor_data.size, other_tensor_data.properties)",
    ),
    "cached-plans-of-fewer-ranks": Plant(
        f"{_CHECKPOINT}.planner_helpers",
        "_merge_delta_local_plans",
        "zip(cached_plans, delta_plans)",
        "__import__('itertools').zip_longest(cached_plans, delta_plans)",
    ),
}


@ISSUES
def test_known_issue_has_a_short_script(issue: PlanningIssue) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    script = write_planning_script(issue)
    check_text(script)
    assert issue.title.split()[0] in script
    assert issue.upstream is None or issue.upstream in script
    assert "import torch.distributed as dist" not in script
    assert len(script.splitlines()) < 100


@pytest.mark.thorough
@ISSUES
def test_script_shows_the_known_issue(issue: PlanningIssue, tmp_path: Path) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    run = run_script(write_planning_script(issue), tmp_path)
    assert run.status == 1, run.output
    assert SAYS[issue.id] in run.output


@pytest.mark.thorough
@pytest.mark.parametrize("name", REPAIRS)
def test_script_of_a_known_issue_passes_where_it_is_gone(name: str, tmp_path: Path) -> None:
    run = run_script(write_planning_script(PLANNING_ISSUES[name]), tmp_path, plants=[REPAIRS[name]])
    assert run.status == 0, run.output


def test_known_issue_that_does_not_show_has_no_script() -> None:
    issue = replace(PLANNING_ISSUES["empty-dict-lost"], shown_by=((judge_flatten, NestedState({"a": Leaf()})),))
    with pytest.raises(CannotWrite, match=r"^the installed torch does not show empty-dict-lost$"):
        write_planning_script(issue)


@pytest.mark.parametrize(
    ("name", "breach", "says"),
    [
        ("strided-shard-as-box", PlanBreach(PlanRaised, "", None, ValueError()), "offsets cannot be computed"),
        ("empty-dict-lost", PlanBreach(PlanRaised, "", None, ValueError()), "the kind PlanRaised of a state dict"),
    ],
)
def test_what_no_section_shows_is_refused_in_one_line(
    name: str, breach: PlanBreach, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from campaign.script.planning import write

    ((judge, case), *_) = PLANNING_ISSUES[name].shown_by

    def other(_: Concise) -> Iterator[PlanBreach]:
        yield breach

    monkeypatch.setitem(write._SECTIONS, other, write._SECTIONS[judge])
    with pytest.raises(CannotWrite, match=f"^there is no script for .*{says}.*$"):
        write_planning_script(replace(PLANNING_ISSUES[name], shown_by=((other, case),)))


def test_command_writes_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["script", "keys-become-text"]) == 0
    assert capsys.readouterr().out == write_planning_script(PLANNING_ISSUES["keys-become-text"])
