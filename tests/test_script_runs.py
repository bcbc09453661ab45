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
from tests.script_bugs import BUGS, TWO_RANKS, Bug, planted_here
from tests.script_runs import Plant, run_as_said, run_script
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
from worlds.layouts import ChunkSharding, EnumerableSharding, MeshSharding, Plain, Shard, Tile
from worlds.outcome import MetadataRecord
from worlds.program import default_metadata

pytestmark = pytest.mark.thorough

# What the script of each known issue prints that says what broke.
SAYS = {
    "chunk-behind-the-end": ["CheckpointException", "has out of bounds chunk"],
    "bits-dtypes": ["CheckpointException", "torch.iinfo() requires an integer input type"],
    "unpicklable-exception": [
        "[rank 1] save() raised TypeError(\"cannot pickle '_thread.lock' object\")",
        "[rank 0] still in save():",
        "in gather_object",
    ],
    "reset-unprotected": [
        "[rank 1] save() raised OSError(5, 'reset failed')",
        "[rank 0] still in save():",
        "in gather_object",
    ],
    "stateful-unprotected": ["[rank 1] save() raised OSError(5, 'state_dict failed')", "[rank 0] still in save():"],
    "dtype-cast": ["load() returned", "expected: raised CheckpointException in 'plan' naming ranks [0]"],
    "object-into-tensor": ["load() returned", "expected: raised CheckpointException in 'plan' naming ranks [0]"],
    "unflattened-objects": ["a: saved None, loaded 'not loaded'"],
    "falls-back-to-older-metadata": ["[rank 0] still in load():", "[rank 1] still in load():"],
    "older-metadata-preferred": ["b: 1 elements are not what was saved"],
    "metadata-synced-before-written": ["EOFError: Ran out of input"],
    "uncoordinated-no-shard": ["RuntimeError: Missing key in checkpoint state_dict: a."],
    "uncoordinated-unprotected": [
        "[rank 1] save() raised OSError(5, 'write_data failed')",
        "[rank 0] still in save():",
    ],
    "int-keys": ["the keys are {'a': {0: None, '0': None}}, and were {'a': {0: None}}"],
    "list-replaced": ["a is another object than the one to load into"],
    "empty-dict-in-list": ["RuntimeError: Missing key in checkpoint state_dict: a.0."],
    "strided-shard-in-pieces": ["has overlapping chunks"],
    "staging-ordered-dict": ["a.0: saved an OrderedDict, loaded a dict"],
    "empty-dict-beside-objects": ["RuntimeError: Missing key in checkpoint state_dict: a."],
    "mistaken-for-2.3": ["RuntimeError: Missing key in checkpoint state_dict: b."],
    "staging-lazy-bits": ["a[]: saved c2cd503c, loaded c2cd50bc"],
    "staging-scalar-dtensor": ["a[]: saved c2cd503c, loaded eeeeeeee"],
    "staging-sharded-tensor": ["RuntimeError: torch function 'data_ptr'"],
    "staging-dtensor-view": ["RuntimeError: Attempted to call copy_() on an invalid python storage"],
    "staging-exotic-dtype": ["RuntimeError: store_scalar: invalid type"],
    "empty-chunk-in-the-way": ["CheckpointException", "invalid fill tensor-volume: 1 chunks-volume: 0"],
    "staging-checkpointable": ["NotImplementedError: aten.copy_.default of a checkpointable tensor"],
    "uncoordinated-overwrite": [
        "[rank 1] save() raised RuntimeError('Checkpoint already exists and self.overwrite=False.')",
        "[rank 0] still in save():",
        "distW.barrier()",
    ],
    "cached-plan-dtype": ["{'a': (torch.float64, [])} was saved, and the metadata says {'a': (torch.float32, [])}"],
    "mixed-after-death": ["with what was saved at the steps {0.0, 1.0}", "in part of one save, in part of another"],
    "broadcast-forgets-path": ["AssertionError: checkpoint_id must be set before setting up storage reader"],
    "broadcast-without-group": ["ValueError: Default process group has not been initialized"],
    "broadcast-in-sub-group": ["[rank 1] still in load():", "dist.broadcast(tensor, src=self.coordinator_rank"],
    "broadcast-of-other-keys": ["[rank 0] still in load():"],
    "broadcast-into-shards": ["[rank 0] still in load():", "dist.broadcast(tensor, src=self.coordinator_rank"],
    "broadcast-first-part": ["a[0] in the shard at [1]: saved d7499bbb, loaded c2cd503c"],
    "broadcast-of-memory": ["[rank 1] a[0, 1]: saved d7499bbb, loaded ecc5e53a"],
    "broadcast-of-conjugate": ["[rank 1] still in load():"],
    "broadcast-of-dtype": ["RuntimeError: Invalid scalar type"],
    "safetensors-one-shard-a-rank": ["a[0]: saved c2cd503c, loaded 3d32afc3"],
    "safetensors-not-contiguous": ["ValueError: You are trying to save a non contiguous tensor: `a`"],
    "safetensors-lazy-bits": ["a[]: saved c2cd503c, loaded c2cd50bc"],
    "safetensors-with-objects": ["global metadata read failed: Error while deserializing header"],
    "consolidated-integers": ["TypeError: torch.finfo() requires a floating point input type"],
    "consolidated-complex": ["global metadata read failed: Error while deserializing header: invalid"],
    "safetensors-size-by-shards": ["Size mismatch between saved torch.Size([0, 0]) and current: torch.Size([1, 0])"],
    "consolidated-scalars": ["a[]: saved c2cd503c, loaded 00000000"],
    "consolidated-nothing": ["ValueError: max() "],
    "consolidated-beside-its-parts": ["AssertionError: req MetadataIndex(fqn='a'", "mismatch sizes"],
    "rebuilt-text-keys": [
        """expected {'a': "{0: 'None'}"}, and it is {'a': "{'0': 'None'}"}""",
    ],
    "rebuilt-without-empty-dicts": ["expected {'a': '{}'}, and it is {}"],
    "rebuilt-own-part": ["expected {'a': 'torch.float32[] [194, 205, 80, 60]'}, and it is {}"],
    "rebuilt-places-before": ["expected {'a': \"['None', 'torch.float32[]", "and it is {'a': \"['1', 'torch.float32[]"],
    "rebuilt-list-with-hole": ["RuntimeError: Missing key in checkpoint state_dict: a.0."],
    "keys-of-unflattened": ["AttributeError: 'NoneType' object has no attribute 'get'"],
    "uploads-over-one-group": ["[rank 0] still in async_save():", "[rank 1] still in async_save():"],
    "caching-across-saves": ["[rank 0] save() raised", "[rank 1] still in save():"],
    "mixed-after-failure": ["as it must, a save fails", "with what was saved at the steps {1.0, 2.0}"],
    "cached-plans-of-another-coordinator": ["TypeError: 'NoneType' object is not iterable"],
    "cached-plans-after-failure": ["KeyError: 'DefaultSavePlanner'"],
    "flipped-bit": ["a[]: saved c2cd503c, loaded c3cd503c"],
    "flipped-bit-beside-elements": ["a: 1 elements are not what was saved"],
    "flipped-bit-in-metadata": ["[rank 0] a[0]: saved c2cd503c, loaded d7499bbb"],
    "stale-file": ["a[]: saved c2cd503c, loaded 00000000"],
    "swapped-files": ["[rank 0] a[1]: saved d7499bbb, loaded c2cd503c"],
    "second-writer-thread": ["save() returned", "expected: raised CheckpointException in 'write' naming ranks [0]"],
    "save-takes-a-step": ["optim.state.0.bias.step: was nothing, is now tensor(1.0)"],
    "empty-group-first": ["optim.param_groups.0.lr: saved 0.25, loaded nothing"],
    "flat-empty-group": ["in _unflatten_optim_state_dict", "IndexError: list index out of range"],
    "flat-and-full": ["in _unflatten_state_dict", "KeyError: 'param_groups"],
    "full-without-state": ["AssertionError: Expected device to be set"],
    "betas-become-list": ["optim.param_groups.0.betas: saved (0.5, 0.75), loaded [0.5, 0.75]"],
    "state-never-made": ["RuntimeError: Missing key in checkpoint state_dict: optim.state.1.weight.step."],
    "state-not-asked-for": ["RuntimeError: Missing optimizer state for parameter '1.weight' in checkpoint."],
    "frozen-state-dropped": ["optim.state.1.weight.sum: saved tensor(0.0), loaded nothing"],
    "hidden-by-evaluation": ["in get_optimizer_state_dict", "KeyError: 0"],
    "rank-0-broadcasts-alone": ["[rank 0] still waiting:", "in set_state_dict"],
    "strided-shards-uneven": ["in _shard_tensor", "AssertionError"],
    "rows-cut-twice": ["CheckpointException", "mismatch sizes torch.Size([1, 1]) vs torch.Size([0, 1])"],
    "strict-wants-state": ["RuntimeError: Missing optimizer state for parameter '1.weight' in checkpoint."],
    "frozen-by-another-name": ["model.1.head.weight: was tensor([[-1.0]]), is now tensor([[1.5409960746765137]])"],
    "flat-empty-state": ["optim.state.0.weight: saved nothing, loaded []"],
}

