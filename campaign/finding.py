"""A finding: what broke, by the smallest case that shows it, with all that is needed to see it again."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import hypothesis
import torch

from properties import judge
from worlds import InvalidScenario, Scenario, SimulatedWorld
from worlds.codec import to_json

from .cases import case_of, data_of, pasted
from .files import read_text, write_whole
from .grouping import group_of
from .laws import Law, all_laws
from .opened import OpenedWorlds
from .reproduce import script_of_case
from .script import CannotWrite
from .seen import look
from .status import Refused, Unable

__all__ = ["FILE", "Finding", "State", "describe", "read_finding", "see_again", "sighted", "versions"]

State = Literal["still there", "fixed", "different"]

FILE = "finding.json"
"""What a finding's directory has it in; the other files there are for people."""


_SIGHTED = "it was not made as small as it goes"


def versions() -> dict[str, str]:
    """Of what a violation may depend on."""
    return {"torch": torch.__version__, "hypothesis": hypothesis.__version__, "python": platform.python_version()}


@dataclass(frozen=True)
class Finding:
    """A violation in its smallest form. ``case`` is as :mod:`campaign.cases` has it; ``id`` is the group's."""

    id: str
    law: str
    node: str
    group: dict[str, str]
    case: dict[str, Any]
    python: str
    """The line to paste above the law."""

    violation: str
    world: str
    versions: dict[str, str]
    seed: int = 0
    outcome: dict[str, Any] | None = None
    """What each rank saw, of a scenario, for a newer oracle to judge again."""

    script: str | None = None
    no_script: str = ""
    """Why there is no script."""

    shrunk: bool = True
    """Whether shrinking came to its end."""

    flaky: bool = False
    """Whether the case did not show it when it was run once more."""

    @property
    def is_sighting(self) -> bool:
        """Whether it is as :func:`sighted` has it, and whoever was to make more of it has not come to that."""
        return self.no_script == _SIGHTED

    @property
    def headline(self) -> str:
        """What is wrong, in one line."""
        return f"{self.group['kind']}: {self.violation.strip().partition(chr(10))[0]}"

    def is_better_than(self, other: Finding) -> bool:
        """Whether it is the one to keep, of two of one group."""
        return (not self.shrunk, self.size) < (not other.shrunk, other.size)

    @property
    def size(self) -> int:
        """Less is better."""
        return len(self.python)

    def read_case(self) -> Any:
        """The case itself; raises :class:`Refused` where this version cannot read it."""
        law = all_laws().get(self.law)
        if law is None:
            raise Refused(f"the finding {self.id} is of the law {self.law}, which there is no more")
        try:
            return case_of(self.case, law.case_type)
        except InvalidScenario as error:
            raise Refused(f"the finding {self.id}: {error}") from None

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @staticmethod
    def from_data(data: dict[str, Any]) -> Finding:
        """The finding that :meth:`to_data` told of."""
        return Finding(**data)

    def store(self, directory: Path) -> None:
        """Write it into a directory of its own within ``directory``, each file whole."""
        own = directory / self.id
        files = {
            "violation.txt": f"{self.headline.partition(': ')[0]}: {self.violation}\n",
            "example.py": self.python + "\n",
        }
        if "json" in self.case:
            files["scenario.json"] = json.dumps(self.case["json"], indent=2) + "\n"
        if self.outcome is not None:
            files["outcome.json"] = json.dumps(self.outcome, indent=2) + "\n"
        if self.script is not None:
            files["reproduce.py"] = self.script
        if own.is_dir():
            for path in own.iterdir():  # of the larger case that it was
                if path.name not in files:
                    path.unlink(missing_ok=True)
        files[FILE] = json.dumps(self.to_data(), indent=2) + "\n"  # the last, since it is what says that it is there
        for name, text in files.items():
            write_whole(own / name, text)


def read_finding(path: Path) -> Finding:
    """The finding of a directory or of its file; raises :class:`Refused`."""
    if path.is_dir():
        if not (path / FILE).exists():
            raise Refused(f"{path} holds no finding: it has no {FILE}")
        path = path / FILE
    try:
        return Finding.from_data(json.loads(read_text(path)))
    except (TypeError, ValueError) as error:
        raise Refused(f"{path} holds no finding: {' '.join(str(error).split())[:200]}") from None


def sighted(law: Law, case: Any, error: Exception, *, world: str, seed: int) -> Finding:
    """What there is to keep of a violation at once, before it is shrunk, for which nothing is run."""
    group = group_of(law.name, error)
    return Finding(
        id=group.id,
        law=law.name,
        node=law.node,
        group=asdict(group),
        case=data_of(case),
        python=pasted(law.argument, case),
        violation=str(error) or type(error).__name__,
        world=world,
        versions=versions(),
        seed=seed,
        shrunk=False,
        no_script=_SIGHTED,
    )


def describe(law: Law, case: Any, error: Exception, opened: OpenedWorlds, *, seed: int, shrunk: bool) -> Finding:
    """All that there is to keep of a violation, with the script that shows it and the outcome on every rank."""
    finding = sighted(law, case, error, world=opened.chosen, seed=seed)
    state, _ = see_again(finding, opened)
    outcome = _outcome(case, opened.simulated)
    finding = replace(finding, shrunk=shrunk, flaky=state != "still there", outcome=outcome, no_script="")
    try:
        return replace(finding, script=script_of_case(case, opened, lambda _: None))
    except CannotWrite as why:
        return replace(finding, no_script=str(why))
    except Exception as why:  # the finding is what matters
        return replace(finding, no_script=f"no script could be made: {type(why).__name__}: {why}")


def see_again(finding: Finding, opened: OpenedWorlds) -> tuple[State, str]:
    """Run the finding's case once more: what it shows now, and in one line what is wrong."""
    law = all_laws()[finding.law]
    case = finding.read_case()
    try:
        seen = look(lambda: law.judge(case, opened))
    except Unable:
        raise
    except Exception as error:  # the tester itself fails, which can be what was found
        same = group_of(law.name, error).id == finding.id
        return "still there" if same else "different", f"{type(error).__name__}: {error}"
    if seen.violation is None:
        return ("different" if seen.known else "fixed"), seen.headline
    same = group_of(law.name, seen.violation).id == finding.id
    return "still there" if same else "different", seen.headline


def _outcome(case: Any, world: SimulatedWorld) -> dict[str, Any] | None:
    if not isinstance(case, Scenario):
        return None
    try:
        outcome = world.run(case)
        judge(case, outcome)
        data: dict[str, Any] = json.loads(to_json(outcome))
    except Exception:  # a case that the tester itself fails at has none
        return None
    return data
