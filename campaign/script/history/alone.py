"""What goes wrong in a step of a history, and takes none of the steps before it: a scenario, with the script of one."""

from __future__ import annotations

from dataclasses import replace

from properties.judge import judge
from properties.judge_history import HistoryBreach
from properties.verdict import Verdict
from worlds.entries import TensorEntry
from worlds.example import ExampleWorld
from worlds.scenario import Scenario

__all__ = ["of_no_step", "verdict_alone"]


def verdict_alone(breach: HistoryBreach, world: ExampleWorld) -> Verdict | None:
    """The verdict on the step by itself, or on a save and the load of it, where that breaks the same law so."""
    if breach.verdict is None or breach.verdict.breach is None:
        return None
    scenario = of_no_step(breach.verdict.scenario)
    verdict = judge(scenario, world.run(scenario))
    seen, there = breach.verdict.breach, verdict.breach
    same = there is not None and all(
        getattr(seen, name) == getattr(there, name) for name in ("kind", "operation", "path")
    )
    return verdict if same else None


def of_no_step(scenario: Scenario) -> Scenario:
    """The scenario with the values that a tensor has without a history, where it does not matter what they are."""
    entries = (replace(entry, step=0) if isinstance(entry, TensorEntry) else entry for entry in scenario.entries)
    return replace(scenario, entries=tuple(entries))