_STATE_DICT = "torch.distributed.checkpoint.state_dict"
# How torch could be changed so that an issue is gone.
REPAIRS = {
    "metadata-synced-before-written": Plant(
        "torch.distributed.checkpoint.filesystem:_FileSystemWriter",
        "finish",
        "pickle.dump(metadata, metadata_file)",
        "pickle.dump(metadata, metadata_file); metadata_file.flush()",
    ),
    "cached-plan-dtype": Plant(
        "torch.distributed.checkpoint.planner_helpers",
        "_compare_save_plans",
        "tensor_data.size != other_tensor_data.size",
        "(tensor_data.size, tensor_data.properties) != (other_tensor_data.size, other_tensor_data.properties)",
    ),
    "broadcast-forgets-path": Plant(
        "torch.distributed.checkpoint.format_utils:BroadcastingTorchSaveReader",
        "reset",
        "self.checkpoint_id = checkpoint_id",
        "self.checkpoint_id = checkpoint_id or self.checkpoint_id",
    ),
    "keys-of-unflattened": Plant(
        "torch.distributed.checkpoint.default_planner:_EmptyStateDictLoadPlanner",
        "_should_include_key",
        "metadata.planner_data.get(key)",
        "(metadata.planner_data or {}).get(key, ())",
    ),
    "consolidated-integers": Plant(
        "torch.distributed.checkpoint._consolidate_hf_safetensors",
        "_parse_input_metadata",
        "torch.finfo(_getdtype(dtype_str)).bits",
        "8 * _getdtype(dtype_str).itemsize",
    ),
    "consolidated-complex": Plant(
        "torch.distributed.checkpoint._consolidate_hf_safetensors",
        "_parse_input_metadata",
        "torch.finfo(_getdtype(dtype_str)).bits",
        "8 * _getdtype(dtype_str).itemsize",
    ),
    "cached-plans-after-failure": Plant(
        "torch.distributed.checkpoint.default_planner:DefaultSavePlanner",
        "__init__",
        "self._enable_plan_caching = enable_plan_caching",
        "self._enable_plan_caching = False",
    ),
    "caching-across-saves": Plant(
        "torch.distributed.checkpoint.default_planner:DefaultSavePlanner",
        "__init__",
        "self._enable_plan_caching = enable_plan_caching",
        "self._enable_plan_caching = False",
    ),
    # A checkpoint that is written over is not there until all is written.
    "mixed-after-death": Plant(
        "torch.distributed.checkpoint.filesystem:_FileSystemWriter",
        "prepare_local_plan",
        "self.fs.mkdir(self.path)",
        "self.fs.mkdir(self.path)\n"
        "    self.rank or not self._metadata_exists() or self.fs.rm_file(self._get_metadata_path())",
    ),
    "save-takes-a-step": Plant(_STATE_DICT, "_init_optim_state", "if optim.state:", "if True:"),
    "empty-group-first": Plant(
        _STATE_DICT,
        "_split_optim_state_dict",
        "if len(optim_state_dict[_PG]) != ",
        "pg_mapping[id(ret[0])] = len(pg_state) - 1\n            if len(optim_state_dict[_PG]) != ",
    ),
    "flat-empty-group": Plant(
        _STATE_DICT,
        "_unflatten_optim_state_dict",
        "first_param_fqn = ",
        "if not param_group[_PARAMS]:\n            continue\n        first_param_fqn = ",
    ),
    "full-without-state": Plant(
        _STATE_DICT,
        "_load_optim_state_dict",
        "elif info.full_state_dict:",
        "elif info.full_state_dict and state_dict[_STATE]:",
    ),
    "betas-become-list": Plant(
        _STATE_DICT,
        "_load_optim_state_dict",
        "for pg in optim_state_dict[_PG]:",
        'for pg in optim_state_dict[_PG]:\n                pg["betas"] = tuple(pg["betas"])',
    ),
    "frozen-state-dropped": Plant(
        _STATE_DICT,
        "_split_optim_state_dict",
        "if param.requires_grad:",
        "if param.requires_grad or fqn in optim_state_dict[_STATE]:",
    ),
    "rank-0-broadcasts-alone": Plant(
        _STATE_DICT,
        "set_state_dict",
        "optim_only=not model_state_dict",
        "optim_only=not model_state_dict and not options.broadcast_from_rank0",
    ),
    "strict-wants-state": Plant(_STATE_DICT, "_split_optim_state_dict", "elif info.strict:", "elif False:"),
    "flat-empty-state": Plant(
        _STATE_DICT,
        "_unflatten_optim_state_dict",
        "state[fqn] = {}",
        "if not optim.state.get(param):\n                    continue\n                state[fqn] = {}",
    ),
    "bits-dtypes": Plant(
        "torch._utils", "_element_size", "return torch.iinfo(dtype).bits >> 3", "return dtype.itemsize"
    ),
    "unpicklable-exception": Plant(
        "torch.distributed.checkpoint.api",
        "_wrap_exception",
        "summary =",
        "exc = RuntimeError(repr(exc)).with_traceback(exc.__traceback__); summary =",
    ),
}

