"""What a reproduction script says: it is well formed, needs torch alone, and is refused where it would be wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings

from campaign.script import CannotWrite, write_script
from campaign.script.history import write_history_script
from campaign.script.killed import write_killed_script
from campaign.script.ledgers import REAL_ISSUES, write_issue_script
from campaign.script.planning import write_planning_script
from campaign.script.text import quoted, render
from campaign.script.training import write_training_script
from campaign.script.values import from_bits, tensor_code
from properties import judge
from properties.damage_issues import DAMAGE_ISSUES
from properties.history_issues import find_history_breaches
from properties.judge import judge_default_metadata
from properties.known_issues import KNOWN_ISSUES, KnownIssue
from properties.ledger import torch_release
from properties.planning.known_issues import PLANNING_ISSUES
from properties.verdict import Breach, Verdict
from properties.violations import Violation
from strategies import histories, scenarios, stored_histories, tensor_entries
from tests.script_bugs import BUGS, Bug, planted_here
from tests.script_files import CALLS, FAIL, MIXED, ONE, PARTLY
from tests.script_runs import command_of
from tests.script_texts import EVERYTHING, KILLED, broken, check_text, mixture
from worlds import (
    Fault,
    FileFault,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Scenario,
    Schedule,
    SimulatedWorld,
    TensorEntry,
)
from worlds.errors import ERRORS
from worlds.file_faults import file_errors
from worlds.histories import History
from worlds.outcome import MetadataRecord
from worlds.parts import Box
from worlds.program import default_metadata
from worlds.state_tree import Leaf
from worlds.training import Parallelism
from worlds.values import expected_bytes, tensor_bytes

ROOT = Path(__file__).parents[1]
ISSUES = pytest.mark.parametrize("issue", KNOWN_ISSUES.values(), ids=lambda issue: issue.id)


def verdict_of(scenario: Scenario, world: SimulatedWorld) -> Verdict:
    return judge(scenario, world.run(scenario))


@ISSUES
def test_known_issue_has_a_short_script(issue: KnownIssue, world: SimulatedWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    script = write_script(verdict_of(issue.scenario, world))
    check_text(script)
    assert issue.title.split()[0] in script
    assert issue.upstream is None or issue.upstream in script
    assert len(script.splitlines()) < 120


@pytest.mark.thorough
def test_any_scenario_has_a_script_or_is_refused_in_one_line(world: SimulatedWorld) -> None:
    written, refused = [], []

    @settings(max_examples=120)
    @given(scenario=scenarios())
    def draw(scenario: Scenario) -> None:
        verdict = verdict_of(scenario, world)
        try:
            script = write_script(verdict)
        except CannotWrite as error:
            refused.append(str(error))
            return
        assert script == write_script(verdict), "the text depends on the verdict alone"
        compile(script, "reproduce.py", "exec")
        assert command_of(script)
        written.append(script)

    draw()
    assert written
    assert all(len(line.splitlines()) == 1 for line in refused)


def test_race_that_another_rank_wins_is_refused_in_one_line(world: SimulatedWorld) -> None:
    scenario = KNOWN_ISSUES["uncoordinated-overwrite"].scenario
    other = replace(scenario, save=replace(scenario.save, schedule=Schedule((1, 0))))
    with pytest.raises(CannotWrite, match=r"^there is no script for a race in which rank 0 is not the first to save$"):
        write_script(verdict_of(other, world))


def _scripts(world: SimulatedWorld, processes: ProcessWorld) -> Iterator[tuple[str, str]]:
    for issue in KNOWN_ISSUES.values():
        if issue.is_of(torch_release()):
            yield issue.id, write_script(verdict_of(issue.scenario, world))
    for damage in DAMAGE_ISSUES.values():
        yield damage.id, write_script(verdict_of(damage.scenario, world))
    for real in REAL_ISSUES.values():
        if real.is_of(torch_release()):
            yield real.id, write_issue_script(real, processes)
    for planning in PLANNING_ISSUES.values():
        yield planning.id, write_planning_script(planning)
    for number, killed in enumerate(KILLED):
        yield f"killed-{number}", write_killed_script(mixture(killed))
    smaller = replace(EVERYTHING, saved=replace(EVERYTHING.saved, parallelism=Parallelism(data=3)))
    for number, name in enumerate(("", "model.a", "optim.state.a", "optim.param_groups.0.a")):
        for size, training in (("equal", EVERYTHING), ("smaller", smaller)):
            loaded = replace(training.loaded, full=not name)  # no script fills the copies that it loads into
            yield f"{size}-{number}", write_training_script(broken(replace(training, loaded=loaded), name))
    for name in ERRORS:
        faults = (Fault("save", 1, "writer.write_data", name), Fault("save", 1, "writer.write_data", name, "future"))
        for fault in faults:
            scenario = Scenario(save=Operation(3), faults=(fault,))
            yield f"{name}-{fault.through}", write_script(verdict_of(scenario, world))
    yield from _scripts_of_files(world)
    for bug in BUGS:
        with planted_here(bug):
            yield bug.id.replace(" ", "-"), write_script(verdict_of(bug.scenario, world))


def _scripts_of_files(world: SimulatedWorld) -> Iterator[tuple[str, str]]:
    each = [(FileFault(of, 0, call, error),) for of, call in CALLS for error in file_errors(call)]
    failing = [replace(ONE, file_faults=faults) for faults in (*each, *PARTLY) if faults[0].error != "lost"]
    for number, scenario in enumerate((*failing, *FAIL.values())):
        yield f"files-{number}", write_script(verdict_of(scenario, world))
    for number, history in enumerate(MIXED.values()):
        yield f"history-{number}", write_history_script(find_history_breaches(history, world)[-1], world)


@pytest.mark.thorough
def test_scripts_pass_the_linter(world: SimulatedWorld, processes: ProcessWorld, tmp_path: Path) -> None:
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}:{'/usr/bin'}") or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    written: dict[str, str] = dict(_scripts(world, processes))

    @settings(max_examples=120)
    @given(scenario=scenarios(max_world_size=5))
    def draw(scenario: Scenario) -> None:
        # A name that is longer than a line cannot be broken.
        if all(len(repr(leaf.fqn)) < 22 for name in ("save", "load") for leaf in scenario.leaves(name)):
            with suppress(CannotWrite):
                written[f"drawn-{len(written)}"] = write_script(verdict_of(scenario, world))

    @settings(max_examples=20)
    @given(history=histories(max_world_size=2) | stored_histories(max_world_size=2))
    def draw_history(history: History) -> None:
        if all(len(repr(entry.key)) < 22 for entry in history.entries):
            for breach in find_history_breaches(history, world):
                with suppress(CannotWrite):
                    written[f"history-drawn-{len(written)}"] = write_history_script(breach, world)

    draw()
    draw_history()
    for name, script in written.items():
        (tmp_path / f"{name}.py").write_text(script, encoding="utf-8")
    lint = [ruff, "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), "--output-format=concise", "."]
    formats = [[ruff, "format", "--isolated", "--no-cache", "--diff", f"--line-length={n}", "."] for n in (100, 120)]
    for command in (lint, *formats):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_of_its_kind(bug: Bug, world: SimulatedWorld) -> None:
    """So that the table covers the kinds: what its scripts do is tested on real processes."""
    with planted_here(bug):
        verdict = verdict_of(bug.scenario, world)
        assert verdict.breach is not None
        assert verdict.breach.kind is bug.kind, str(verdict)
    check_text(write_script(verdict))
    assert verdict_of(bug.scenario, world), "without the bug the scenario must pass"


def test_every_kind_of_violation_is_shown_by_a_planted_bug() -> None:
    shown = {bug.kind.__name__ for bug in BUGS}
    kinds = {kind.__name__ for kind in Violation.__subclasses__() if kind.__module__ == Violation.__module__}
    # A rank dies only in a world of processes; of scenarios there is no script of TouchedTarget yet; the rest are of
    # other cases, of which ledgers have scripts.
    others = {"NotRefused", "UnseenDamage", "UnclearRefusal", "WroteBeforeRefusal"}
    assert kinds - shown == {"RankDied", "TouchedTarget", *others}


def test_metadata_of_a_rank_alone_is_asked_for_without_a_save(world: SimulatedWorld) -> None:
    scenario = KNOWN_ISSUES["chunk-behind-the-end"].scenario
    launched = world.launch(lambda rank: default_metadata(scenario, rank), 1)
    records = [record for record in launched.ranks if isinstance(record, MetadataRecord)]
    script = write_script(judge_default_metadata(scenario, records))
    check_text(script)
    assert "_create_default_local_metadata(state_dict)" in script
    assert "dcp.save" not in script


@settings(max_examples=100)
@given(entry=tensor_entries())
def test_tensors_of_a_script_have_the_bits_of_the_scenario(entry: TensorEntry) -> None:
    namespace: dict[str, Any] = {"torch": torch}
    source = render(tensor_code("a", entry))
    if "from_bits" in source:
        exec("import itertools, math\n" + from_bits([Leaf(("a",), entry)]), namespace)
    tensor = eval(source, namespace)
    assert tensor_bytes(tensor) == expected_bytes("a", entry, Box((0,) * len(entry.shape), entry.shape))
    assert (str(tensor.dtype), tuple(tensor.shape)) == (f"torch.{entry.dtype}", entry.shape)


@pytest.mark.parametrize("text", ["a", "'", '"', "'\"", "''\"", "\\", "\n", "ü", b"\x00'\"", "a" * 300, '"' * 60])
def test_quoted_text_evaluates_to_itself(text: str | bytes) -> None:
    assert eval(quoted(text)) == text


def test_unknown_part_of_a_scenario_is_refused_in_one_line(world: SimulatedWorld) -> None:
    @dataclass(frozen=True, repr=False)
    class Options(Operation):
        collectives: bool = True

    known = Scenario(save=Options())  # an unknown class, as when a kind of operation is added
    with pytest.raises(CannotWrite, match=r"^there is no script for a scenario with Options yet$"):
        write_script(verdict_of(known, world))


def test_unknown_field_is_refused(world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not where it has its default, which is what scenarios meant before there was the field."""
    from campaign.script import known

    newer = make_dataclass("newer", [("flat", bool, True)], bases=(ObjectEntry,), frozen=True)
    monkeypatch.setitem(known._FIELDS, newer, "key value")
    write_script(verdict_of(Scenario(entries=(newer("a"),)), world))
    with pytest.raises(CannotWrite, match=r"^there is no script for a scenario with newer\.flat=False yet$"):
        write_script(verdict_of(Scenario(entries=(newer("a", flat=False),)), world))


