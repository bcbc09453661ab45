"""Trainings: as drawn, as run by the ranks of a world, as judged, and what is known of them."""

from __future__ import annotations

from collections import Counter as Count
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings

from campaign.planted.bug import plant
from campaign.planted.catalogue import CATALOGUE
from properties.ledger import torch_release
from properties.training import TRAINING_ISSUES, TrainingIssue, find_training_issue, judge_training
from properties.training.whole import put_together
from properties.violations import (
    ChangedInput,
    Deadlock,
    NotLoaded,
    UnexpectedFailure,
    Violation,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)
from strategies import training_layers, trainings
from strategies.training_features import TRAINING_FEATURES, training_features
from worlds import InvalidScenario, ProcessWorld, SimulatedWorld
from worlds.concise import pretty
from worlds.outcome import ChunkState, Deadlocked, ErrorRecord, Raised, Waiting
from worlds.training import (
    Again,
    Block,
    Counter,
    Embedding,
    Failed,
    Held,
    HeldTensor,
    Loaded,
    Mlp,
    Norm,
    Optimizer,
    Parallelism,
    Renamed,
    Saved,
    Scale,
    Side,
    Training,
    TrainingOutcome,
    run_training,
)
from worlds.training.optimizer import Kind, can_step

EVERYTHING = Training(
    (Mlp(3, bias=True), Norm("frozen"), Block((Embedding(5, tied=True), Scale())), Counter(extra=True)),
    width=3,
    optimizer=Optimizer("Adam", variant=True, decay=True, groups="matrices first", tensor_lr=True, scheduled=True),
)
PARALLELISMS = (
    Parallelism(),
    Parallelism(2),
    Parallelism(data=2),
    Parallelism(tensor=2),
    Parallelism(data=2, tensor=2, wrapped=True),
    Parallelism(2, data=2),
    Parallelism(2, tensor=2),
)
FLAT = Parallelism(data=2, flat=True)
MUON = Optimizer("Muon", groups="matrices last", apart=True)
WAYS = ("up", "down")
"""The two matrices of an :class:`Mlp`."""


def breaches(training: Training, outcome: TrainingOutcome) -> list[tuple[type[Violation], str]]:
    return [(breach.kind, breach.name) for breach in judge_training(training, outcome)]


def test_shrinks_to_a_step_of_plain_sgd_on_one_rank() -> None:
    quiet = settings(database=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
    assert find(trainings(), lambda _: True, settings=quiet) == Training()
    assert find(training_layers(), lambda layers: len(layers) > 1, settings=quiet) == (Norm(), Norm())
    two_ranks = find(trainings(), lambda training: training.loaded.parallelism.tensor > 1, settings=quiet)
    assert two_ranks == Training(loaded=Side(Parallelism(tensor=2)))


@pytest.mark.thorough
def test_corners_are_drawn() -> None:
    drawn: list[Training] = []

    @seed(0)
    @settings(max_examples=400, database=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
    @given(training=trainings())
    def collect(training: Training) -> None:
        drawn.append(training)

    collect()
    found = Count(feature for training in drawn for feature in training_features(training))
    listed = {(group, name) for group, names in TRAINING_FEATURES.items() for name in names}
    assert set(found) == listed
    assert min(found.values()) > 1, found
    assert all(eval(repr(training)) == training for training in drawn)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"layers": (Norm("frozen"), Counter())}, "a layer that is trained"),
        ({"loaded": Side(Parallelism(2), full=True, offload=True)}, "only rank 0"),
        ({"layers": (Norm(), Scale("frozen")), "ignore_frozen": True}, "missing at a strict load"),
        ({"saved": Side(submodules=(0,))}, "not asked for at save is missing"),
        ({"saved": Side(submodules=(0,)), "loaded": Side(submodules=(1,), strict=False)}, "there are 1 layers"),
        ({"loaded": Side(submodules=(0,))}, "a strict load takes all of the model"),
        ({"loaded": Side(submodules=(0,), strict=False), "keep_prefixes": False}, "names of two submodules"),
        ({"layers": (Embedding(2),), "loaded": Side(Parallelism(tensor=3))}, "torch cannot train"),
        ({"layers": (Norm(), Again(1))}, "no layer for"),
        ({"layers": (Norm(), Again(), Again(1))}, "no layer for"),
        ({"loaded": Side(backward=True)}, "between backward"),
        ({"saved": Side(full=True, calls="model first", meta=True)}, "cannot be saved"),
        ({"optimizer": Optimizer(groups="matrices first", apart=True)}, "without parameters"),
        ({"layers": (Norm(), Scale()), "saved": Side(FLAT)}, "torch cannot train"),
        ({"saved": Side(FLAT, unasked=True)}, "cannot be saved"),
        ({"loaded": Side(FLAT, unasked=True), "flatten": True}, "a nested optimizer state"),
        ({"loaded": Side(FLAT, unasked=True), "optimizer": None}, "a nested optimizer state"),
        ({"layers": (Renamed(),), "loaded": Side(FLAT)}, "torch cannot train"),
        (
            {
                "layers": (Norm(), Mlp()),
                "optimizer": Optimizer(groups="matrices first", apart=True),
                "loaded": Side(FLAT),
            },
            "has all of a flat parameter",
        ),
        ({"saved": Side(Parallelism(stages=2)), "flatten": True}, "each stage needs a layer that is trained"),
        ({"layers": (Norm(), Norm()), "loaded": Side(Parallelism(stages=2))}, "need flatten_optimizer_state_dict"),
        (
            {"layers": (Norm(), Norm()), "saved": Side(Parallelism(stages=2)), "own": True, "optimizer": None},
            "of no stage",
        ),
        (
            {"layers": (Norm(), Norm(), Again()), "saved": Side(Parallelism(stages=2)), "optimizer": None},
            "comes again is of one stage",
        ),
        (
            {
                "layers": (Norm(), Norm()),
                "saved": Side(Parallelism(stages=2)),
                "optimizer": Optimizer(groups="matrices first"),
                "flatten": True,
            },
            "one group of parameters",
        ),
        ({"optimizer": Optimizer("Rprop"), "loaded": Side(Parallelism(data=1))}, "Rprop takes no step"),
        ({"optimizer": Optimizer("Adafactor"), "saved": Side(FLAT)}, "Adafactor takes no step"),
        ({"optimizer": Optimizer("LBFGS"), "saved": Side(Parallelism(tensor=2))}, "LBFGS takes no step"),
        ({"layers": (Norm(), Mlp(3)), "optimizer": MUON, "saved": Side(Parallelism(data=2))}, "Muon takes no step"),
        ({"optimizer": Optimizer("LBFGS"), "flatten": True}, "LBFGS keeps lists"),
        ({"optimizer": Optimizer("LBFGS"), "loaded": Side(steps=1)}, "longer lists with each step"),
    ],
)
def test_what_no_training_can_be_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidScenario, match=why):
        Training(**fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "Muon"}, "needs another optimizer beside it"),
        ({"kind": "Rprop", "decay": True}, "Rprop has no weight decay"),
        ({"kind": "LBFGS", "decay": True}, "LBFGS has no weight decay"),
        ({"kind": "LBFGS", "groups": "matrices first"}, "one group"),
        ({"kind": "SGD", "apart": True}, "two groups"),
    ],
)
def test_what_no_optimizer_can_be_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidScenario, match=why):
        Optimizer(**fields)


