"""The command: run a scenario in the simulated world, and write the script that shows what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from properties import judge
from properties.damage_issues import DAMAGE_ISSUES
from properties.known_issues import KNOWN_ISSUES
from properties.planning.known_issues import PLANNING_ISSUES
from properties.verdict import Verdict
from worlds import InvalidScenario, Operation, ProcessWorld, Scenario, Schedule, SimulatedWorld

from .known import CannotWrite
from .ledgers import REAL_ISSUES, write_issue_script
from .planning import write_planning_script
from .write import write_script

__all__ = ["main"]

_DESCRIPTION = """\
Run a scenario in the simulated world, or a known issue where it shows, and write it out as one Python file that needs
torch alone. The file exits with status 1 while torch has the bug that the scenario shows, and with 0 when it is
gone; its first lines say how to run it.
"""
_EPILOG = """\
exit status: 0, the script was written; 2, the arguments or the scenario are wrong; 3, there is no script for what the
scenario holds yet
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage above it."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(prog="python -m campaign.script", description=_DESCRIPTION, epilog=_EPILOG)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("scenario", nargs="?", metavar="SCENARIO.json", help="a file that Scenario.to_json() wrote")
    what.add_argument("--known", metavar="ID", help=f"a known issue instead: {', '.join(_known())}")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write the script (default: standard output)")
    return parser


def _known() -> list[str]:
    return [*KNOWN_ISSUES, *DAMAGE_ISSUES, *REAL_ISSUES, *PLANNING_ISSUES]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what ``argv`` asks for; the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        script = _script(parser, options)
    except CannotWrite as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    if options.output is None:
        sys.stdout.write(script)
        return 0
    try:
        Path(options.output).write_text(script, encoding="utf-8")
    except OSError as error:
        parser.error(f"cannot write {options.output}: {error.strerror}")
    return 0


def _script(parser: _Parser, options: argparse.Namespace) -> str:
    if options.known in PLANNING_ISSUES:
        return write_planning_script(PLANNING_ISSUES[options.known])
    if options.known in REAL_ISSUES:
        with ProcessWorld() as world:
            return write_issue_script(REAL_ISSUES[options.known], world)
    return _of_scenario(parser, options)


def _of_scenario(parser: _Parser, options: argparse.Namespace) -> str:
    """The script; says on standard error where processes may not show what it is to show."""
    verdict = _run(_scenario(parser, options))
    script = write_script(verdict)
    if not verdict and not _holds_in_any_order(verdict):
        note = "this was seen with ranks in one order only, and processes run in an order of their own"
        print(f"{parser.prog}: note: {note}: the script may not show it each time", file=sys.stderr)
    return script


def _scenario(parser: _Parser, options: argparse.Namespace) -> Scenario:
    if options.known is not None:
        if options.known in DAMAGE_ISSUES:
            return DAMAGE_ISSUES[options.known].scenario
        if options.known not in KNOWN_ISSUES:
            parser.error(f"there is no known issue {options.known!r}, only {', '.join(_known())}")
        return KNOWN_ISSUES[options.known].scenario
    try:
        return Scenario.from_json(Path(options.scenario).read_text(encoding="utf-8"))
    except OSError as error:
        parser.error(f"cannot read {options.scenario}: {error.strerror}")
    except UnicodeDecodeError:
        parser.error(f"{options.scenario} is no text in UTF-8")
    except InvalidScenario as error:
        parser.error(f"{options.scenario}: {error}")


def _run(scenario: Scenario) -> Verdict:
    with SimulatedWorld() as world:
        return judge(scenario, world.run(scenario))


def _holds_in_any_order(verdict: Verdict) -> bool:
    """Whether the ranks' natural order shows it as well, where the scenario asks for another one."""
    scenario = verdict.scenario
    natural = replace(scenario, save=_in_order(scenario.save), load=_in_order(scenario.load))
    if natural == scenario:
        return True
    breach = _run(natural).breach
    return breach is not None and verdict.breach is not None and breach.kind is verdict.breach.kind


def _in_order(operation: Operation) -> Operation:
    return replace(operation, schedule=Schedule(threads_first=operation.schedule.threads_first))
