"""What was seen of a finding, judged again without running it: by an oracle that is newer than the campaign."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn, cast

from worlds import InvalidScenario, Outcome, Scenario
from worlds.codec import from_json

from .finding import Finding, State, see_again
from .opened import OpenedWorlds
from .status import Refused, Unable

__all__ = ["judge_stored"]


class _StoredWorld:
    """A world in which one scenario has run already; raises :class:`Unable` for anything else."""

    def __init__(self, scenario: Scenario, outcome: Outcome, law: str) -> None:
        self._scenario = scenario
        self._outcome = outcome
        self._law = law

    def run(self, scenario: Scenario) -> Outcome:
        """What was seen of it."""
        if scenario != self._scenario:
            self._refuse()
        return self._outcome

    def launch(self, body: Callable[[int], object], *_: object, **__: object) -> NoReturn:
        """Not that."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Unable(f"the law {self._law} runs more than what is stored: leave out --stored")


class _Stored:
    """In the place of :class:`OpenedWorlds`, with that world for every one."""

    def __init__(self, world: _StoredWorld) -> None:
        self.chosen = "stored"
        self.world = self.simulated = self.processes = self.torchrun = self.example_world = world


def judge_stored(finding: Finding) -> tuple[State, str]:
    """As :func:`see_again`, of the outcome that is stored with the finding.

    Raises :class:`Unable` where there is none, or the law asks for more, and :class:`Refused` where this version cannot
    read it.
    """
    case = finding.read_case()
    if finding.outcome is None or not isinstance(case, Scenario):
        kind = type(case).__name__
        raise Unable(f"no outcome is stored with the finding {finding.id}, a {kind}: leave out --stored")
    try:
        outcome = from_json(json.dumps(finding.outcome), Outcome)
    except InvalidScenario as error:
        raise Refused(f"the outcome of the finding {finding.id}: {error}") from None
    return see_again(finding, cast(OpenedWorlds, _Stored(_StoredWorld(case, outcome, finding.law))))
