"""What does not fit a training: as drawn, as run, as judged, as written out, and what is known to be wrong."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings

import worlds.training
from campaign.script import CannotWrite
from campaign.script.training.misfit import write_misfit_script
from properties.ledger import torch_release
from properties.training import MISFIT_ISSUES, MisfitIssue, find_misfit_issue
from properties.training.judge_misfit import MisfitBreach, judge_misfit
from properties.violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    RankDied,
    UnclearRefusal,
    UnexpectedFailure,
    Violation,
    WrongBits,
)
from strategies import misfits
from strategies.misfit_features import MISFIT_FEATURES, misfit_features
from tests.campaigns import ROOT
from tests.script_texts import check_text
from worlds import InvalidScenario, ProcessWorld, SimulatedWorld
from worlds.codec import from_json, to_json
from worlds.outcome import Deadlocked, Died, ErrorRecord, Raised, Waiting
from worlds.training import Again, Counter, Embedding, Failed, Held, Mlp, Norm, Optimizer, Parallelism, Side
from worlds.training.misfit import OF_MODEL, OF_OPTIMIZER, OF_OPTIONS, Misfit, kinds_of
from worlds.training.misfit_outcome import Ended, GoesOn, MisfitOutcome, Took
from worlds.training.run_misfit import run_misfit

ISSUES = pytest.mark.parametrize("issue", MISFIT_ISSUES.values(), ids=lambda issue: issue.id)
ADAM = Optimizer("Adam")
SHARDS = Side(parallelism=Parallelism(data=2), calls="model first")
BROADCAST = replace(SHARDS, full=True, broadcast=True)


def test_shrinks_to_a_missing_key() -> None:
    assert find(misfits(), lambda _: True, settings=settings(database=None, max_examples=300)) == Misfit()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "no state"}, "cannot be here"),
        ({"kind": "no state", "optimizer": Optimizer()}, "cannot be here"),
        ({"kind": "no groups", "optimizer": ADAM, "flatten": True}, "cannot be here"),
        ({"kind": "broadcast without full", "side": BROADCAST}, "cannot be here"),
        ({"side": Side(evaluated=True)}, "has more than here"),
        ({"side": Side(calls="optimizer first")}, "one call"),
        ({"optimizer": Optimizer(groups="matrices first", apart=True)}, "one optimizer"),
        ({"optimizer": ADAM, "flatten": True, "side": Side(parallelism=Parallelism(data=2, flat=True))}, "nested"),
        ({"side": SHARDS, "ranks": (1, 0)}, "not in order"),
        ({"side": SHARDS, "ranks": (2,)}, "not among 2"),
        ({"side": SHARDS, "ranks": (0, 1)}, "are those of"),
        ({"side": BROADCAST, "ranks": (1,)}, "rank 0 alone"),
        ({"side": replace(SHARDS, full=True), "ranks": (1,)}, "other collectives"),
        ({"kind": "model tensor of one row"}, "several rows"),
        ({"layers": (Norm("frozen"), Norm())}, "all is trained"),
        ({"layers": (Norm(), Again())}, "one name"),
    ],
    ids=str,
)
def test_what_is_no_misfit_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidScenario, match=said):
        Misfit(**options)  # type: ignore[arg-type]


def test_every_kind_is_of_something() -> None:
    assert {*OF_MODEL, *OF_OPTIMIZER, *OF_OPTIONS} == set(kinds_of(ADAM, flatten=False, broadcast=False))
    assert not set(OF_OPTIMIZER) & set(kinds_of(None, flatten=False, broadcast=False))


@seed(1)
@settings(max_examples=200, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(misfit=misfits())
def test_misfit_prints_and_is_stored_whole(misfit: Misfit) -> None:
    assert eval(repr(misfit), {**vars(worlds.training), "Misfit": Misfit}) == misfit
    assert from_json(to_json(misfit), Misfit) == misfit
    ((group, names),) = MISFIT_FEATURES.items()
    assert misfit_features(misfit) <= {(group, name) for name in names}


def every_misfit() -> list[Misfit]:
    """Each kind in each call that it can be in, by ranks that share the training in several ways."""
    found = []
    for side in (Side(), replace(SHARDS, parallelism=Parallelism(2), whole="DDP"), SHARDS, BROADCAST):
        for kind in kinds_of(ADAM, flatten=False, broadcast=side.broadcast):
            found.append(Misfit(kind, optimizer=ADAM, side=side, width=2))
    some = [replace(misfit, ranks=(1,)) for misfit in found if misfit.side == SHARDS]
    return [*found, *some]


@pytest.mark.thorough
@pytest.mark.parametrize("misfit", every_misfit(), ids=repr)
def test_real_ranks_say_the_same(misfit: Misfit, world: SimulatedWorld, processes: ProcessWorld) -> None:
    """What is wrong is known, if anything is, and is the same on real ranks."""
    simulated, real = (judge_misfit(misfit, run_misfit(where, misfit)) for where in (world, processes))
    assert [(breach.kind, breach.when, breach.rank) for breach in simulated] == [
        (breach.kind, breach.when, breach.rank) for breach in real
    ]
    for breach in (*simulated, *real):
        assert find_misfit_issue(breach) is not None, breach.violation()


@ISSUES
def test_minimal_case_shows_the_issue(issue: MisfitIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    for where in (world, processes):
        known = [find_misfit_issue(breach) for breach in judge_misfit(issue.misfit, run_misfit(where, issue.misfit))]
        assert None not in known
        assert issue in known, f"this torch no longer shows it: set fixed_in of {issue.id!r}"


_SHARED = ((Embedding(tied=True),), Optimizer(variant=True))


@pytest.mark.parametrize(
    ("id", "misfit"),
    [
        # Refused at the end of what is done with the optimizer's state, while the others wait in the model's.
        (
            "misfit-refused-alone",
            Misfit(
                "no param_groups",
                optimizer=Optimizer(),
                side=Side(parallelism=Parallelism(data=2, flat=True)),
                ranks=(0,),
            ),
        ),
        (
            "misfit-refused-alone",
            Misfit(
                "optimizer of another model",
                optimizer=Optimizer(),
                side=Side(parallelism=Parallelism(data=2, flat=True)),
                ranks=(0,),
            ),
        ),
        # Rank 0 looks for the parameters of what it is to broadcast, and the others wait for that.
        (
            "misfit-refused-alone",
            Misfit(
                "optimizer of another model",
                optimizer=Optimizer("Adam"),
                side=Side(parallelism=Parallelism(data=2, flat=True), calls="model first", full=True, broadcast=True),
            ),
        ),
        # Of what it did not load, the rank has no element: to hold nothing is right.
        (
            "misfit-no-model",
            Misfit(
                "model's state of another module",
                side=Side(parallelism=Parallelism(data=2), calls="model first", full=True, strict=False),
                ranks=(1,),
            ),
        ),
        # One parameter by two names, each of which is looked for with a hyperparameter, and none is there.
        ("misfit-optimizer-parts", Misfit("no param_groups", *_SHARED, flatten=True)),
        ("misfit-optimizer-parts", Misfit("hyperparameter missing", *_SHARED, flatten=True)),
    ],
    ids=repr,
)
def test_other_ways_in_which_it_shows(id: str, misfit: Misfit, world: SimulatedWorld, processes: ProcessWorld) -> None:
    for where in (world, processes):
        known = [find_misfit_issue(breach) for breach in judge_misfit(misfit, run_misfit(where, misfit))]
        assert None not in known
        assert MISFIT_ISSUES[id] in known


def test_failure_of_what_is_right_does_not_reach_what_is_wrong(world: SimulatedWorld) -> None:
    """Some ranks fail after a load of what is right; the collectives of what follows are not taken for those."""
    side = Side(parallelism=Parallelism(data=3, flat=True), steps=1)
    misfit = Misfit(layers=(Mlp(),), optimizer=Optimizer("Adam", groups="matrices last"), side=side)
    assert judge_misfit(misfit, run_misfit(world, misfit)) == ()


_LEFT_GATHERED = """
from properties.training import MISFIT_ISSUES
from worlds import SimulatedWorld
from worlds.training.run_misfit import run_misfit

