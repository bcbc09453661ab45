"""The ledger of what goes wrong in released torch with the state dicts of a training."""

from __future__ import annotations

from properties.ledger import first_match
from worlds.training import Counter, Embedding, Mlp, Norm, Optimizer, Parallelism, Scale, Side, Training

from . import symptoms
from .breach import TrainingBreach
from .issue import TrainingIssue
from .known_flat import FLAT_ISSUES
from .known_modules import MODULE_ISSUES

__all__ = ["TRAINING_ISSUES", "find_training_issue"]


def find_training_issue(breach: TrainingBreach) -> TrainingIssue | None:
    """The entry for the breach, if it is known for the installed torch."""
    return first_match(TRAINING_ISSUES.values(), lambda issue: issue.matches(breach))


_ISSUES: tuple[TrainingIssue, ...] = (
    TrainingIssue(
        id="save-takes-a-step",
        title="get_state_dict() of an optimizer that has taken no step takes one, with gradients of zero",
        loses="to save before the first step changes the training: Adam's first step counts as its second, "
        "and weight decay is in the moments",
        training=Training(optimizer=Optimizer("Adam"), saved=Side()),
        matches=symptoms.took_a_step,
    ),
    TrainingIssue(
        id="empty-group-first",
        title="set_state_dict() drops the hyperparameters of a group without parameters, unless it is the last",
        upstream="pytorch/pytorch#143828",
        loses="the first step after a resume raises KeyError",
        training=Training(optimizer=Optimizer("SGD", variant=True, groups="matrices first")),
        matches=symptoms.empty_group_lost,
    ),
    TrainingIssue(
        id="flat-empty-group",
        title="with flatten_optimizer_state_dict, a group without parameters cannot be loaded",
        loses="a checkpoint that was reported as saved cannot be loaded into the training that it was made of",
        training=Training(optimizer=Optimizer("SGD", groups="matrices first"), flatten=True),
        matches=symptoms.flat_empty_group,
    ),
    TrainingIssue(
        id="flat-and-full",
        title="set_state_dict() raises KeyError with flatten_optimizer_state_dict and full_state_dict together",
        loses="what get_state_dict() makes of an optimizer with two options cannot be given back with the same two",
        training=Training(optimizer=Optimizer("SGD", variant=True), loaded=Side(full=True), flatten=True),
        matches=symptoms.flat_and_full,
    ),
    TrainingIssue(
        id="full-without-state",
        title="with full_state_dict, an optimizer that keeps no state of one dim or more cannot be loaded",
        loses="a training with plain SGD cannot be resumed by that option",
        training=Training(loaded=Side(full=True)),
        matches=symptoms.full_without_state,
    ),
    TrainingIssue(
        id="betas-become-list",
        title="with full_state_dict, tuples in the hyperparameters come back as lists",
        loses="whoever compares or hashes Adam's betas after a resume finds them changed",
        training=Training(optimizer=Optimizer("Adam"), loaded=Side(full=True)),
        matches=symptoms.tuple_as_list,
    ),
    TrainingIssue(
        id="no-step-without-closure",
        title="get_optimizer_state_dict() of a new LBFGS raises TypeError: it is to take a step, and gets no closure",
        loses="a checkpoint of a training with LBFGS, reported as saved, cannot be loaded into a new one",
        training=Training((Scale(),), optimizer=Optimizer("LBFGS")),
        matches=symptoms.closure_not_given,
    ),
    TrainingIssue(
        id="state-never-made",
        title="where a parameter has had no gradient yet, its state is not saved, and is wanted at load",
        upstream="pytorch/pytorch#192202",
        loses="a checkpoint that was reported as saved cannot be loaded into the training that it was made of",
        training=Training((Norm(), Scale("unused")), optimizer=Optimizer("Adam")),
        matches=symptoms.state_never_made,
    ),
    TrainingIssue(
        id="state-not-asked-for",
        title="where a parameter has had no gradient yet, state of it that was saved is not loaded into it",
        upstream="pytorch/pytorch#192202",
        loses="a running training that goes back to a checkpoint is told that it lacks what it has, or loses it",
        training=Training((Norm(), Scale("unused")), optimizer=Optimizer("Adam"), saved=Side(), loaded=Side(steps=1)),
        matches=symptoms.state_not_asked_for,
    ),
    TrainingIssue(
        id="frozen-state-dropped",
        title="set_state_dict() drops the optimizer state of frozen parameters",
        upstream="pytorch/pytorch#192202",
        loses="a parameter that is frozen for a while goes on without its moments, in silence",
        training=Training((Norm(), Scale("frozen")), optimizer=Optimizer("Adagrad")),
        matches=symptoms.frozen_state_dropped,
    ),
    TrainingIssue(
        id="hidden-by-evaluation",
        title="get_optimizer_state_dict() raises KeyError after a forward pass with fully_shard and no backward pass",
        loses="a checkpoint right after an evaluation fails, unless the model's state is asked for first",
        training=Training(saved=Side(Parallelism(data=1), 1, evaluated=True, calls="optimizer first")),
        matches=symptoms.hidden_by_evaluation,
    ),
    TrainingIssue(
        id="rank-0-broadcasts-alone",
        title="set_state_dict() with broadcast_from_rank0 takes an empty state dict for there being no model to load",
        loses="rank 0 hangs until its watchdog fires, in the way to load that is documented",
        training=Training(
            optimizer=Optimizer("Adam"),
            loaded=Side(Parallelism(2), full=True, offload=True, broadcast=True),
        ),
        matches=symptoms.rank_0_broadcasts_alone,
    ),
    TrainingIssue(
        id="strided-shards-uneven",
        title="with full_state_dict, FSDP on top of tensor parallelism cannot be loaded where rows divide unevenly",
        loses="a training with such a parameter cannot be resumed by that option, and AssertionError says no more",
        training=Training(
            (Mlp(2),), optimizer=Optimizer("Adam"), loaded=Side(Parallelism(data=2, tensor=2), full=True)
        ),
        matches=symptoms.strided_shards_uneven,
    ),
    TrainingIssue(
        id="rows-cut-twice",
        title="FSDP on top of tensor parallelism, rows that divide unevenly: DTensors say other rows than they hold",
        loses="such a training cannot be saved (13 rows over 3 × 2), or its checkpoint cannot be loaded elsewhere (7)",
        training=Training((Mlp(7),), saved=Side(Parallelism(data=3, tensor=2), 1)),
        matches=symptoms.cut_otherwise,
    ),
    TrainingIssue(
        id="strict-wants-state",
        title="a strict load refuses a parameter of which there is no optimizer state, though none was ever made",
        loses="a training in which a parameter has had no gradient needs strict=False to be resumed",
        documented=True,
        training=Training((Norm(), Scale("unused")), optimizer=Optimizer("Adam"), loaded=Side(steps=1)),
        matches=symptoms.strictly_refused,
    ),
    TrainingIssue(
        id="frozen-by-another-name",
        title="ignore_frozen_params leaves out one name of a frozen parameter, and saves and loads it by the other",
        loses="a frozen parameter that two modules share is overwritten by what was to be ignored",
        training=Training((Norm(), Embedding(tied=True, use="frozen")), loaded=Side(strict=False), ignore_frozen=True),
        matches=symptoms.frozen_by_another_name,
    ),
    TrainingIssue(
        id="frozen-beside-submodules",
        title="with ignore_frozen_params, submodules raise KeyError where a frozen parameter is not among the names",
        loses="of a model that is frozen in part, the state of the other part cannot be asked for by two options",
        training=Training(
            (Norm(), Scale("frozen")),
            saved=Side(steps=1, submodules=(0,)),
            loaded=Side(strict=False, submodules=(0,)),
            ignore_frozen=True,
        ),
        matches=symptoms.frozen_beside_submodules,
    ),
    TrainingIssue(
        id="empty-part-refused",
        title="set_state_dict() without optimizers refuses what get_state_dict() gives of a part that is frozen and "
        "ignored",
        loses="a part of a model of which all is frozen cannot be given back what it gave: an error of optimizers",
        training=Training(
            (Norm("frozen"), Norm()), optimizer=None, loaded=Side(strict=False, submodules=(0,)), ignore_frozen=True
        ),
        matches=symptoms.empty_part_refused,
    ),
    TrainingIssue(
        id="marker-for-extra-state",
        title="with full_state_dict, what a load has not of extra states is set to a marker of DCP's own",
        loses="a module whose extra state is not among what is loaded, as that of a part is not, raises, or keeps that",
        training=Training(
            (Norm(), Counter(extra=True)),
            optimizer=Optimizer("SGD", variant=True),
            loaded=Side(full=True, strict=False, submodules=(0,)),
        ),
        matches=symptoms.marker_for_extra_state,
    ),
    TrainingIssue(
        id="flat-empty-state",
        title="with flatten_optimizer_state_dict, a load makes empty state for each parameter of plain SGD",
        upstream="pytorch/pytorch#192225",
        loses="the optimizer passes for one that has taken steps, and saves other keys than before",
        training=Training(flatten=True),
        matches=symptoms.empty_state_made,
    ),
    TrainingIssue(
        id="state-in-another-dtype",
        title="a load makes numbers that an optimizer keeps in float32 beside bfloat16 parameters bfloat16",
        upstream="pytorch/pytorch#75224",  # of torch.optim's load_state_dict(), which set_state_dict() calls
        loses="a training in bfloat16 goes on after a resume with other step sizes of NAdam or ASGD, in silence",
        training=Training(optimizer=Optimizer("NAdam"), dtype="bfloat16"),
        matches=symptoms.state_in_another_dtype,
    ),
)

TRAINING_ISSUES: dict[str, TrainingIssue] = {issue.id: issue for issue in (*_ISSUES, *MODULE_ISSUES, *FLAT_ISSUES)}
"""The entries by their id."""