FEW = ("a cast", "the next rank blamed")


def script_of(scenario: Scenario, world: SimulatedWorld) -> str:
    return write_script(judge(scenario, world.run(scenario)))


@pytest.mark.parametrize("issue", [*KNOWN_ISSUES.values(), *DAMAGE_ISSUES.values()], ids=lambda issue: issue.id)
def test_script_shows_the_known_issue(issue: KnownIssue | DamageIssue, world: SimulatedWorld, tmp_path: Path) -> None:
    if not issue.affects(torch_release()):
        pytest.skip(f"fixed in torch {issue.fixed_in}")
    run = run_script(script_of(issue.scenario, world), tmp_path)
    assert run.status == 1, run.output
    for text in SAYS[issue.id]:
        assert text in run.output, run.output


@pytest.mark.parametrize("issue", REAL_ISSUES.values(), ids=lambda issue: issue.id)
def test_script_shows_the_known_issue_of_real_ranks(issue: RealIssue, processes: ProcessWorld, tmp_path: Path) -> None:
    """Where torch is easily repaired, repaired too: what is expected then depends on the script alone."""
    if not issue.affects(torch_release()):
        pytest.skip(f"fixed in torch {issue.fixed_in}")
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
        pytest.skip(f"fixed in torch {issue.fixed_in}")
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
}


@pytest.mark.parametrize("name", CHOSEN)
def test_script_of_a_scenario_that_passes(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    run = run_script(script_of(CHOSEN[name], world), tmp_path)
    assert run.status == 0, run.output


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