@pytest.mark.parametrize("parallelism", [Parallelism(), Parallelism(data=2), Parallelism(tensor=2), FLAT], ids=repr)
@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_optimizer_of_torch_comes_back(kind: Kind, parallelism: Parallelism, world: SimulatedWorld) -> None:
    """Each that torch lets take a step so, into ranks that have all of the same; whichever it is has state."""
    layers, width = (Norm(), Mlp(4, bias=True)), 4
    asked = MUON if kind == "Muon" else Optimizer(kind, variant=kind == "SGD")
    if not can_step(asked, layers, width, parallelism) or (asked.apart and parallelism.flat):
        with pytest.raises(InvalidScenario):
            Training(layers, width, asked, Side(parallelism, 1))
        return
    training = Training(layers, width, asked, Side(parallelism, 2), Side(Parallelism(2)))
    outcome = run_training(world, training)
    known = {find_training_issue(breach) for breach in judge_training(training, outcome)}
    assert known <= {TRAINING_ISSUES["no-step-without-closure"]}
    assert (kind == "LBFGS") == bool(known)
    (rank, *_) = outcome.saved
    assert isinstance(rank, Saved)
    assert any(name.startswith("optim.state.") for name, _ in rank.after.tensors)


def test_muon_has_matrices_and_another_optimizer_the_rest(world: SimulatedWorld) -> None:
    training = Training((Norm(), Mlp(2)), 2, MUON, Side(Parallelism(data=2), 1), Side(Parallelism(tensor=2)))
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    loaded = outcome.loaded[0]
    assert isinstance(loaded, Loaded)
    states = [name.removeprefix("optim.state.") for name, _ in loaded.after.tensors if name.startswith("optim.state.")]
    kept = {"exp_avg", "exp_avg_sq", "step"}
    assert {name for name in states if name.startswith("0.weight.")} == {f"0.weight.{state}" for state in kept}
    assert {name for name in states if name.startswith("1.")} == {f"1.{way}.weight.momentum_buffer" for way in WAYS}


def test_lists_that_lbfgs_keeps_are_held_element_by_element(world: SimulatedWorld) -> None:
    """Two iterations in a step have made one direction; of the history that there could be, the rest is ``None``."""
    training = Training((Mlp(2),), 2, Optimizer("LBFGS"))
    (saved,) = run_training(world, training).saved
    assert isinstance(saved, Saved)
    assert "optim.state.0.up.weight.old_dirs.0" in dict(saved.after.tensors)
    assert dict(saved.after.values)["optim.state.0.up.weight.al.2"] == "None"