def test_unknown_violation_and_exception_are_refused_in_one_line(world: SimulatedWorld) -> None:
    novel: Any = type("Novel", (AssertionError,), {})
    verdict = verdict_of(Scenario(), world)
    other = replace(verdict, breach=Breach(novel, "save: something new", "save"))
    with pytest.raises(CannotWrite, match=r"^there is no script for a violation of the kind Novel yet$"):
        write_script(other)
    fault = Fault("save", 0, "writer.finish")
    verdict = verdict_of(Scenario(faults=(fault,)), world)
    object.__setattr__(fault, "error", "Novel")
    with pytest.raises(CannotWrite, match=r"^there is no script for a scenario with the exception 'Novel' yet$"):
        write_script(verdict)


def test_unknown_value_and_way_to_fail_are_refused_in_one_line(world: SimulatedWorld) -> None:
    entry = ObjectEntry("of no other test", 1)  # for what is known of a scenario is found by what is equal to it
    verdict = verdict_of(Scenario(entries=(entry,)), world)
    object.__setattr__(entry, "value", frozenset())
    with pytest.raises(CannotWrite, match=r"^there is no script for a scenario with an object of type frozenset yet$"):
        write_script(verdict)
    fault = Fault("save", 0, "writer.finish")
    verdict = verdict_of(Scenario(faults=(fault,)), world)
    object.__setattr__(fault, "through", "thread")
    with pytest.raises(CannotWrite, match=r"^there is no script for a fault through the thread yet$"):
        write_script(verdict)
