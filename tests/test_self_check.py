"""The self-check: examples that do not come out the same are told, by what differs and how they were run."""

from __future__ import annotations

from typing import Any

import pytest

from campaign.determinism.compare import differences
from tests.warm_python import run_python


def record(number: int, **changed: str) -> dict[str, Any]:
    return {"number": number, "case": f"case {number}", "outcome": "o", "said": "s", "headline": "held", **changed}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([record(2), record(1), record(1)], []),
        ([record(1)], ["law, example 2: was not drawn elsewhere: case 2"]),
        ([record(1), record(2), record(3)], ["law, example 3: was drawn, and was not before, elsewhere: case 3"]),
        ([record(1), record(2, case="other")], ["law, example 2: is another one elsewhere: other"]),
        ([record(1), record(2, outcome="p")], ["law, example 2: had another outcome elsewhere: case 2"]),
        (
            [record(1), record(2, said="t", headline="broke")],
            ["law, example 2: was judged otherwise (held | broke) elsewhere: case 2"],
        ),
    ],
    ids=["same", "fewer", "more", "case", "outcome", "verdict"],
)
def test_each_difference_is_told(records: list[dict[str, Any]], said: list[str]) -> None:
    seen = {number: record(number) for number in (1, 2)}
    assert [str(each) for each in differences("law", "elsewhere", seen, records)] == said


@pytest.mark.commands
@pytest.mark.thorough
def test_command_finds_no_difference() -> None:
    done = run_python("-m", "campaign", "determinism", "read_items", "--max-examples=8", seconds=600)
    assert done.returncode == 0, done.stderr
    assert "read_items: 8 examples, no differences" in done.stderr
    assert done.stdout == "no differences\n"
