"""The README's tables are those that the code makes, and claim nothing that is not drawn."""

from __future__ import annotations

import re
from pathlib import Path

from properties.judged import JUDGED
from properties.summary import feature_table, known_issue_table

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_known_issues_are_those_of_the_ledgers() -> None:
    """``python -c 'from properties.summary import *; print(*known_issue_table(), sep="\\n")'`` prints the table."""
    table = "\n".join(known_issue_table())
    assert table in README
    links = re.findall(r"\]\(([^)]*)\)", table)
    assert links
    assert all(re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/\d+", link) for link in links), links


def test_every_feature_is_listed_and_was_judged() -> None:
    """The table is what a run of the profile ``ci`` prints under "what was judged"."""
    header, *_ = feature_table({})
    lines = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    listed = dict(line.strip("| ").split(" | ") for line in lines)
    assert list(listed) == list(JUDGED)
    for group, names in JUDGED.items():
        counted = re.findall(r"(.+?) (\d+)(?:, |$)", listed[group])
        assert [name for name, _ in counted] == list(names)
        assert all(int(count) > 0 for _, count in counted), group
