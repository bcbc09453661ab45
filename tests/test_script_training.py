"""Scripts of trainings beside the ledger's: what they say, what is refused, and planted bugs that they show."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from campaign.planted.plant import planted
from campaign.script import CannotWrite
from campaign.script.training import write_training_script
from properties.training import TRAINING_ISSUES, TrainingBreach, judge_training
from properties.violations import Deadlock, RankDied, UnexpectedFailure, WrongBits, WrongObject
from strategies import trainings
from tests.script_runs import Plant, run_script
from tests.script_texts import EVERYTHING, broken, check_text
from worlds import SimulatedWorld
from worlds.training import (
    Again,
    Block,
    Counter,
    Embedding,
    Mlp,
    Norm,
    Optimizer,
    Parallelism,
    Renamed,
    Scale,
    Side,
    Training,
    run_training,
)


def breach_of(training: Training, world: SimulatedWorld) -> TrainingBreach:
    breach = next(judge_training(training, run_training(world, training)), None)
    assert breach is not None
    return breach


@pytest.mark.thorough
def test_any_training_has_a_script_or_is_refused_in_one_line(world: SimulatedWorld) -> None:
    written: list[str] = []
    refused: list[str] = []

    @seed(1)
    @settings(max_examples=40, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
    @given(training=trainings())
    def draw(training: Training) -> None:
        for breach in judge_training(training, run_training(world, training)):
            try:
                script = write_training_script(breach)
            except CannotWrite as error:
                refused.append(str(error))
                return
            assert script == write_training_script(breach), "the text depends on the breach alone"
            check_text(script)
            written.append(script)

    draw()
    assert written
    assert all(len(line.splitlines()) == 1 for line in refused)


def test_training_is_made_of_all_its_layers() -> None:
    script = write_training_script(broken(EVERYTHING))
    check_text(script)
    for text in (
        "class Scale(nn.Module):",
        "        self.head.weight = self.tokens.weight\n",
        "        self.count += 1\n",
        "def unused(layer):",
        "nn.Linear(3, 2, bias=False),\n    ).requires_grad_(False),\n",
        "    nn.Sequential(Tokens(2, 2), unused(Scale())),\n    Counter(2),\n    nn.LayerNorm(2),\n)",
        'mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("replicas", "data", "tensor"))',
        '"0.0": ColwiseParallel(use_local_output=False),',
        "\nmodel[1][0].head.weight = model[1][0].tokens.weight\n",
        'fully_shard(model, mesh=mesh["replicas", "data"], ignored_params={model[1][1].weight})',
        "matrices = [tensor for tensor in model.parameters() if tensor.dim() > 1]",
        '{"params": others, "lr": torch.tensor(0.25), "initial_lr": 0.5}',
        "decoupled_weight_decay=True,\n    weight_decay=0.5,",
        "for _ in range(2):\n    step(model, optimizer)",
        "model.eval()\nwith torch.no_grad():\n",
        '    "optim": get_optimizer_state_dict(model, optimizer, options=options),\n    "model":',
        'set_optimizer_state_dict(model, optimizer, state["optim"], options=options)\nset_model_state_dict(',
        "options = StateDictOptions(full_state_dict=True, flatten_optimizer_state_dict=True)",
        "torchrun --standalone --nproc-per-node=8",
    ):
        assert text in script, script


def test_script_has_no_more_than_it_needs() -> None:
    script = write_training_script(broken(Training(saved=Side())))
    for text in ("def ", "lr=", "step()", "seed", "options", "dist.", "init_device_mesh"):
        assert text not in script, script


def test_rank_that_hangs_alone_waits_for_no_other() -> None:
    script = write_training_script(replace(broken(Training()), kind=Deadlock))
    check_text(script)
    assert script.endswith(')\nseen = "returned"\n')
    assert "dist" not in script.partition("import sys")[2].replace("torch.distributed", "")


def test_submodule_is_asked_for_and_given_back_by_itself() -> None:
    saved, loaded = Side(steps=1, submodules=(1,)), Side(calls="model first", strict=False, submodules=(1,))
    training = Training((Norm(), Norm()), saved=saved, loaded=loaded, keep_prefixes=False)
    script = write_training_script(broken(training))
    check_text(script)
    for text in (
        "keep_submodule_prefixes=False",
        "    submodules={model[1]},\n",
        'get_model_state_dict(model, submodules={model[1]}, options=options),\n    "optim":',
        'set_model_state_dict(model, {model[1]: state["model"]}, options=options)\n',
    ):
        assert text in script, script
    with pytest.raises(CannotWrite, match=r"^there is no script .* beside those that are not asked for yet$"):
        write_training_script(broken(training, "model.0.weight"))


def test_layer_that_renames_says_so_by_the_method_that_is_asked_for() -> None:
    script = write_training_script(broken(Training((Renamed("frozen"), Norm()), modifiers="names_in_state_dict")))
    check_text(script)
    for text in (
        '    def names_in_state_dict(self):\n        return {"weight": "inner", "bias": "inner"}\n',
        "model = nn.Sequential(Renamed(1).requires_grad_(False), nn.LayerNorm(1))\n",
        'options = StateDictOptions(dsd_fqn_modifiers="names_in_state_dict")\n',
    ):
        assert text in script, script


def test_first_layer_of_a_block_is_asked_for() -> None:
    saved, loaded = Side(steps=1, submodules=(0,)), Side(strict=False, submodules=(0,))
    training = Training((Block((Norm(),)), Norm()), saved=saved, loaded=loaded, keep_prefixes=False, nested=True)
    script = write_training_script(broken(training))
    check_text(script)
    assert "submodules={model[0][0]}" in script
    assert '{model[0][0]: state["model"]}' in script


def test_module_in_two_others() -> None:
    script = write_training_script(broken(Training((Norm(), Again(inside=True)))))
    check_text(script)
    assert "model = nn.Sequential(shared_0, nn.Sequential(shared_0))\n" in script, script


def test_module_twice_beside_a_parameter_with_two_optimizers_or_none() -> None:
    layers = (Mlp(), Again(), Norm())
    optimizer = Optimizer("Adam", groups="matrices first", scheduled=True, apart=True)
    training = Training(layers, optimizer=optimizer, saved=Side(steps=1, backward=True), own=True)
    script = write_training_script(broken(training))
    check_text(script)
    for text in (
        "model = Shifted(shared_0, shared_0, nn.LayerNorm(1), width=1)\n",
        '    torch.optim.Adam([{"params": matrices, "initial_lr": 0.5}]),\n',
        "for optimizer in optimizers:\n    optimizer.step()\n    optimizer.zero_grad()\nmodel(",
        "model_state, optim_state = get_state_dict(model, optimizers)\n",
    ):
        assert text in script, script
    loaded = Side(ONE, calls="model first")
    training = replace(training, optimizer=None, saved=replace(training.saved, steps=2), loaded=loaded)
    script = write_training_script(broken(training, "model.shift"))
    check_text(script)
    for text in (
        "    model.zero_grad()\nmodel(",
        'get_state_dict(model, ())\nstate = {"model": model_state}\n',
        'state = {"model": get_model_state_dict(model)}\n',
        'set_model_state_dict(model, state["model"])\nloaded = held(model)\n',
    ):
        assert text in script, script
    assert "optim." not in script


def test_model_and_its_layers_are_wrapped_at_last() -> None:
    saved = Side(Parallelism(2), 1, whole="compiled DDP", each="checkpointed")
    script = write_training_script(broken(Training(saved=saved, loaded=Side(each="compiled"))))
    check_text(script)
    for text in (
        "optimizer.zero_grad()\nfor place in range(len(model)):\n    model[place] = checkpoint_wrapper(model[place])\n"
        "model = DistributedDataParallel(model)\nmodel = torch.compile(model)\n",
        "    model[place] = torch.compile(model[place])\n",
        "from torch.nn.parallel import DistributedDataParallel\n",
        "dist.init_process_group(",
    ):
        assert text in script, script


ONE, TWO = Parallelism(data=1), Parallelism(data=2)
APART = Optimizer(groups="matrices first", apart=True)


def test_side_that_only_some_ranks_share() -> None:
    script = write_training_script(broken(Training(saved=Side(ONE), loaded=Side(TWO), flatten=True)))
    check_text(script)
    assert "options = StateDictOptions(flatten_optimizer_state_dict=True)\nif rank == 0:\n    model = " in script
    assert "    dcp.save(state, checkpoint_id=path, process_group=group)\ndist.barrier()\n" in script
    assert "\nmodel_state, optim_state = get_state_dict(model, optimizer, options=options)\n" in script
    breach = broken(Training(saved=Side(ONE), loaded=Side(TWO)), "model.0.weight")
    assert "\neveryone = [held(model) if rank == 0 else None]\ndist.broadcast_" in write_training_script(breach)
    breach = broken(Training(saved=Side(Parallelism(data=3)), loaded=Side(TWO)), "model.0.weight")
    script = write_training_script(breach)
    check_text(script)
    assert (
        'mesh = init_device_mesh("cpu", (2,))\ngroup = dist.new_group(range(2))\nif rank < 2:\n    model = ' in script
    )
    assert script.endswith('    if wrong:\n        sys.exit("what was loaded is not what was saved")\n')


@pytest.mark.parametrize(
    ("breach", "says"),
    [
        (replace(broken(Training()), kind=RankDied), "ends in RankDied"),
        (broken(Training(saved=Side(TWO), loaded=Side(full=True, broadcast=True))), "rank 0 has what is loaded,"),
        (replace(broken(Training(saved=Side(TWO), loaded=Side(ONE))), kind=Deadlock), "that hangs"),
        (broken(Training((Norm(), Scale("unused")), saved=Side(replace(TWO, wrapped=True)))), "that are wrapped"),
        (broken(Training((Mlp(),), saved=Side(Parallelism(tensor=2), 1))), "less than a row for each rank"),
        (broken(Training(), "optim.param_groups.0.params"), r"compares optim\.param_groups\.0\.params"),
        (broken(Training((Block((Norm(), Again())),))), "block in which a layer comes again"),
        (broken(Training(saved=Side(steps=1, backward=True)), "grad.0.weight"), r"compares grad\.0\.weight"),
        (broken(Training(saved=Side(whole="compiled", evaluated=True))), "evaluation of what is wrapped"),
        (broken(Training(loaded=Side(whole="compiled", strict=False, submodules=(0,)))), "submodules of what is wrap"),
        (broken(Training((Norm(), Again()), loaded=Side(each="compiled"))), "wrapped and come again"),
        (broken(Training(loaded=Side(calls="model first", full=True, meta=True))), "after it was on the meta device"),
        (broken(Training((Mlp(), Norm()), optimizer=APART), "optim.state.1.bias.step"), "several optimizers"),
        (broken(Training(api="async"), "model.0.weight"), r"saved by async_save\(\)"),
        (broken(Training(loaded=Side(offload=True)), "model.0.weight"), "loaded into copies"),
        (broken(Training((Norm(), Embedding(tied=True), Embedding()))), "only some share their weight"),
        (broken(Training((Norm(), Counter(), Counter(extra=True)))), "only some have an extra state"),
    ],
)
def test_training_that_no_script_shows_is_refused_in_one_line(breach: TrainingBreach, says: str) -> None:
    with pytest.raises(CannotWrite, match=f"^there is no script .*{says}.* yet$"):
        write_training_script(breach)


def test_ignored_parameters_hide_nothing(world: SimulatedWorld) -> None:
    """What stays as it was is no part of what must be as it was saved, and no script tells them apart yet."""
    breach = breach_of(TRAINING_ISSUES["frozen-by-another-name"].training, world)
    assert "wrong = [name for name in before | after if before.get(name) != after.get(name)]" in (
        write_training_script(breach)
    )
    with pytest.raises(
        CannotWrite, match=r"^there is no script that compares parameters beside those that are ignored"
    ):
        write_training_script(replace(breach, name="model.0.weight"))


_STATE = "state[fqn] = cast(DictValueType, optim_state_dict[_STATE])[fqn]"
_CHECKPOINT = "torch.distributed.checkpoint"
BUGS = {
    "the step counter not loaded": (
        Plant(
            f"{_CHECKPOINT}.state_dict",
            "_split_optim_state_dict",
            _STATE,
            f'{_STATE}\n                        state[fqn] = {{**state[fqn], "step": state[fqn]["step"] * 0}}',
        ),
        Training(optimizer=Optimizer("Adam")),
        WrongBits,
        "optim.state.0.bias.step: saved tensor(1.0), loaded tensor(0.0)",
    ),
    "a hyperparameter not restored": (
        Plant(
            f"{_CHECKPOINT}.state_dict",
            "_split_optim_state_dict",
            "pg_state[pg_idx][key] = value",
            'pg_state[pg_idx][key] = optim.param_groups[pg_idx][key] if key == "weight_decay" else value',
        ),
        Training(optimizer=Optimizer("Adam", decay=True)),
        WrongObject,
        "optim.param_groups.0.weight_decay: saved 0.5, loaded 0.25",
    ),
    "the shard of another rank loaded": (
        Plant(
            f"{_CHECKPOINT}.planner_helpers",
            "_create_chunk_from_dtensor",
            "sizes, offsets = torch.Size(sizes), torch.Size(offsets)",
            "sizes, offsets = torch.Size(sizes), torch.Size([0 for _ in offsets])",
        ),
        Training((Mlp(2), Counter()), saved=Side(ONE, 1), loaded=Side(TWO)),
        WrongBits,
        "[rank 0] model.0.0.weight: saved tensor([[",
    ),
    "what another stage alone has not saved": (
        Plant(
            f"{_CHECKPOINT}.default_planner",
            "create_default_local_save_plan",
            "            requests += _create_write_items(fqn, obj)\n\n",
            "            if isinstance(obj, torch.Tensor) or is_coordinator:\n"
            "                requests += _create_write_items(fqn, obj)\n\n",
        ),
        Training((Norm(), Norm()), saved=Side(Parallelism(stages=2), 1), loaded=Side(), flatten=True),
        UnexpectedFailure,
        "Missing key in checkpoint state_dict: optim.param_groups.1.weight.lr.",
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", BUGS)
def test_script_shows_a_planted_bug(name: str, world: SimulatedWorld, tmp_path: Path) -> None:
    """It ends with 1 and says what broke; with 0, on the same machine, without the bug."""
    plant, training, kind, says = BUGS[name]
    with planted(importlib.import_module(plant.owner), plant.function, plant.old, plant.new):
        breach = breach_of(training, world)
    assert breach.kind is kind
    script = write_training_script(breach)
    check_text(script)
    for directory, plants in (("with", [plant]), ("without", [])):
        (tmp_path / directory).mkdir()
        run = run_script(script, tmp_path / directory, plants=plants)
        assert run.status == len(plants), run.output
        assert (says in run.output) == bool(plants), run.output
