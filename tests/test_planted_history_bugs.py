"""A bug planted where only a history shows it is found within the ci profile, named, and told in the fewest steps."""

from __future__ import annotations

import re

import pytest

from properties.history_issues import check_history
from properties.violations import Violation
from strategies import histories
from tests.planted_history_bugs import HISTORY_BUGS, HistoryBug
from tests.shrinking import shrunk
from worlds import SimulatedWorld
from worlds.concise import pretty

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.id, marks=[pytest.mark.slow] * bug.slow) for bug in HISTORY_BUGS]
)
def test_planted_bug_is_found_named_and_told_in_the_fewest_steps(bug: HistoryBug, world: SimulatedWorld) -> None:
    with bug.planted():
        violation, found = shrunk(histories(), lambda case: check_history(case, world), Violation, max_examples=4 * 150)
        assert isinstance(violation, bug.kinds), violation
    check_history(found, world)  # without the bug it must pass
    text = str(violation)
    assert f"history = {pretty(found)}\n" in text
    told = re.findall(r"^step (\d+): ", text, re.MULTILINE)
    assert told == [str(number + 1) for number in range(len(found.steps))], text
    assert len(found.steps) <= bug.steps, text
    assert len(found.entries) <= bug.entries, text
    assert max(step.operation.world_size for step in found.steps) <= bug.ranks, text