@pytest.mark.parametrize("parallelism", PARALLELISMS, ids=repr)
def test_everything_is_held_and_comes_back(parallelism: Parallelism, world: SimulatedWorld) -> None:
    training = replace(EVERYTHING, saved=Side(parallelism, 2))
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    back = replace(EVERYTHING, loaded=Side(parallelism), api="async")
    assert breaches(back, run_training(world, back)) == []
    held = [rank.after for rank in outcome.saved if isinstance(rank, Saved)]
    names = {*put_together(held).tensors, *put_together(held).values}
    assert {"model.0.up.bias", "model.2.0.head.weight", "model.3.mean", "model.3.scratch"} < names
    assert {"model.3._extra_state", "optim.param_groups.1.betas", "optim.param_groups.1.initial_lr"} < names
    assert {f"optim.state.2.1.weight.{key}" for key in ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")} < names
    assert not any(name.startswith("optim.state.1.") for name in names), "a frozen parameter has no state"


def test_all_parallelisms_hold_the_same_shapes_and_cut_them(world: SimulatedWorld) -> None:
    shapes = []
    for parallelism in PARALLELISMS:
        training = replace(EVERYTHING, saved=Side(parallelism))
        held = [rank.before for rank in run_training(world, training).saved if isinstance(rank, Saved)]
        shapes.append({name: tensor.shape for name, tensor in put_together(held).tensors.items()})
        cut = any(tensor.layout != "Tensor" for _, tensor in held[0].tensors)
        assert cut == bool(parallelism.data or parallelism.tensor)
    assert all(shape == shapes[0] for shape in shapes)


STAGED = Training(
    (Mlp(3), Norm(), Block((Embedding(5), Scale())), Counter(extra=True)),
    width=3,
    optimizer=Optimizer("Adam", tensor_lr=True),
    flatten=True,
)
PIPELINES = (
    Parallelism(),
    Parallelism(stages=2),
    Parallelism(stages=3),
    Parallelism(2, stages=2),
    Parallelism(data=2, wrapped=True, stages=2),
    Parallelism(tensor=2, stages=3),
)


@pytest.mark.parametrize("parallelism", PIPELINES, ids=repr)
def test_stages_of_a_pipeline_come_back_in_others(parallelism: Parallelism, world: SimulatedWorld) -> None:
    for saved, loaded in zip((parallelism, *PIPELINES), (parallelism, *reversed(PIPELINES)), strict=True):
        training = replace(STAGED, saved=Side(saved, 1), loaded=Side(loaded))
        outcome = run_training(world, training)
        assert breaches(training, outcome) == []
        for side, ranks in ((training.saved, outcome.saved), (training.loaded, outcome.loaded)):
            for rank, seen in enumerate(ranks):
                assert isinstance(seen, Saved | Loaded)
                here = {int(name.split(".")[1]) for name, _ in seen.after.tensors if name.startswith("model.")}
                assert here == {*training.places_of(side, rank)}


def test_what_one_stage_alone_has_and_does_not_save_is_missed(world: SimulatedWorld) -> None:
    parallelism = Parallelism(stages=2)
    training = replace(STAGED, saved=Side(parallelism, 1), loaded=Side(parallelism))
    with plant(CATALOGUE["objects-of-coordinator-alone"]):
        (breach,) = judge_training(training, run_training(world, training))
    assert breach.kind is UnexpectedFailure
    assert "Missing key in checkpoint state_dict: model.3._extra_state.count" in breach.seen


def test_judge_knows_which_stage_has_what(world: SimulatedWorld) -> None:
    """What a rank has not, and its stage has, is missing, and so is what its optimizer had before."""
    training = replace(STAGED, saved=Side(Parallelism(stages=2), 1), loaded=Side(Parallelism(stages=3)))
    outcome = run_training(world, training)
    first, second, third = outcome.loaded
    assert isinstance(first, Loaded)
    assert isinstance(second, Loaded)
    swapped = replace(outcome, loaded=(first, replace(second, after=first.after), third))
    found = breaches(training, swapped)
    assert (WrongKeys, "model.1.weight") in found
    assert (WrongKeys, "optim.state.1.weight.exp_avg") in found
    assert (WrongObject, "optim.param_groups.0.params") in found


@pytest.mark.thorough
def test_two_runs_see_the_same(world: SimulatedWorld) -> None:
    saved, loaded = Side(Parallelism(data=2, tensor=2), 1), Side(Parallelism(data=3), full=True)
    training = replace(EVERYTHING, saved=saved, loaded=loaded)
    assert run_training(world, training) == run_training(world, training)
    with SimulatedWorld() as other:
        assert run_training(other, training) == run_training(world, training)


@pytest.mark.parametrize(
    "training",
    [
        replace(EVERYTHING, saved=Side(Parallelism(data=2), 1), loaded=Side(Parallelism(tensor=2))),
        replace(STAGED, saved=Side(Parallelism(data=2, stages=2), 1), loaded=Side(Parallelism(stages=3))),
    ],
    ids=["sharded", "staged"],
)
def test_real_ranks_hold_the_same(training: Training, world: SimulatedWorld, processes: ProcessWorld) -> None:
    simulated, real = run_training(world, training), run_training(processes, training)
    assert breaches(training, real) == []
    for ranks in zip(simulated.saved, real.saved, strict=True):
        first, second = (dict(rank.before.tensors) for rank in ranks if isinstance(rank, Saved))
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            assert _places(tensor) == _places(second[name])


def _places(tensor: HeldTensor) -> object:
    chunks = [(chunk.offsets, chunk.sizes) for chunk in tensor.chunks]
    return tensor.shape, tensor.layout, tensor.frozen, chunks


@pytest.mark.parametrize("issue", TRAINING_ISSUES.values(), ids=lambda issue: issue.id)
def test_minimal_training_shows_the_issue(issue: TrainingIssue, world: SimulatedWorld) -> None:
    _shows(issue, run_training(world, issue.training))


@pytest.mark.thorough
@pytest.mark.parametrize("issue", TRAINING_ISSUES.values(), ids=lambda issue: issue.id)
def test_real_ranks_show_the_issue_too(issue: TrainingIssue, processes: ProcessWorld) -> None:
    _shows(issue, run_training(processes, issue.training))


def _shows(issue: TrainingIssue, outcome: TrainingOutcome) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    found = list(judge_training(issue.training, outcome))
    known = [find_training_issue(breach) for breach in found]
    assert issue in known, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
    assert None not in known, found[known.index(None)].violation()
    first = found[known.index(issue)]
    assert f"training = {pretty(issue.training)}\n" in str(first.violation())
    for kind in (UnexpectedFailure, WrongBits, WrongTensor, ChangedInput):
        other = replace(first, kind=kind, name="elsewhere", outcome=TrainingOutcome(outcome.saved))
        if kind is not first.kind:
            assert find_training_issue(other) is None


@pytest.mark.parametrize(
    "training",
    [
        Training((Mlp(13),), saved=Side(Parallelism(data=3, tensor=2), 1)),
        Training((Mlp(7),), loaded=Side(Parallelism(data=3, tensor=2))),
        Training((Embedding(7),), loaded=Side(Parallelism(data=3, tensor=2))),
        Training(
            (Mlp(7),),
            optimizer=Optimizer(variant=True),
            loaded=Side(Parallelism(data=3, tensor=2), full=True, broadcast=True),
        ),
    ],
    ids=repr,
)
def test_rows_cut_twice_fail_in_several_ways(training: Training, world: SimulatedWorld) -> None:
    found = list(judge_training(training, run_training(world, training)))
    assert {find_training_issue(breach) for breach in found} == {TRAINING_ISSUES["rows-cut-twice"]}


def test_rows_that_only_look_uneven_come_back(world: SimulatedWorld) -> None:
    training = Training((Mlp(10), Embedding(5)), saved=Side(Parallelism(data=3, tensor=2), 1))
    assert breaches(training, run_training(world, training)) == []


TENSOR = HeldTensor("float32", (2,), "Tensor", (ChunkState((0,), (2,), b"aaaabbbb"),))
POISONED = HeldTensor("float32", (2,), "Tensor", (ChunkState((0,), (2,), b"zzzzzzzz"),))
HELD = Held((("model.a", TENSOR),), (("optim.param_groups.0.lr", "0.5"),))
TARGET = Held((("model.a", POISONED),), (("optim.param_groups.0.lr", "0.25"),))
FAILED = Failed("set", Raised(ErrorRecord("KeyError", "'a'")))
OTHER = replace(FAILED, call="load")
STUCK = Deadlocked(Waiting("AllGather", (0, 1), 3))


def _outcome(after: Held = HELD, *, before: Held = TARGET, saved: Held = HELD) -> TrainingOutcome:
    return TrainingOutcome((Saved(HELD, saved),), (Loaded(before, after),))


def _with(tensor: HeldTensor | None, value: str | None = "0.5") -> Held:
    tensors = () if tensor is None else (("model.a", tensor),)
    return Held(tensors, () if value is None else (("optim.param_groups.0.lr", value),))


def _chunked(*data: bytes) -> HeldTensor:
    chunks = tuple(ChunkState((index,), (1,), part) for index, part in enumerate(data))
    return replace(TENSOR, chunks=chunks)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (_outcome(), []),
        (_outcome(_with(_chunked(b"aaaa", b"bbbb"))), []),
        (_outcome(_with(POISONED)), [(NotLoaded, "model.a")]),
        (_outcome(_with(_chunked(b"aaaa", b"zzzz"))), [(NotLoaded, "model.a")]),
        (_outcome(_with(_chunked(b"bbbb", b"aaaa"))), [(WrongBits, "model.a")]),
        (_outcome(_with(None)), [(WrongKeys, "model.a")]),
        (_outcome(_with(TENSOR, None)), [(WrongKeys, "optim.param_groups.0.lr")]),
        (_outcome(_with(TENSOR, "0.25")), [(WrongObject, "optim.param_groups.0.lr")]),
        (_outcome(_with(replace(TENSOR, layout="DTensor"))), [(WrongTensor, "model.a")]),
        (_outcome(_with(replace(TENSOR, dtype="int32"))), [(WrongTensor, "model.a")]),
        (_outcome(_with(POISONED), saved=_with(POISONED)), [(ChangedInput, "model.a")]),
        (TrainingOutcome((Saved(HELD, HELD), FAILED)), [(UnexpectedFailure, "")]),
        (TrainingOutcome((Saved(HELD, HELD),), (STUCK, FAILED)), [(UnexpectedFailure, "")]),
        (TrainingOutcome((Saved(HELD, HELD),), (FAILED, FAILED)), [(UnexpectedFailure, "")]),
        (TrainingOutcome((Saved(HELD, HELD),), (OTHER, FAILED)), [(UnexpectedFailure, ""), (UnexpectedFailure, "")]),
        (TrainingOutcome((Saved(HELD, HELD),), (STUCK, Loaded(TARGET, HELD))), [(Deadlock, "")]),
    ],
)
def test_judge_names_what_broke(outcome: TrainingOutcome, expected: list[tuple[type[Violation], str]]) -> None:
    assert breaches(Training(), outcome) == expected
    assert all(find_training_issue(breach) is None for breach in judge_training(Training(), outcome))


