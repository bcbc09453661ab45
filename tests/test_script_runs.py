"""Scripts on real processes: each shows its bug, ends with status 0 without it, and leaves no process over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, seed, settings

from campaign.script import CannotWrite, write_script
from campaign.script.ledgers import REAL_ISSUES, RealIssue, write_issue_script
from properties import judge
from properties.damage_issues import DAMAGE_ISSUES, DamageIssue
from properties.judge import judge_default_metadata
from properties.known_issues import KNOWN_ISSUES, KnownIssue
from properties.ledger import torch_release
from strategies import scenarios
from tests.known_scripts import REPAIRS, SAYS
from tests.script_bugs import BUGS, TWO_RANKS, Bug, planted_here
from tests.script_runs import run_as_said, run_script
from worlds import (
    Fault,
    Nested,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Scenario,
    SimulatedWorld,
    TensorEntry,
    WriterOptions,
)
from worlds.checkpointable import HAS_CHECKPOINTABLE_TENSOR
from worlds.layouts import ChunkSharding, EnumerableSharding, MeshSharding, Plain, Shard, Tile
from worlds.outcome import MetadataRecord
from worlds.program import default_metadata

pytestmark = pytest.mark.thorough

FEW = ("a cast", "the next rank blamed")


def script_of(scenario: Scenario, world: SimulatedWorld) -> str:
    return write_script(judge(scenario, world.run(scenario)))


@pytest.mark.parametrize("issue", [*KNOWN_ISSUES.values(), *DAMAGE_ISSUES.values()], ids=lambda issue: issue.id)
def test_script_shows_the_known_issue(issue: KnownIssue | DamageIssue, world: SimulatedWorld, tmp_path: Path) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    run = run_script(script_of(issue.scenario, world), tmp_path)
    assert run.status == 1, run.output
    for text in SAYS[issue.id]:
        assert text in run.output, run.output


@pytest.mark.parametrize("issue", REAL_ISSUES.values(), ids=lambda issue: issue.id)
def test_script_shows_the_known_issue_of_real_ranks(issue: RealIssue, processes: ProcessWorld, tmp_path: Path) -> None:
    """Where torch is easily repaired, repaired too: what is expected then depends on the script alone."""
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    script = write_issue_script(issue, processes)
    repairs = [REPAIRS[issue.id]] if issue.id in REPAIRS else []
    for name, plants in (("released", []), ("repaired", repairs))[: 1 + len(repairs)]:
        (tmp_path / name).mkdir()
        run = run_script(script, tmp_path / name, plants=plants)
        assert run.status == 1 - len(plants), run.output
        assert all((text in run.output) != bool(plants) for text in SAYS[issue.id]), run.output


@pytest.mark.parametrize("name", [name for name in REPAIRS if name in KNOWN_ISSUES])
def test_script_of_a_known_issue_passes_where_it_is_gone(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    run = run_script(script_of(KNOWN_ISSUES[name].scenario, world), tmp_path, plants=[REPAIRS[name]])
    assert run.status == 0, run.output


def check_bug(bug: Bug, world: SimulatedWorld, directory: Path) -> None:
    """The script of a planted bug ends with 1 and says what broke; with 0, on the same machine, without the bug."""
    with planted_here(bug):
        script = script_of(bug.scenario, world)
    for name, plants in (("with", [bug.plant]), ("without", [])):
        (directory / name).mkdir()
        run = run_script(script, directory / name, plants=plants)
        assert run.status == len(plants), run.output
        assert (bug.says in run.output) == bool(plants), run.output


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.id in FEW], ids=lambda bug: bug.id)
def test_script_shows_a_planted_bug(bug: Bug, world: SimulatedWorld, tmp_path: Path) -> None:
    check_bug(bug, world, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.id not in FEW], ids=lambda bug: bug.id)
def test_script_shows_a_planted_bug_of_any_kind(bug: Bug, world: SimulatedWorld, tmp_path: Path) -> None:
    check_bug(bug, world, tmp_path)


def test_script_shows_wrong_metadata_of_a_rank_alone(world: SimulatedWorld, tmp_path: Path) -> None:
    issue = KNOWN_ISSUES["chunk-behind-the-end"]
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    launched = world.launch(lambda rank: default_metadata(issue.scenario, rank), 1)
    records = [record for record in launched.ranks if isinstance(record, MetadataRecord)]
    run = run_script(write_script(judge_default_metadata(issue.scenario, records)), tmp_path)
    assert run.status == 1
    assert "is outside" in run.output


PLAIN = (TensorEntry("a", (3,)), ObjectEntry("b", 1))
TILES = (Tile(1, (0, 0), (2, 1)), Tile(0, (0, 1), (2, 2)))
TILED = TensorEntry("c", (2, 3), saved=EnumerableSharding(TILES), loaded=EnumerableSharding(TILES, "Checkpointable"))
BLOCKS = TensorEntry("d", (2, 3), "int8", saved=EnumerableSharding(TILES, "Checkpointable"))
MESH = TensorEntry("e", (3,), saved=MeshSharding((2,), (Shard(0),)), loaded=MeshSharding((2,), (Shard(0),), (1, 0)))
LOCAL = replace(
    BLOCKS,
    saved=EnumerableSharding((Tile(1, (0, 1), (2, 2)), *TILES[:1]), "CheckpointableTensor", padded=True),
    loaded=EnumerableSharding(TILES, "CheckpointableTensor"),
)
OF_NEWER = {"local tensors of a whole": Scenario(entries=(LOCAL,), save=TWO_RANKS, load=TWO_RANKS)}
CHOSEN = {
    "no process group": Scenario(
        entries=PLAIN, save=Operation(distributed=False), load=Operation(distributed=False, api="legacy")
    ),
    "more ranks at load": Scenario(
        entries=PLAIN, save=Operation(distributed=False), load=Operation(3, coordinator=2, api="legacy")
    ),
    "a failure in a smaller world": Scenario(
        entries=PLAIN,
        save=Operation(3),
        load=Operation(2, coordinator=1, api="legacy"),
        faults=(Fault("load", 1, "reader.read_data", "ExceptionGroup", "future"),),
    ),
    "tensors in tiles and blocks": Scenario(entries=(TILED, BLOCKS), save=TWO_RANKS, load=TWO_RANKS),
    "shards of a dtype that torch cannot fill": Scenario(
        entries=(TensorEntry("a", (2,), "bits4x2", saved=ChunkSharding(0, (0, 1))),),
        save=Operation(2, api="async"),
        load=TWO_RANKS,
        faults=(Fault("save", 0, "writer.prepare_local_plan"),),
    ),
    "a module with blocks": Scenario(entries=(TILED, BLOCKS), save=TWO_RANKS, load=TWO_RANKS, container="module"),
    "staged blocks": Scenario(
        entries=(replace(BLOCKS, loaded=BLOCKS.saved),),
        save=Operation(2, api="async", stager="default"),
        load=TWO_RANKS,
    ),
    "paths that are no text": Scenario(
        entries=PLAIN,
        save=Operation(pathlike=True),
        load=Operation(api="legacy", pathlike=True),
        writer=WriterOptions(thread_count=2),
    ),
    "the storage alone": Scenario(
        entries=PLAIN,
        save=Operation(2, api="async", named_by="storage"),
        load=Operation(2, named_by="storage"),
        faults=(Fault("load", 1, "reader.reset"),),
    ),
    "fsspec by the path alone": Scenario(
        entries=PLAIN,
        save=Operation(2, named_by="path"),
        load=Operation(2, named_by="path"),
        storage="fsspec",
    ),
    "ranks of any group": Scenario(
        entries=(*PLAIN, TILED, BLOCKS, MESH),
        save=Operation(2, coordinator=1, api="legacy", members=(0, 2), rotated=True),
        load=Operation(2, members=(1, 2), rotated=True),
    ),
    "what only some ranks have": Scenario(
        entries=(
            TensorEntry("a", (3,), saved=Plain((1,)), loaded=Plain((0,))),
            ObjectEntry("b", b"two", "BytesIO", loaded=Plain((0, 1))),
            Nested("c", "dict", (ObjectEntry("d", (3, "four"), "instance", loaded=Plain((1,))),)),
        ),
        save=Operation(2, rotated=True),
        load=Operation(3, members=(0, 2, 3), rotated=True),
        writer=WriterOptions(per_thread_copy_ahead=0),
    ),
    "what only some ranks have, staged": Scenario(
        entries=(TensorEntry("a", (3,), saved=Plain((1,))), ObjectEntry("b", b"", "BytesIO", saved=Plain((0,)))),
        save=Operation(2, api="async", stager="default"),
    ),
    "a failure in a group": Scenario(
        entries=(TILED,),
        save=TWO_RANKS,
        load=Operation(2, members=(1, 2)),
        faults=(Fault("load", 1, "reader.read_data"),),
    ),
    "a rank by itself in a larger job": Scenario(
        entries=PLAIN, save=Operation(no_dist=True), load=Operation(1, members=(1,), no_dist=True, api="legacy")
    ),
    **(OF_NEWER if HAS_CHECKPOINTABLE_TENSOR else {}),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_script_of_a_scenario_that_passes(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    run = run_script(script_of(CHOSEN[name], world), tmp_path)
    assert run.status == 0, run.output


def test_ranks_come_in_turn_by_the_storage_alone_too(world: SimulatedWorld, tmp_path: Path) -> None:
    scenario = KNOWN_ISSUES["uncoordinated-overwrite"].scenario
    alone = replace(scenario, save=replace(scenario.save, named_by="storage"))
    run = run_script(script_of(alone, world), tmp_path)
    assert run.status == 1, run.output
    assert all(text in run.output for text in SAYS["uncoordinated-overwrite"]), run.output


@pytest.mark.commands
@pytest.mark.parametrize(("name", "status"), [("dtype-cast", 1), ("unpicklable-exception", 1), (None, 0)])
def test_script_does_the_same_by_the_command_in_its_header(
    name: str | None, status: int, world: SimulatedWorld, tmp_path: Path
) -> None:
    """With ``python``, with ``torchrun`` and a rank that hangs, and with ``torchrun`` where all is well."""
    scenario = CHOSEN["tensors in tiles and blocks"] if name is None else KNOWN_ISSUES[name].scenario
    run = run_as_said(script_of(scenario, world), tmp_path)
    assert run.status == status, run.output
    assert all(text in run.output for text in SAYS.get(name or "", [])), run.output


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_scripts_of_drawn_scenarios(number: int, world: SimulatedWorld, tmp_path: Path) -> None:
    """Real processes agree with the simulated world, whatever the verdict."""

    @seed(number)
    @settings(max_examples=12, phases=[Phase.generate])
    @given(scenario=scenarios(max_world_size=4))
    def agree(scenario: Scenario) -> None:
        verdict = judge(scenario, world.run(scenario))
        try:
            script = write_script(verdict)
        except CannotWrite:
            return
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        directory.mkdir()
        run = run_script(script, directory)
        assert run.status == (0 if verdict else 1), f"{verdict}\n{run.output}"

    agree()
