"""Trainings that FSDP's first version shards, of which a rank holds views of one flat parameter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.training import TRAINING_ISSUES, find_training_issue, judge_training
from properties.training.whole import put_together
from worlds import InvalidScenario, ProcessWorld, SimulatedWorld
from worlds.training import (
    FLAT,
    Again,
    Block,
    Counter,
    Embedding,
    Held,
    Loaded,
    Mlp,
    Norm,
    Optimizer,
    Parallelism,
    Saved,
    Side,
    Training,
    TrainingOutcome,
    run_training,
)

TWO = Parallelism(data=2, flat=True)
EACH = Parallelism(data=3, wrapped=True, flat=True)
COPIES = Parallelism(2, data=2, flat=True)
OTHERS = (Parallelism(), Parallelism(data=3, wrapped=True), Parallelism(tensor=2), Parallelism(2, data=2))
EVERYTHING = Training(
    (
        Mlp(5, bias=True),
        Norm("frozen"),
        Block((Norm(), Embedding(4, tied=True))),
        Counter(),
        Counter(extra=True),
        Again(2),
    ),
    width=3,
    optimizer=Optimizer("Adam", variant=True, decay=True, groups="matrices first", tensor_lr=True, scheduled=True),
    own=True,
)


def held_at_save(outcome: TrainingOutcome) -> list[Held]:
    return [rank.before for rank in outcome.saved if isinstance(rank, Saved)]


@pytest.mark.parametrize("parallelism", [TWO, EACH, COPIES], ids=repr)
@pytest.mark.parametrize("other", [TWO, EACH, COPIES, *OTHERS], ids=repr)
def test_everything_comes_back_from_any_sharding_to_any(
    parallelism: Parallelism, other: Parallelism, world: SimulatedWorld
) -> None:
    for saved, loaded in ((parallelism, other), (other, parallelism)):
        training = replace(EVERYTHING, saved=Side(saved, 2), loaded=Side(loaded))
        assert list(judge_training(training, run_training(world, training))) == []


@pytest.mark.parametrize("kind", ["SGD", "Adagrad", "NAdam", "RMSprop", "ASGD"])
def test_other_optimizers_come_back(kind: str, world: SimulatedWorld) -> None:
    asked = Optimizer(kind, variant=True)  # type: ignore[arg-type]
    training = Training((Mlp(3, bias=True),), 3, asked, saved=Side(TWO, 1), loaded=Side(EACH))
    assert list(judge_training(training, run_training(world, training))) == []


@pytest.mark.parametrize(
    "side",
    [
        Side(TWO, 1, full=True),
        Side(TWO, 1, offload=True),
        Side(TWO, 1, evaluated=True),
        Side(TWO, 1, backward=True),
        Side(EACH, 1, calls="optimizer first"),
    ],
    ids=repr,
)
def test_options_bring_the_same_back(side: Side, world: SimulatedWorld) -> None:
    for training in (
        replace(EVERYTHING, layers=(Mlp(5, bias=True), Norm()), saved=side),
        replace(EVERYTHING, layers=(Mlp(5, bias=True), Norm()), loaded=side, api="async"),
    ):
        assert list(judge_training(training, run_training(world, training))) == []


@pytest.mark.parametrize("saved", [TWO, EACH, COPIES, *OTHERS], ids=repr)
def test_state_of_optimizer_is_loaded_as_it_is_found(saved: Parallelism, world: SimulatedWorld) -> None:
    layers = (Mlp(5, bias=True), Norm(), Embedding(4, tied=True))
    for steps in (0, 1):
        training = replace(EVERYTHING, layers=layers, saved=Side(saved, 2), loaded=Side(TWO, steps, unasked=True))
        assert list(judge_training(training, run_training(world, training))) == []


def test_ranks_hold_together_what_one_holds_alone(world: SimulatedWorld) -> None:
    alone = put_together(held_at_save(run_training(world, EVERYTHING)))
    for parallelism in (TWO, EACH, COPIES):
        held = held_at_save(run_training(world, replace(EVERYTHING, saved=Side(parallelism, 1))))
        together = put_together(held)
        assert together.values == alone.values
        assert {name: (tensor.dtype, tensor.shape) for name, tensor in together.tensors.items()} == {
            name: (tensor.dtype, tensor.shape) for name, tensor in alone.tensors.items()
        }
        before, whole = (
            put_together(held_at_save(run_training(world, replace(EVERYTHING, saved=Side(side)))))
            for side in (parallelism, Parallelism())
        )
        assert before == whole, "before the first step, the bits are the same too"


def test_rank_without_an_element_has_no_state_of_the_parameter(world: SimulatedWorld) -> None:
    training = Training((Norm(),), 2, Optimizer("Adam"), loaded=Side(TWO))
    outcome = run_training(world, training)
    assert list(judge_training(training, outcome)) == []
    for rank, (here, elsewhere) in enumerate((("weight", "bias"), ("bias", "weight"))):
        seen = outcome.loaded[rank]
        assert isinstance(seen, Loaded)
        tensors = dict(seen.after.tensors)
        assert tensors[f"model.0.{here}"].layout == tensors[f"model.0.{elsewhere}"].layout == FLAT
        assert len(tensors[f"model.0.{here}"].chunks) == 2
        assert not tensors[f"model.0.{elsewhere}"].chunks
        assert f"optim.state.0.{here}.exp_avg" in tensors
        assert f"optim.state.0.{elsewhere}.exp_avg" not in tensors


def test_real_ranks_hold_the_same(world: SimulatedWorld, processes: ProcessWorld) -> None:
    training = replace(EVERYTHING, saved=Side(TWO, 1), loaded=Side(replace(EACH, data=2)))
    simulated, real = run_training(world, training), run_training(processes, training)
    assert list(judge_training(training, real)) == []
    for ours, theirs in zip(held_at_save(simulated), held_at_save(real), strict=True):
        assert [(name, len(tensor.chunks)) for name, tensor in ours.tensors] == [
            (name, len(tensor.chunks)) for name, tensor in theirs.tensors
        ]


def test_save_takes_a_step_where_a_rank_has_no_element_at_all(world: SimulatedWorld) -> None:
    training = Training(optimizer=Optimizer("Adam"), saved=Side(Parallelism(data=4, flat=True), 1))
    found = list(judge_training(training, run_training(world, training)))
    assert {find_training_issue(breach) for breach in found} == {TRAINING_ISSUES["save-takes-a-step"]}
    assert {breach.rank for breach in found} == {1, 3}


@pytest.mark.parametrize(
    ("training", "id"),
    [
        (
            Training(optimizer=Optimizer("Adam"), saved=Side(Parallelism(data=3, flat=True), backward=True)),
            "save-takes-a-step",
        ),
        (
            Training((Norm(), Norm("unused")), optimizer=Optimizer(variant=True), saved=Side(EACH, 1)),
            "save-takes-a-step",
        ),
        (
            Training((Norm(), Norm("unused")), optimizer=Optimizer(variant=True), loaded=Side(EACH, 1)),
            "save-takes-a-step",
        ),
        (Training((Mlp(3),), 2, Optimizer("Adam"), loaded=Side(TWO, 1), flatten=True), "flat-state-mixed-up"),
        (
            Training(
                width=3,
                optimizer=Optimizer("Adadelta", groups="matrices first"),
                saved=Side(TWO, 1, full=True, broadcast=True),
                loaded=Side(TWO),
            ),
            "flat-empty-groups-saved",
        ),
        (
            Training(
                (Embedding(tied=True), Norm()),
                optimizer=Optimizer(variant=True),
                saved=Side(TWO, 1, full=True, broadcast=True),
                loaded=Side(full=True),
            ),
            "flat-empty-groups-saved",
        ),
        (
            Training(
                (Embedding(2, tied=True),),
                optimizer=Optimizer(variant=True),
                saved=Side(TWO, 1, full=True, broadcast=True),
                loaded=Side(calls="model first", full=True, meta=True),
            ),
            "flat-empty-groups-saved",
        ),
        (
            Training(
                (Embedding(2, tied=True),),
                optimizer=Optimizer("ASGD"),
                saved=Side(TWO, 1, full=True, broadcast=True),
                loaded=Side(Parallelism(tensor=2), full=True),
            ),
            "flat-empty-groups-saved",
        ),
        (
            Training(
                (Norm(), Counter(extra=True)),
                optimizer=Optimizer(variant=True),
                saved=Side(TWO, 1, full=True, broadcast=True),
            ),
            "flat-empty-groups-saved",
        ),
        (
            Training(optimizer=Optimizer(groups="matrices first"), loaded=Side(TWO, unasked=True)),
            "flat-sharded-without-state",
        ),
    ],
    ids=repr,
)
def test_known_issues_of_flat_parameters_show_otherwise_too(training: Training, id: str, world: SimulatedWorld) -> None:
    found = list(judge_training(training, run_training(world, training)))
    assert {find_training_issue(breach) for breach in found} == {TRAINING_ISSUES[id]}


@pytest.mark.parametrize(
    "parallelism", [{"flat": True}, {"data": 1}, {"data": 2, "tensor": 2}, {"stages": 2, "data": 2}], ids=repr
)
def test_first_version_of_fsdp_is_by_itself(parallelism: dict[str, int]) -> None:
    with pytest.raises(InvalidScenario, match="by itself"):
        Parallelism(**{**parallelism, "flat": True})  # type: ignore[arg-type]


def test_extra_state_that_is_missing_without_groups_is_new(world: SimulatedWorld) -> None:
    """It is for the empty list of groups that a checkpoint passes for one of an older torch."""
    saved = Side(TWO, 1, full=True, broadcast=True)
    training = Training((Norm(), Counter(extra=True)), optimizer=Optimizer(variant=True), saved=saved)
    (breach,) = judge_training(training, run_training(world, training))
    assert find_training_issue(breach) is TRAINING_ISSUES["flat-empty-groups-saved"]
    assert find_training_issue(replace(breach, training=replace(training, optimizer=None))) is None