def test_what_is_left_out_stays_as_it_was() -> None:
    scratch = Held((("model.a", replace(TENSOR, scratch=True)),), ())
    target = Held((("model.a", replace(POISONED, scratch=True)),), ())
    outcome = TrainingOutcome((Saved(scratch, scratch),), (Loaded(target, target),))
    assert breaches(Training(), outcome) == []
    assert breaches(Training(), replace(outcome, loaded=(Loaded(target, scratch),))) == [(WrongBits, "model.a")]


@pytest.mark.parametrize("kept", [True, False])
def test_layers_that_are_not_asked_for_stay_as_they_were(kept: bool, world: SimulatedWorld) -> None:
    """At save, at load, or both; and what a load does to one of them all the same is told."""
    layers = (Norm(), Mlp(2), Counter(extra=True))
    saved = Side(Parallelism(data=2), 1, submodules=() if kept else (1,))
    loaded = Side(Parallelism(tensor=2), strict=False, submodules=(1,))
    optimizer = Optimizer("SGD", variant=True)
    training = Training(layers, optimizer=optimizer, saved=saved, loaded=loaded, keep_prefixes=kept)
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    rank, other = outcome.loaded
    assert isinstance(rank, Loaded)
    before, after = dict(rank.before.tensors), dict(rank.after.tensors)
    changed = {name for name, tensor in after.items() if tensor != before[name] and name.startswith("model.")}
    assert changed == {"model.1.up.weight", "model.1.down.weight"}
    swapped = Held(tuple({**after, "model.0.weight": after["model.1.down.weight"]}.items()), rank.after.values)
    untold = Held(rank.after.tensors, tuple({**dict(rank.after.values), "model.2._extra_state": "1"}.items()))
    wrong = (replace(rank, after=swapped), other)
    assert breaches(training, replace(outcome, loaded=wrong)) == [(WrongBits, "model.0.weight")]
    wrong = (replace(rank, after=untold), other)
    assert breaches(training, replace(outcome, loaded=wrong)) == [(WrongObject, "model.2._extra_state")]


