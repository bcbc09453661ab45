"""An earlier save at the same path, in a script."""

from __future__ import annotations

from dataclasses import replace

from properties.known_issues import find_known_issue
from properties.verdict import Verdict
from worlds.invalid import InvalidScenario
from worlds.operations import Api, Operation

from .known import CannotWrite
from .plan import Plan

__all__ = ["earlier_plan"]


def earlier_plan(verdict: Verdict) -> Plan:
    """What a script of a save over an earlier one has to do."""
    scenario = verdict.scenario
    api: Api = "uncoordinated" if scenario.earlier == "uncoordinated" else "current"
    save = replace(scenario.save, api=api, coordinator=0, stager="writer")
    load = Operation(save.world_size, distributed=save.distributed, members=save.members, no_dist=save.no_dist)
    try:
        before = replace(scenario, faults=(), file_faults=(), damages=(), earlier="nothing", save=save, load=load)
    except InvalidScenario:
        raise CannotWrite("there is no script for an earlier save of entries that are resharded yet") from None
    return Plan(verdict, find_known_issue(verdict), (before,))