with SimulatedWorld() as world:
    run_misfit(world, MISFIT_ISSUES["misfit-left-unsharded"].misfit)
print("done")
"""


@pytest.mark.thorough
def test_process_ends_well_after_what_is_left_gathered() -> None:
    """Torch aborts the interpreter as it ends, unless what a load that has raised has left is collected before."""
    done = subprocess.run([sys.executable, "-c", _LEFT_GATHERED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


NOTHING = Held((), ())
OTHER = Held((), (("optim.param_groups.0.lr", "1"),))
RIGHT = Ended(Took((), (), NOTHING), GoesOn(NOTHING, NOTHING))
TOOK = Took((), (), OTHER)
CLEAR = Raised(ErrorRecord("RuntimeError", 'Missing key(s) in state_dict: "0.weight".'))
UNCLEAR = Raised(ErrorRecord("RuntimeError", "it does not fit"))
WITHIN = Raised(ErrorRecord("KeyError", "'0.weight'"))
WAITS = Deadlocked(Waiting("barrier", (0, 1)))
ALL, SOME = Misfit(side=SHARDS), Misfit(side=SHARDS, ranks=(1,))
FROM_0 = Misfit(side=BROADCAST)


def outcome_of(*calls: Took | Raised | None, then: GoesOn | Failed = RIGHT.then) -> MisfitOutcome:
    """What came of it on ranks that went on, but for those that have not come to the end of the call."""
    stops = None in calls
    ranks = tuple(WAITS if stops or call is None else Ended(call, then) for call in calls)
    return MisfitOutcome("0.weight", (RIGHT,) * len(calls), calls, ranks)


@pytest.mark.parametrize(
    ("misfit", "outcome", "kinds"),
    [
        (ALL, outcome_of(CLEAR, CLEAR), []),
        (SOME, outcome_of(RIGHT.call, CLEAR), []),
        (SOME, outcome_of(CLEAR, CLEAR), []),
        (ALL, outcome_of(RIGHT.call, RIGHT.call), []),
        (ALL, outcome_of(TOOK, TOOK), [NotRefused]),
        (SOME, outcome_of(RIGHT.call, TOOK), [NotRefused]),
        (SOME, outcome_of(TOOK, CLEAR), [WrongBits]),
        (FROM_0, outcome_of(CLEAR, RIGHT.call), [LostFailure]),
        (ALL, outcome_of(CLEAR, RIGHT.call), [LostFailure]),
        (ALL, outcome_of(CLEAR, Raised(ErrorRecord("TypeError", "0.weight"))), [Disagreement]),
        (ALL, outcome_of(UNCLEAR, UNCLEAR), [UnclearRefusal]),
        (ALL, outcome_of(WITHIN, WITHIN), [UnclearRefusal]),
        (ALL, outcome_of(CLEAR, None), [Deadlock]),
        (ALL, outcome_of(CLEAR, CLEAR, then=Failed("set", CLEAR)), [UnexpectedFailure]),
        (ALL, outcome_of(CLEAR, CLEAR, then=GoesOn(NOTHING, OTHER)), [WrongBits]),
        (replace(ALL, side=replace(SHARDS, strict=False)), outcome_of(TOOK, TOOK), [NotRefused]),
        (
            replace(ALL, side=replace(SHARDS, strict=False)),
            outcome_of(*(Took(("module.0.weight",), (), OTHER),) * 2),
            [],
        ),
    ],
)
def test_judge_says_what_is_wrong(misfit: Misfit, outcome: MisfitOutcome, kinds: list[type[Violation]]) -> None:
    found = judge_misfit(misfit, outcome)
    assert [breach.kind for breach in found] == kinds
    for breach in found:
        with pytest.raises(breach.kind, match=r"misfit = Misfit\("):
            breach.violation().throw()


def test_rank_that_dies_or_waits_after_it_is_told() -> None:
    ends = replace(outcome_of(CLEAR, CLEAR), ranks=(Ended(CLEAR, RIGHT.then), WAITS))
    (breach,) = judge_misfit(ALL, ends)
    assert (breach.kind, breach.when, breach.rank) == (Deadlock, "after it", 1)
    died = replace(outcome_of(CLEAR, None), ranks=(Ended(CLEAR, RIGHT.then), Died("signal 9")))
    (breach,) = judge_misfit(ALL, died)
    assert (breach.kind, breach.when) == (RankDied, "in the call")


def test_nothing_is_judged_where_what_fits_cannot_be_loaded() -> None:
    broken = replace(outcome_of(TOOK, TOOK), alone=(RIGHT, replace(RIGHT, call=CLEAR)))
    assert judge_misfit(ALL, broken) == ()
    assert judge_misfit(ALL, replace(broken, alone=(RIGHT, None))) == ()
    with pytest.raises(ValueError, match="2 ranks are given something, and the outcome has 1"):
        judge_misfit(ALL, outcome_of(CLEAR))


@ISSUES
def test_entry_matches_no_other_failure(issue: MisfitIssue) -> None:
    """A rank that fails for another reason, that waits beside one, or that fails at what fits."""
    size = issue.misfit.side.parallelism.world_size
    disk = Raised(ErrorRecord("OSError", "disk"), origin="torch/storage.py:write")
    others = (
        outcome_of(*(disk,) * size),
        outcome_of(disk, *(None,) * (size - 1)),
        outcome_of(*(CLEAR,) * size, then=Failed("set", disk)),
    )
    for outcome in others:
        for breach in judge_misfit(issue.misfit, outcome):
            assert find_misfit_issue(breach) is None, breach.violation()


@pytest.mark.thorough
def test_any_misfit_has_a_script_or_is_refused_in_one_line(world: SimulatedWorld) -> None:
    written: list[str] = []
    refused: list[str] = []

    @seed(1)
    @settings(max_examples=30, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(misfit=misfits())
    def draw(misfit: Misfit) -> None:
        for breach in judge_misfit(misfit, run_misfit(world, misfit)):
            try:
                script = write_misfit_script(breach)
            except CannotWrite as error:
                refused.append(str(error))
                continue
            assert script == write_misfit_script(breach), "the text depends on the breach alone"
            check_text(script)
            written.append(script)

    draw()
    assert written
    assert all(len(line.splitlines()) == 1 for line in refused)


def breach_of(misfit: Misfit, kind: type[Violation], **options: object) -> MisfitBreach:
    size = misfit.side.parallelism.world_size
    return MisfitBreach(kind, "it is wrong", misfit, outcome_of(*(UNCLEAR,) * size), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("misfit", every_misfit(), ids=repr)
@pytest.mark.parametrize("kind", [Deadlock, NotRefused, UnclearRefusal])
def test_every_kind_can_be_written_out(misfit: Misfit, kind: type[Violation]) -> None:
    with suppress(CannotWrite):
        script = write_misfit_script(breach_of(misfit, kind, error=UNCLEAR.error))
        check_text(script)
        assert len(script.splitlines()) < 140


def test_script_gives_what_is_wrong_on_some_ranks_alone() -> None:
    script = write_misfit_script(breach_of(SOME, NotRefused))
    assert 'if rank == 1:\n    del model_state["0.weight"]\n' in script
    assert 'if seen == "returned" and rank == 1:\n' in script
    assert "Expected: where rank 1 of 2 gave what does not fit, rank 1 raises an error" in script
    script = write_misfit_script(breach_of(Misfit(layers=(Mlp(), Counter()), side=BROADCAST), NotRefused))
    assert "if rank > 0:\n    model_state = {}" in script


@pytest.mark.parametrize(
    ("breach", "said"),
    [
        (breach_of(ALL, WrongBits), "ends in WrongBits"),
        (breach_of(ALL, WrongBits, when="after it"), "comes to after it"),
        (breach_of(Misfit("no groups", optimizer=Optimizer(groups="matrices first")), NotRefused), "several groups"),
        (breach_of(Misfit("model tensor of more rows", side=SHARDS, ranks=(1,)), NotRefused), "shards of another size"),
        (breach_of(Misfit("hyperparameter missing", optimizer=ADAM, flatten=True), NotRefused), "flattened"),
        (breach_of(Misfit(side=Side(strict=False)), NotRefused), "not reported"),
    ],
    ids=["kind", "later", "groups", "shards", "flattened", "reported"],
)
def test_what_has_no_script_is_refused_in_one_line(breach: MisfitBreach, said: str) -> None:
    with pytest.raises(CannotWrite, match=f"^there is no script for .*{said}.* yet$"):
        write_misfit_script(breach)