@pytest.mark.parametrize("parallelism", PARALLELISMS, ids=repr)
@pytest.mark.parametrize("optimizer", [None, Optimizer("Adam", groups="matrices last", apart=True)], ids=repr)
def test_two_optimizers_or_none_and_a_module_by_two_names(
    optimizer: Optimizer | None, parallelism: Parallelism, world: SimulatedWorld
) -> None:
    layers = (Mlp(3), Norm(), Again(), Block((Norm("frozen"), Again())), Counter())
    saved = Side(parallelism, 1, backward=True)
    training = Training(layers, optimizer=optimizer, saved=saved, loaded=Side(Parallelism(2)), own=True)
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    names = dict(put_together([rank.after for rank in outcome.saved if isinstance(rank, Saved)]).tensors)
    assert {"model.shift", "grad.shift", "model.2.up.weight", "model.3.1.bias"} < names.keys()
    assert ("optim.state.shift.exp_avg" in names) == (optimizer is not None)
    rank, *others = outcome.loaded
    assert isinstance(rank, Loaded)
    gone = replace(rank, after=Held(rank.after.tensors[1:], rank.after.values))
    assert breaches(training, replace(outcome, loaded=(gone, *others))) == [(WrongKeys, rank.after.tensors[0][0])]


@pytest.mark.parametrize("each", ["bare", "compiled", "checkpointed"])
@pytest.mark.parametrize("whole", ["bare", "DDP", "compiled", "compiled DDP", "DDP compiled"])
def test_what_is_wrapped_is_saved_and_loaded_by_its_own_names(whole: Any, each: Any, world: SimulatedWorld) -> None:
    layers, optimizer = (Mlp(2), Norm("frozen"), Counter(extra=True)), Optimizer("Adam")
    side = Side(Parallelism(2), 1, evaluated=True, whole=whole, each=each)
    bare = Side(Parallelism(data=2))
    training = Training(layers, optimizer=optimizer, saved=side, loaded=bare, own=True)
    assert breaches(training, run_training(world, training)) == []
    training = Training(layers, optimizer=optimizer, loaded=replace(side, steps=0), own=True)
    found = list(judge_training(training, run_training(world, training)))
    known = set() if whole == "bare" and each != "compiled" else {TRAINING_ISSUES["given-names-lost"]}
    assert {find_training_issue(breach) for breach in found} == known


