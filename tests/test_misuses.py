"""Calls with an argument that they cannot have: as drawn, as run, as judged, and what is known to be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import find, settings

import worlds
from campaign.script import CannotWrite
from campaign.script.misuse import write_misuse_script
from properties.judge_misuse import MisuseBreach, judge_misuse
from properties.ledger import torch_release
from properties.misuse_issues import MISUSE_ISSUES, MisuseIssue, find_misuse_issue
from properties.violations import (
    Deadlock,
    Disagreement,
    LostFailure,
    NotRefused,
    TouchedTarget,
    UnclearRefusal,
    UnexpectedFailure,
    UnprotectedFailure,
    Violation,
    WrongBits,
    WrongRanks,
    WroteBeforeRefusal,
)
from strategies import misuses
from tests.script_texts import check_text
from worlds import (
    InvalidScenario,
    MeshSharding,
    ObjectEntry,
    Operation,
    ProcessWorld,
    Shard,
    SimulatedWorld,
    TensorEntry,
)
from worlds.misuses import CALLS, Kind, Misuse, MisuseOutcome, kinds_of
from worlds.outcome import (
    Deadlocked,
    ErrorRecord,
    OperationOutcome,
    Raised,
    RankOutcome,
    Returned,
    TensorState,
    Waiting,
)
from worlds.run_misuse import run_misuse

ISSUES = pytest.mark.parametrize("issue", MISUSE_ISSUES.values(), ids=lambda issue: issue.id)
SHARDS = MeshSharding((2,), (Shard(0),))
TENSOR = TensorEntry("s", (2,), saved=SHARDS, loaded=SHARDS)
TWO = Operation(2)
REFUSED = ErrorRecord("ValueError", "a word of what is wrong")
BY_ITSELF = Raised(REFUSED)
NAMED = Raised(ErrorRecord("CheckpointException", ""), "plan", ((1, REFUSED),))


def test_shrinks_to_a_save_without_a_name() -> None:
    assert find(misuses(), lambda _: True, settings=settings(database=None, max_examples=200)) == Misuse()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "coordinator below 0"}, "current save takes no 'coordinator below 0'"),
        ({"kind": "stager's class", "name": "load"}, "current load takes no"),
        ({"operation": Operation(api="uncoordinated")}, "no save by the API 'uncoordinated'"),
        ({"operation": Operation(2, rotated=True)}, "more than it is to have"),
        ({"operation": Operation(distributed=False), "kind": "text for a group"}, "takes a process group"),
        ({"operation": TWO, "ranks": (1, 0)}, "not in order"),
        ({"operation": TWO, "ranks": (2,)}, "not among 2"),
        ({"operation": TWO, "ranks": (0, 1)}, "are those of"),
        ({"operation": TWO, "kind": "no collectives"}, "is of some ranks"),
        ({"kind": "no_dist"}, "where there are others"),
        ({"operation": Operation(3), "kind": "no_dist", "ranks": (0, 1)}, "would race"),
        ({"name": "load", "over": True}, "of a checkpoint anyway"),
        ({"kind": "over a checkpoint"}, "there is to be a checkpoint"),
        ({"operation": TWO, "kind": "group of others", "ranks": (1,), "entries": (TENSOR,)}, "each rank has whole"),
    ],
    ids=str,
)
def test_what_is_no_misuse_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidScenario, match=said):
        Misuse(**options)  # type: ignore[arg-type]


def held(kind: Kind) -> tuple[TensorEntry | ObjectEntry, ...]:
    whole = (TensorEntry("p", (2,)), ObjectEntry("o", 3))
    return whole if kind in ("no_dist", "group of others") else (*whole, TENSOR)


def every_misuse() -> list[Misuse]:
    found = []
    for name, apis in CALLS.items():
        for api in apis:
            for kind in kinds_of(name, api):
                over = name == "save" and kind == "over a checkpoint"
                found.append(Misuse(kind, name, Operation(2, api=api), (1,), held(kind), over=over))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("misuse", every_misuse(), ids=repr)
def test_real_ranks_say_the_same(misuse: Misuse, world: SimulatedWorld, processes: ProcessWorld) -> None:
    """Every kind in every call: what is wrong with it is known, if anything is, and is the same on real ranks."""
    simulated, real = (judge_misuse(misuse, run_misuse(where, misuse)) for where in (world, processes))
    assert [(breach.kind, breach.headline) for breach in simulated] == [(each.kind, each.headline) for each in real]
    for breach in simulated:
        assert find_misuse_issue(breach) is not None, breach.violation()


@ISSUES
def test_minimal_case_shows_the_issue(issue: MisuseIssue, world: SimulatedWorld, processes: ProcessWorld) -> None:
    if not issue.affects(torch_release()):
        pytest.skip("this torch does not have it")
    for where in (world, processes):
        found = judge_misuse(issue.misuse, run_misuse(where, issue.misuse))
        assert found, f"this torch no longer shows it: set fixed_in of {issue.id!r}"
        for breach in found:
            assert find_misuse_issue(breach) is issue, breach.violation()
            text = str(breach.violation()).split("misuse = ")[1].split("\n\n")[0]
            assert eval(text, {**vars(worlds), "Misuse": Misuse}) == issue.misuse


def outcome_of(*ranks: RankOutcome, changed: tuple[str, ...] = ()) -> MisuseOutcome:
    return MisuseOutcome(call=OperationOutcome(ranks), changed=changed)


@ISSUES
def test_entry_matches_no_other_failure(issue: MisuseIssue) -> None:
    """A rank that fails for another reason, that returns beside it, or that waits where all others do."""
    size = issue.misuse.operation.world_size
    disk = Raised(ErrorRecord("KeyError", "'disk'"), state=())
    waits = Deadlocked(Waiting("barrier", tuple(range(size))))
    others: list[tuple[RankOutcome, ...]] = [(Returned(()),) * (size - 1), (waits,) * (size - 1), (disk,) * (size - 1)]
    for ranks in ((disk, *rest) for rest in others):
        found = judge_misuse(replace(issue.misuse, entries=()), outcome_of(*ranks))
        unclear = [breach for breach in found if breach.kind is UnclearRefusal]
        assert unclear
        assert not any(find_misuse_issue(breach) for breach in unclear)


SOME = Misuse(operation=TWO, ranks=(1,))
ALL = Misuse(operation=TWO)
OVER = Misuse("over a checkpoint", operation=TWO, over=True)
OTHERS = Misuse("group of others", operation=TWO, ranks=(1,))
ALL_NAMED = replace(NAMED, failures=((0, REFUSED), (1, REFUSED)))


@pytest.mark.parametrize(
    ("misuse", "ranks", "kinds"),
    [
        (ALL, (BY_ITSELF, BY_ITSELF), []),
        (ALL, (ALL_NAMED, ALL_NAMED), []),
        (SOME, (NAMED, NAMED), []),
        (SOME, (BY_ITSELF, BY_ITSELF), [UnprotectedFailure, UnprotectedFailure]),
        (SOME, (ALL_NAMED, ALL_NAMED), [WrongRanks, WrongRanks]),
        (OVER, (NAMED, NAMED), [LostFailure, LostFailure]),
        (Misuse("no threads", operation=TWO), (NAMED, NAMED), []),
        (SOME, (Returned(()), NAMED), [LostFailure]),
        (ALL, (Returned(()), Returned(())), [NotRefused]),
        (ALL, (BY_ITSELF, Raised(ErrorRecord("TypeError", "another"))), [Disagreement]),
        (OTHERS, (Returned(()), BY_ITSELF), []),
        (OTHERS, (Returned(()), Returned(())), [NotRefused]),
        (OTHERS, (BY_ITSELF, BY_ITSELF), [UnexpectedFailure]),
        (ALL, (Raised(ErrorRecord("ValueError", " ")),) * 2, [UnclearRefusal]),
        (ALL, (Raised(ErrorRecord("KeyError", "'a'")),) * 2, [UnclearRefusal]),
        (SOME, (Deadlocked(Waiting("barrier", (0, 1))), BY_ITSELF), [Deadlock]),
    ],
)
def test_judge_says_what_is_wrong(misuse: Misuse, ranks: tuple[RankOutcome, ...], kinds: list[type[Violation]]) -> None:
    found = judge_misuse(misuse, outcome_of(*ranks))
    assert [breach.kind for breach in found] == kinds
    for breach in found:
        with pytest.raises(breach.kind):
            breach.violation().throw()


def test_harm_is_told_beside_the_refusal(world: SimulatedWorld) -> None:
    """Files that are written, a target that was filled, and what comes after it, each as a breach of its own."""
    refused = outcome_of(NAMED, NAMED, changed=("checkpoint/.metadata",))
    (breach,) = judge_misuse(SOME, refused)
    assert breach.kind is WroteBeforeRefusal
    assert ".metadata" in breach.headline
    load = Misuse("no name", "load", entries=(TensorEntry("p", (2,)),))
    right = run_misuse(world, load)
    assert judge_misuse(load, right) == ()
    assert right.call is not None
    assert right.after is not None
    assert right.after.load is not None
    (filled,) = right.after.load.ranks
    assert isinstance(filled, Returned)
    touched = replace(right, call=OperationOutcome((replace(BY_ITSELF, state=filled.state),)))
    assert [breach.kind for breach in judge_misuse(load, touched)] == [TouchedTarget]
    (poison,) = (seen for seen in right.call.ranks if isinstance(seen, Raised))
    after = replace(right, after=replace(right.after, load=OperationOutcome((Returned(poison.state),))))
    (breach,) = judge_misuse(load, after)
    assert breach.when == "after it"
    assert breach.headline.startswith("after it: load: ")


def test_what_is_taken_must_work(world: SimulatedWorld) -> None:
    taken = Misuse("copy ahead below 0", entries=(TensorEntry("p", (2,)),))
    outcome = run_misuse(world, taken)
    assert judge_misuse(taken, outcome) == ()
    assert outcome.loaded is not None
    (seen,) = outcome.loaded.ranks
    assert isinstance(seen, Returned)
    (tensor,) = seen.state
    assert isinstance(tensor, TensorState)
    state = (replace(tensor, chunks=(replace(tensor.chunks[0], data=bytes(8)),)),)
    (breach,) = judge_misuse(taken, replace(outcome, loaded=OperationOutcome((Returned(state),))))
    assert (breach.kind, breach.when) == (WrongBits, "as it is loaded")


def test_outcome_that_cannot_be_is_no_pass() -> None:
    with pytest.raises(ValueError, match="2 ranks call, and the outcome has 1"):
        judge_misuse(ALL, outcome_of(BY_ITSELF))


def breach_of(misuse: Misuse, kind: type[Violation], **options: str) -> MisuseBreach:
    return MisuseBreach(kind, "save: it is wrong", misuse, outcome_of(*(BY_ITSELF,) * 2), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("misuse", every_misuse(), ids=repr)
@pytest.mark.parametrize("kind", [Deadlock, UnclearRefusal, WroteBeforeRefusal, TouchedTarget])
def test_every_misuse_can_be_written_out(misuse: Misuse, kind: type[Violation]) -> None:
    script = write_misuse_script(breach_of(misuse, kind))
    check_text(script)
    assert len(script.splitlines()) < 140


@pytest.mark.parametrize(
    ("breach", "said"),
    [
        (breach_of(ALL, WrongRanks), "ends in WrongRanks"),
        (breach_of(ALL, Deadlock, when="after it"), "ends in Deadlock"),
        (breach_of(replace(ALL, entries=(worlds.Nested("n"),)), Deadlock), "beside containers"),
        (
            breach_of(replace(ALL, entries=(TensorEntry("a", (1,), saved=worlds.Plain((1,))),)), Deadlock),
            "tensors of such a layout",
        ),
    ],
    ids=["kind", "later", "container", "layout"],
)
def test_what_has_no_script_is_refused_in_one_line(breach: MisuseBreach, said: str) -> None:
    with pytest.raises(CannotWrite, match=f"^there is no script for a wrong argument .*{said}.* yet$"):
        write_misuse_script(breach)
