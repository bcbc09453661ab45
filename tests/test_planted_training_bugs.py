"""A bug planted in how DCP treats trainings is found within the ci profile, named, and shrunk to next to nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch.distributed import _state_dict_utils
from torch.distributed.checkpoint import planner_helpers, state_dict

from properties.training import check_training, find_training_issue, judge_training
from properties.violations import NotLoaded, UnexpectedFailure, Violation, WrongBits, WrongKeys, WrongObject
from strategies import trainings
from tests.planted_line import PlantedLine
from tests.shrinking import ci_examples, shrunk
from worlds import SimulatedWorld
from worlds.concise import pretty
from worlds.training import run_training

pytestmark = pytest.mark.thorough

CI_EXAMPLES = ci_examples(8)


@dataclass(frozen=True)
class Bug(PlantedLine):
    """A line of torch, what to put in its place, the law that must break, and how small the training must become."""

    kinds: tuple[type[Violation], ...]
    ranks: int = 1
    layers: int = 1


_STATE = "state[fqn] = cast(DictValueType, optim_state_dict[_STATE])[fqn]"

BUGS = (
    Bug(
        "the optimizer state of a parameter dropped",
        state_dict,
        "_split_optim_state_dict",
        "if param.requires_grad:",
        'if param.requires_grad and not fqn.endswith("bias"):',
        (WrongKeys,),
    ),
    Bug(
        "optimizer state under the name of another parameter",
        state_dict,
        "_get_optim_state_dict",
        "param_pid_mapping = dict(zip(params, range(len(params))))",
        "param_pid_mapping = dict(zip(params, reversed(range(len(params)))))",
        (WrongBits, WrongKeys, UnexpectedFailure),
    ),
    Bug(
        "a hyperparameter not restored",
        state_dict,
        "_split_optim_state_dict",
        "pg_state[pg_idx][key] = value",
        'pg_state[pg_idx][key] = optim.param_groups[pg_idx][key] if key == "weight_decay" else value',
        (WrongObject,),
    ),
    Bug(
        "the step counter not loaded",
        state_dict,
        "_split_optim_state_dict",
        _STATE,
        _STATE
        + '\n                        state[fqn] = {k: v * 0 if k == "step" else v for k, v in state[fqn].items()}',
        (WrongBits,),
    ),
    Bug(
        "the shard of another rank loaded",
        planner_helpers,
        "_create_chunk_from_dtensor",
        "sizes, offsets = torch.Size(sizes), torch.Size(offsets)",
        "sizes, offsets = torch.Size(sizes), torch.Size([0 for _ in offsets])",
        (WrongBits,),
        ranks=2,
    ),
    Bug(
        "what rank 0 broadcasts not taken over",
        _state_dict_utils,
        "_distribute_tensors",
        "ret.to_local().copy_(full_tensor[tuple(slices)])",
        "pass",
        (NotLoaded, WrongBits),
        ranks=2,
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_planted_bug_is_found_named_and_shrunk(bug: Bug, world: SimulatedWorld) -> None:
    with bug.planted():
        violation, training = shrunk(
            trainings(), lambda case: check_training(case, world), Violation, max_examples=CI_EXAMPLES
        )
        assert isinstance(violation, bug.kinds), violation
    known = list(judge_training(training, run_training(world, training)))
    assert all(map(find_training_issue, known)), "without the bug nothing new may be wrong"
    text = str(violation)
    assert f"training = {pretty(training)}\n" in text
    sizes = (training.saved.parallelism.world_size, training.loaded.parallelism.world_size)
    assert max(sizes) <= bug.ranks, text
    assert len(training.layers) <= bug.layers, text