@pytest.mark.parametrize("handing", [{}, {"broadcast": True}, {"broadcast": True, "offload": True}], ids=repr)
@pytest.mark.parametrize("parallelism", PARALLELISMS, ids=repr)
def test_module_on_the_meta_device_is_loaded(
    parallelism: Parallelism, handing: dict[str, Any], world: SimulatedWorld
) -> None:
    loaded = Side(parallelism, calls="model first", full=True, meta=True, **handing)
    layers = (Mlp(4, bias=True), Norm("frozen"), Block((Embedding(4, tied=True), Scale())), Counter(extra=True))
    training = Training(layers, 2, Optimizer("SGD", variant=True), loaded=loaded, own=True)
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    rank = outcome.loaded[-1]
    assert isinstance(rank, Loaded)
    before, after = dict(rank.before.tensors), dict(rank.after.tensors)
    assert before.keys() == after.keys()
    assert {name for name in after if before[name] == after[name]} == {"model.3.scratch"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"whole": "DDP compiled", "parallelism": Parallelism(data=2)}, "each rank has the whole"),
        ({"meta": True, "full": True, "calls": "model first", "steps": 1}, "can do nothing yet"),
        ({"meta": True, "calls": "model first"}, "copied into what is there"),
        ({"meta": True, "full": True}, "made after the model"),
        ({"whole": "compiled", "parallelism": FLAT}, "no other wrapper"),
        ({"each": "checkpointed", "parallelism": FLAT}, "no other wrapper"),
        ({"meta": True, "full": True, "calls": "model first", "parallelism": FLAT}, "memory by itself"),
        ({"full": True, "offload": True, "parallelism": FLAT}, "cannot offload"),
        ({"unasked": True}, "for shards of FSDP's first version"),
        ({"unasked": True, "full": True, "parallelism": FLAT}, "for shards of FSDP's first version"),
    ],
)
def test_what_no_side_can_be_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidScenario, match=why):
        Side(**fields)


def test_gradients_that_no_step_has_used_stay_as_they_are(world: SimulatedWorld) -> None:
    saved, loaded = Side(steps=1, backward=True), Side(Parallelism(data=2), steps=1, backward=True)
    training = Training(optimizer=Optimizer("Adam"), saved=saved, loaded=loaded)
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    first, second = outcome.loaded
    assert isinstance(first, Loaded)
    kept = tuple((name, tensor) for name, tensor in first.after.tensors if not name.startswith("grad."))
    lost = replace(first, after=Held(kept, first.after.values))
    assert breaches(training, replace(outcome, loaded=(lost, second))) == [
        (WrongBits, "grad.0.bias"),
        (WrongBits, "grad.0.weight"),
    ]


@pytest.mark.parametrize(
    ("training", "id"),
    [
        (
            Training(
                (Norm("frozen"), Again(), Norm()),
                optimizer=Optimizer(variant=True),
                loaded=Side(strict=False),
                ignore_frozen=True,
            ),
            "frozen-by-another-name",
        ),
        (
            Training(optimizer=None, loaded=Side(Parallelism(data=2), full=True, offload=True, broadcast=True)),
            "rank-0-broadcasts-alone",
        ),
        (
            Training(
                (Scale(), Norm()),
                optimizer=None,
                saved=Side(submodules=(0,)),
                loaded=Side(
                    Parallelism(2), full=True, offload=True, broadcast=True, strict=False, submodules=(0,), whole="DDP"
                ),
                keep_prefixes=False,
            ),
            "rank-0-broadcasts-alone",
        ),
        (
            Training(
                (Scale(),),
                optimizer=Optimizer(variant=True),
                loaded=Side(
                    Parallelism(data=2), full=True, offload=True, broadcast=True, strict=False, submodules=(0,)
                ),
                own=True,
            ),
            "rank-0-broadcasts-alone",
        ),
        (
            Training(
                (Norm(), Again(inside=True)),
                optimizer=None,
                loaded=Side(Parallelism(2), calls="model first", full=True, broadcast=True, each="compiled"),
            ),
            "shared-module-wrapped",
        ),
        (Training((Norm(), Again()), loaded=Side(whole="DDP compiled")), "shared-module-wrapped"),
        (
            Training(
                (Mlp(use="unused"), Norm()),
                optimizer=Optimizer("Adam", groups="matrices last", apart=True),
                loaded=Side(strict=False),
            ),
            "save-takes-a-step",
        ),
        (
            Training(
                (Norm(), Again()),
                optimizer=None,
                loaded=Side(Parallelism(data=2), calls="model first", full=True, offload=True, broadcast=True),
            ),
            "shared-module-full",
        ),
        (
            Training(
                (Norm(), Again()),
                optimizer=None,
                loaded=Side(Parallelism(data=2), calls="model first", full=True, meta=True),
            ),
            "shared-module-full",
        ),
        (
            Training(
                (Norm(), Block((Mlp(2), Again()))),
                optimizer=None,
                loaded=Side(Parallelism(tensor=2), full=True, broadcast=True),
            ),
            "shared-module-full",
        ),
        (
            Training(
                (Scale(), Again()),
                optimizer=None,
                loaded=Side(Parallelism(tensor=2), calls="model first", full=True, offload=True, broadcast=True),
            ),
            "shared-module-full",
        ),
        (
            Training(
                (Norm(), Again(inside=True)),
                optimizer=None,
                loaded=Side(Parallelism(data=2), full=True, each="checkpointed"),
            ),
            "shared-module-full",
        ),
        (
            Training(
                (Block((Mlp(2),)), Again(inside=True)),
                optimizer=None,
                loaded=Side(Parallelism(tensor=2), full=True, strict=False, submodules=(1,), each="compiled"),
            ),
            "shared-module-wrapped",
        ),
        (
            Training((Scale(),), optimizer=Optimizer("ASGD"), loaded=Side(calls="model first", full=True, meta=True)),
            "scalars-left-on-meta",
        ),
        (
            Training(
                (Scale(),),
                optimizer=Optimizer("Adam"),
                loaded=Side(calls="model first", full=True, offload=True, strict=False, meta=True),
            ),
            "scalars-left-on-meta",
        ),
        (
            Training(
                (Block((Norm("frozen"), Again(), Norm())), Scale()),
                optimizer=None,
                saved=Side(Parallelism(data=2)),
                loaded=Side(strict=False, submodules=(0,)),
                ignore_frozen=True,
                nested=True,
            ),
            "empty-part-refused",
        ),
        (
            Training(
                (Renamed(),),
                optimizer=Optimizer("Adam", tensor_lr=True),
                loaded=Side(calls="model first", full=True, strict=False, meta=True),
            ),
            "renamed-for-the-load-alone",
        ),
    ],
    ids=repr,
)
def test_issue_shows_in_another_way(training: Training, id: str, world: SimulatedWorld) -> None:
    found = list(judge_training(training, run_training(world, training)))
    assert {find_training_issue(breach) for breach in found} == {TRAINING_ISSUES[id]}


def test_rate_of_another_group_is_known_beside_names_that_are_not_found(world: SimulatedWorld) -> None:
    """Found by the law: a group without parameters gets the learning rate of the next one, in a tensor."""
    optimizer = Optimizer("Adam", groups="matrices first", tensor_lr=True)
    training = Training((Renamed(),), optimizer=optimizer, loaded=Side(strict=False))
    found = list(judge_training(training, run_training(world, training)))
    (rate,) = [breach for breach in found if breach.kind is WrongBits]
    assert rate.name == "optim.param_groups.0.lr"
    assert find_training_issue(rate) is TRAINING_ISSUES["empty-group-first"]
    named = replace(rate, training=replace(training, layers=(Norm(),)))
    assert find_training_issue(named) is None, "all parameters are found"


@pytest.mark.parametrize("inside", [True, False])
def test_rest_of_a_block_that_comes_again_is_not_asked_for(inside: bool, world: SimulatedWorld) -> None:
    layers = (Block((Norm(), Norm())), Again(inside=inside))
    side = Side(submodules=(0,), strict=False)
    training = Training(layers, optimizer=None, saved=side, loaded=side, nested=True)
    assert breaches(training, run_training(world, training)) == []


def test_module_of_its_own_is_asked_for_by_its_name() -> None:
    training = Training(
        (Norm(), Again(inside=True), Norm()), saved=Side(submodules=(0, 1)), loaded=Side(submodules=(1,), strict=False)
    )
    with pytest.raises(InvalidScenario, match="is missing at load"):
        replace(training, saved=replace(training.saved, submodules=(0,)))


@pytest.mark.parametrize("kept", [True, False])
def test_first_layer_of_a_block_alone_is_loaded(kept: bool, world: SimulatedWorld) -> None:
    layers = (Block((Norm(), Mlp(2), Again())), Norm())
    saved = Side(Parallelism(data=2), 1, submodules=(0,))
    loaded = Side(strict=False, submodules=(0,))
    optimizer = Optimizer(variant=True)
    training = Training(layers, 2, optimizer, saved, loaded, keep_prefixes=kept, nested=True)
    outcome = run_training(world, training)
    assert breaches(training, outcome) == []
    (rank,) = outcome.loaded
    assert isinstance(rank, Loaded)
    before = dict(rank.before.tensors)
    changed = {name for name, tensor in rank.after.tensors if tensor != before[name] and name.startswith("model.")}
    assert changed == {f"model.0.{place}.{name}" for place in (0, 2) for name in ("weight", "bias")}
    with pytest.raises(InvalidScenario, match="no block of which"):
        replace(training, layers=(Norm(), Norm()))


@pytest.mark.parametrize("offload", [False, True])
def test_options_of_a_load_change_nothing_at_save(offload: bool, world: SimulatedWorld) -> None:
    both = Side(Parallelism(data=2), 1, full=True, offload=offload, broadcast=True)
    optimizer = Optimizer(variant=True)
    training = Training((Norm(), Mlp(3)), optimizer=optimizer, saved=both, loaded=replace(both, steps=0))
    found = {find_training_issue(breach) for breach in judge_training(training, run_training(world, training))}
    assert found == ({TRAINING_ISSUES["rank-0-broadcasts-alone"]} if offload else set())
    alone = Side(full=True, offload=True)
    training = replace(training, loaded=alone)
    assert breaches(training, run_training(world, training)) == []


@pytest.mark.parametrize("modifiers", ["_fqn_modifiers", "names_in_state_dict"])
def test_layer_by_another_name_in_the_state_dict_comes_back(modifiers: Any, world: SimulatedWorld) -> None:
    """Where the option names the method, it is known that it is asked for at load alone; else all is well."""
    loaded = Side(Parallelism(data=2), calls="model first")
    training = Training((Block((Renamed(),)), Renamed("frozen")), loaded=loaded, modifiers=modifiers)
    found = list(judge_training(training, run_training(world, training)))
    known = {TRAINING_ISSUES["modifiers-of-another-name"]} if modifiers != "_fqn_modifiers" else set()
    assert {find_training_issue(breach) for breach in found} == known


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (Optimizer("Adam"), {"loaded": Side(strict=False)}),
        (Optimizer("Adam"), {"loaded": Side(Parallelism(data=2), full=True, strict=False)}),
        (Optimizer("Adam", groups="matrices first", tensor_lr=True), {"loaded": Side(strict=False)}),
        (Optimizer("Adam"), {"flatten": True}),
        (Optimizer(variant=True), {"flatten": True, "loaded": Side(strict=False)}),
    ],
    ids=repr,
)
def test_state_of_a_renamed_layer_is_lost_in_several_ways(
    optimizer: Optimizer, options: dict[str, Any], world: SimulatedWorld
) -> None:
    training = Training((Norm(), Renamed()), optimizer=optimizer, **options)
    found = {find_training_issue(breach) for breach in judge_training(training, run_training(world, training))}
    assert TRAINING_ISSUES["renamed-for-the-load-alone"] in found
    assert None not in found
    other = replace(training, layers=(Norm(), Norm()))
    found = {find_training_issue(breach) for breach in judge_training(other, run_training(world, other))}
    assert TRAINING_ISSUES["renamed-for-the-load-alone"] not in found


def test_violation_says_where() -> None:
    (breach,) = judge_training(Training(), _outcome(_with(_chunked(b"aaaa", b"xxxx"))))
    text = str(breach.violation())
    assert text.startswith("load: model.a on rank 0: 1 of 2 elements are not what was saved\n")
    assert "training = Training()\n" in text
    assert "element   model.a[1]: expected 62626262, seen 78787878" in text


def test_replicas_that_differ_are_no_training_to_compare_with() -> None:
    with pytest.raises(ValueError, match="other values in the same place"):
        put_together([_with(TENSOR), _with(POISONED)])
    with pytest.raises(ValueError, match="no rank holds some"):
        put_together([_with(_chunked(b"aaaa"))])
    with pytest.raises(ValueError, match="on another"):
        put_together([_with(TENSOR), _with(TENSOR, "0.25")])
