"""The judge, on outcomes written by hand: each kind of wrong is found and named, and what is right passes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from properties import judge, violations
from properties.violations import (
    BadChunks,
    BadStorageIndex,
    ChangedInput,
    ChangedOutside,
    Deadlock,
    Disagreement,
    LostFailure,
    MetadataUnreadable,
    MetadataWrong,
    NotInPlace,
    NotLoaded,
    NotRefused,
    PassedFailure,
    RankDied,
    TouchedTarget,
    UnexpectedFailure,
    UnprotectedFailure,
    Violation,
    WrongBits,
    WrongException,
    WrongKeys,
    WrongObject,
    WrongPhase,
    WrongRanks,
    WrongTensor,
)
from worlds import ChunkSharding, Fault, FileFault, Nested, ObjectEntry, Operation, Outcome, Scenario, TensorEntry
from worlds.errors import make_error
from worlds.outcome import (
    ChunkRecord,
    ChunkState,
    ContainerState,
    Deadlocked,
    Died,
    EntryState,
    ErrorRecord,
    FileRecord,
    Hit,
    MetadataRecord,
    ObjectState,
    OperationOutcome,
    Raised,
    Returned,
    StorageRecord,
    TensorRecord,
    TensorState,
    Waiting,
)
from worlds.parts import Box
from worlds.record import record_error
from worlds.values import expected_bytes, poison_bytes

KINDS = [
    kind
    for _, kind in inspect.getmembers(violations, inspect.isclass)
    if issubclass(kind, Violation) and kind != Violation
]

# Rank 1 fails in writer.write_data, so that the coordinator never comes to writer.finish, where it would fail.
BLAMED = Scenario(
    save=Operation(3),
    load=Operation(3),
    faults=(Fault("save", 1, "writer.write_data"), Fault("save", 0, "writer.finish")),
)
EIO = ErrorRecord("OSError", "[Errno 5] injected fault 0")
NAMED = Raised(ErrorRecord("torch.distributed.checkpoint.api.CheckpointException", ""), "write", ((1, EIO),))


def failed(*ranks: Any, hits: tuple[Hit, ...] = (Hit(0),)) -> Outcome:
    return Outcome(OperationOutcome(ranks, hits))


@pytest.mark.parametrize(
    ("outcome", "kind", "says"),
    [
        (failed(NAMED, Deadlocked(Waiting("x")), NAMED), Deadlock, "save: rank 1 waits for ever in x"),
        (failed(NAMED, Died("killed"), NAMED), RankDied, "save: rank 1 died: killed"),
        (failed(NAMED, Returned(()), NAMED), LostFailure, "save() returned on rank 1"),
        (failed(NAMED, Raised(EIO), NAMED), UnprotectedFailure, "rank 1 raised OSError, which names nobody"),
        (
            failed(*[replace(NAMED, failures=())] * 3),
            LostFailure,
            "(OSError, through the call), and rank 0 is not told",
        ),
        (failed(*[replace(NAMED, failures=((0, EIO),))] * 3), LostFailure, "rank 1 failed in writer.write_data"),
        (failed(*[replace(NAMED, failures=((1, EIO), (2, EIO)))] * 3), WrongRanks, "rank 2, which did not fail"),
        (failed(*[replace(NAMED, phase="plan")] * 3), WrongPhase, "a failure in 'write' is reported for 'plan'"),
        (
            failed(*[replace(NAMED, failures=((1, ErrorRecord("OSError", "[Errno 5] injected fault 7")),))] * 3),
            WrongException,
            "(OSError, through the call), and rank 1 is blamed for OSError: [Errno 5] injected fault 7",
        ),
        (
            failed(*[replace(NAMED, failures=((1, ErrorRecord("ValueError", EIO.message)),))] * 3),
            WrongException,
            "is blamed for ValueError",
        ),
        (
            failed(*[replace(NAMED, failures=((1, ErrorRecord("KeyError", "of DCP's own")),))] * 3),
            UnexpectedFailure,
            "rank 1 is blamed for KeyError: of DCP's own",
        ),
        (failed(NAMED, NAMED, replace(NAMED, phase="plan")), Disagreement, "ranks 0 and 2 do not raise the same"),
        (failed(NAMED, NAMED, NAMED, hits=(Hit(0), Hit(1))), PassedFailure, "writer.finish ran on rank 0"),
    ],
)
def test_wrong_blame_is_named(outcome: Outcome, kind: type[Violation], says: str) -> None:
    with pytest.raises(Violation) as caught:
        judge(BLAMED, outcome).raise_for_violation()
    assert type(caught.value) is kind
    assert says in str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    ("message", "kind"),
    [("[enforce fail at inline_container.cc:783] . unexpected pos 128 vs 22", None), ("something", UnexpectedFailure)],
)
def test_data_that_cannot_be_written_are_reported_by_the_zip_writer_alone(
    message: str, kind: type[Violation] | None
) -> None:
    scenario = replace(BLAMED, faults=(), file_faults=(FileFault("save", 1, "data.write"),))
    raised = replace(NAMED, failures=((1, ErrorRecord("RuntimeError", message)),))
    breach = judge(scenario, failed(raised, raised, raised)).breach
    assert (breach and breach.kind) == kind


def test_right_blame_passes() -> None:
    assert judge(BLAMED, failed(NAMED, NAMED, NAMED))


def test_save_that_returned_everywhere_has_lost_the_failure() -> None:
    returned = OperationOutcome((Returned(()),) * 3, (Hit(0),))
    with pytest.raises(LostFailure, match=r"^save: rank 1 failed in writer.write_data .*returned on every rank"):
        judge(BLAMED, Outcome(returned, returned)).raise_for_violation()


def test_failure_without_a_fault_is_unexpected() -> None:
    scenario = Scenario(save=Operation(3), load=Operation(3))
    with pytest.raises(UnexpectedFailure, match="rank 1 is blamed for OSError"):
        judge(scenario, failed(NAMED, NAMED, NAMED, hits=())).raise_for_violation()


# What loads: a matrix of bytes sharded over two ranks, saved by rows and loaded whole, and an object.
MATRIX = TensorEntry("a", (2, 2), "uint8", saved=ChunkSharding(0, (0, 1)))
LOADED = Scenario(entries=(MATRIX, ObjectEntry("b", 7)), save=Operation(2), load=Operation(1))


def bits(*chosen: tuple[int, int]) -> bytes:
    """The bytes of those elements; :mod:`worlds.values` has tests of its own."""
    return b"".join(expected_bytes("a", MATRIX, Box(place, (1, 1))) for place in chosen)


def poison() -> bytes:
    return poison_bytes("a", MATRIX, Box((0, 0), (2, 2)))


def saved(rank: int) -> Returned:
    row = ChunkState((rank, 0), (1, 2), bits((rank, 0), (rank, 1)))
    return Returned((TensorState(("a",), "ShardedTensor", "uint8", (2, 2), (row,)), OBJECT), METADATA)


OBJECT = ObjectState(("b",), "int", "7")
WHOLE = ChunkState((0, 0), (2, 2), bits((0, 0), (0, 1), (1, 0), (1, 1)))
TENSOR = TensorState(("a",), "Tensor", "uint8", (2, 2), (WHOLE,))
CHUNKS = (ChunkRecord((0, 0), (1, 2)), ChunkRecord((1, 0), (1, 2)))
STORAGE = (
    StorageRecord("a", (0, 0), "f", 0, 10),
    StorageRecord("a", (1, 0), "g", 0, 10),
    StorageRecord("b", None, "f", 10, 5),
)
METADATA = MetadataRecord((TensorRecord("a", "uint8", (2, 2), CHUNKS),), ("b",), STORAGE)


def good() -> Outcome:
    return Outcome(
        save=OperationOutcome((saved(0), saved(1))),
        load=OperationOutcome((Returned((TENSOR, OBJECT)),)),
        metadata=METADATA,
        files=(FileRecord("f", 15), FileRecord("g", 10)),
    )


def loading(*state: EntryState) -> Outcome:
    return replace(good(), load=OperationOutcome((Returned(state),)))


def describing(metadata: MetadataRecord) -> Outcome:
    ranks = tuple(replace(saved(rank), metadata=metadata) for rank in range(2))
    return replace(good(), metadata=metadata, save=OperationOutcome(ranks))


def chunked(*chunks: ChunkRecord) -> Outcome:
    return describing(replace(METADATA, tensors=(TensorRecord("a", "uint8", (2, 2), chunks),)))


def changed_input() -> Outcome:
    ranks = (saved(0), replace(saved(1), state=saved(0).state))
    return replace(good(), save=OperationOutcome(ranks))


def flipped(data: bytes) -> TensorState:
    return replace(TENSOR, chunks=(replace(WHOLE, data=data),))


def test_right_outcome_passes() -> None:
    assert judge(LOADED, good())


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: loading(OBJECT, TENSOR), WrongKeys, "load: rank 0 holds 'b', 'a', and should hold 'a', 'b'"),
        (lambda: loading(TENSOR), WrongKeys, "rank 0 holds 'a', and should hold 'a', 'b'"),
        (lambda: loading(TENSOR, ObjectState(("b",), "int", "8")), WrongObject, "'b' on rank 0 is not the object"),
        (lambda: loading(TENSOR, ObjectState(("b",), "str", "7")), WrongObject, "'b' on rank 0 is not the object"),
        (lambda: loading(ObjectState(("a",), "int", "1"), OBJECT), WrongTensor, "is no tensor any more but int 1"),
        (lambda: loading(replace(TENSOR, dtype="int8"), OBJECT), WrongTensor, "another dtype than its target"),
        (lambda: loading(replace(TENSOR, shape=(4,)), OBJECT), WrongTensor, "another shape than its target"),
        (lambda: loading(replace(TENSOR, kind="ShardedTensor"), OBJECT), WrongTensor, "another kind"),
        (lambda: loading(replace(TENSOR, chunks=()), OBJECT), WrongTensor, "another chunks than its target"),
        (lambda: loading(replace(TENSOR, in_place=False), OBJECT), NotInPlace, "is another tensor than the one"),
        (lambda: loading(replace(TENSOR, guards_intact=False), OBJECT), ChangedOutside, "memory beside the tensor"),
        (
            lambda: loading(flipped(poison()), OBJECT),
            NotLoaded,
            "4 of 4 elements of its chunk at [0, 0] were not loaded",
        ),
        (lambda: loading(flipped(poison()[:1] + WHOLE.data[1:]), OBJECT), NotLoaded, "1 of 4 elements"),
        (lambda: loading(flipped(WHOLE.data[::-1]), OBJECT), WrongBits, "4 of 4 elements"),
        (changed_input, ChangedInput, "save: 'a' on rank 1 has another chunks"),
        (lambda: replace(good(), metadata=None), MetadataUnreadable, "cannot be read after a save that succeeded"),
        (lambda: describing(replace(METADATA, objects=())), MetadataWrong, "names tensors ['a'] and objects []"),
        (
            lambda: describing(replace(METADATA, tensors=(TensorRecord("a", "int8", (2, 2), CHUNKS),))),
            MetadataWrong,
            "'a' is int8 of shape [2, 2], and uint8 of shape [2, 2] was saved",
        ),
        (lambda: chunked(CHUNKS[0]), BadChunks, "they have 2 of 4 elements"),
        (lambda: chunked(CHUNKS[0], CHUNKS[0]), BadChunks, "[0, 0] and [0, 0] overlap"),
        (lambda: chunked(CHUNKS[0], ChunkRecord((1, 1), (1, 2))), BadChunks, "[1, 1] of size [1, 2] is outside"),
        (lambda: chunked(CHUNKS[0], ChunkRecord((1,), (2,))), BadChunks, "[1] of size [2] is outside"),
        (
            lambda: describing(replace(METADATA, storage=STORAGE[:2])),
            BadStorageIndex,
            "'b' has no entry in the storage's index",
        ),
        (
            lambda: describing(replace(METADATA, storage=(*STORAGE, StorageRecord("c", None, "f", 0, 1)))),
            BadStorageIndex,
            "the storage's index has 'c', which was not saved",
        ),
        (lambda: replace(good(), files=(FileRecord("f", 15),)), BadStorageIndex, "at 0-10 of no file 'g'"),
        (
            lambda: replace(good(), files=(FileRecord("f", 14), FileRecord("g", 10))),
            BadStorageIndex,
            "'b' is said to be at 10-15 of 'f' of 14 bytes",
        ),
        (
            lambda: describing(replace(METADATA, storage=(*STORAGE[:2], StorageRecord("b", None, "f", 9, 5)))),
            BadStorageIndex,
            "'a' and 'b' overlap in 'f'",
        ),
        (
            lambda: replace(describing(replace(METADATA, storage=())), metadata=METADATA),
            Disagreement,
            "save() returned other metadata on rank 0",
        ),
    ],
)
def test_wrong_content_is_named(make: Callable[[], Outcome], kind: type[Violation], says: str) -> None:
    with pytest.raises(Violation) as caught:
        judge(LOADED, make()).raise_for_violation()
    assert type(caught.value) is kind
    assert says in str(caught.value).splitlines()[0]


# What must be refused: a tensor of two elements is to be loaded into one of three.
REFUSED = Scenario(entries=(TensorEntry("a", (2,), loaded=None), TensorEntry("a", (3,), saved=None)))


def refusing(loaded: Any) -> Outcome:
    tensor = TensorRecord("a", "float32", (2,), (ChunkRecord((0,), (2,)),))
    metadata = MetadataRecord((tensor,), (), (StorageRecord("a", (0,), "f", 0, 9),))
    content = ChunkState((0,), (2,), expected_bytes("a", TensorEntry("a", (2,)), Box((0,), (2,))))
    state = (TensorState(("a",), "Tensor", "float32", (2,), (content,)),)
    save = OperationOutcome((Returned(state, metadata),))
    return Outcome(save, OperationOutcome((loaded,)), metadata, files=(FileRecord("f", 9),))


def target(data: bytes) -> tuple[EntryState, ...]:
    return (TensorState(("a",), "Tensor", "float32", (3,), (ChunkState((0,), (3,), data),)),)


UNTOUCHED = poison_bytes("a", TensorEntry("a", (3,)), Box((0,), (3,)))
SAID = Raised(NAMED.error, "plan", ((0, ErrorRecord("ValueError", "another size of a")),), state=target(UNTOUCHED))


def test_right_refusal_passes() -> None:
    assert judge(REFUSED, refusing(SAID))


@pytest.mark.parametrize(
    ("loaded", "kind", "says"),
    [
        (Returned(target(UNTOUCHED)), NotRefused, "load: rank 0 must refuse 'a', and load() returned on every rank"),
        (replace(SAID, failures=()), NotRefused, "load: rank 0 must refuse 'a', and rank 0 is not told of it"),
        (
            replace(SAID, failures=((0, ErrorRecord("ValueError", "something is wrong")),)),
            UnexpectedFailure,
            "something is wrong",
        ),
        (
            replace(SAID, failures=((0, ErrorRecord("KeyError", "'state'")),)),
            UnexpectedFailure,
            "'state'",
        ),
        (replace(SAID, failures=None), UnprotectedFailure, "rank 0 must refuse 'a', and rank 0 raised"),
        (replace(SAID, state=target(bytes(12))), TouchedTarget, "'a' on rank 0: 3 of 3 elements"),
    ],
)
def test_wrong_refusal_is_named(loaded: Any, kind: type[Violation], says: str) -> None:
    with pytest.raises(Violation) as caught:
        judge(REFUSED, refusing(loaded)).raise_for_violation()
    assert type(caught.value) is kind
    assert says in str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    ("fault", "phase", "said"),
    [
        (Fault("load", 0, "planner.finish_plan"), "read", EIO),
        (Fault("load", 0, "reader.prepare_local_plan"), "plan", EIO),
        # Its message is none of ours, and has the entry's name in it by chance.
        (
            Fault("load", 0, "planner.create_global_plan", "CheckpointException"),
            "plan",
            record_error(make_error("CheckpointException", "injected fault 0")),
        ),
    ],
)
def test_what_is_taken_instead_of_refused_is_named_where_a_later_fault_ends_the_load(
    fault: Fault, phase: Literal["plan", "read"], said: ErrorRecord
) -> None:
    loaded = OperationOutcome((replace(SAID, phase=phase, failures=((0, said),)),), (Hit(0),))
    outcome = replace(refusing(SAID), load=loaded)
    with pytest.raises(NotRefused, match=r"^load: rank 0 must refuse 'a', and rank 0 is blamed for"):
        judge(replace(REFUSED, faults=(fault,)), outcome).raise_for_violation()


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        (ContainerState(("a",), "dict", in_place=False), NotInPlace, "'a' on rank 0 is another dict than the one"),
        (ContainerState(("a",), "OrderedDict"), WrongObject, "'a' on rank 0 is a OrderedDict and should be a dict"),
        (ObjectState(("a",), "int", "1"), WrongObject, "'a' on rank 0 is int 1 and should be a dict"),
    ],
)
def test_wrong_container_is_named(state: EntryState, kind: type[Violation], says: str) -> None:
    scenario = Scenario(entries=(Nested("a"),))
    metadata = MetadataRecord((), (), ())
    save = OperationOutcome((Returned((ContainerState(("a",), "dict"),), metadata),))
    outcome = Outcome(save, OperationOutcome((Returned((state,)),)), metadata)
    with pytest.raises(kind) as caught:
        judge(scenario, outcome).raise_for_violation()
    assert says in str(caught.value).splitlines()[0]


def test_element_that_is_wrong_is_shown_with_its_place() -> None:
    data = WHOLE.data[:3] + bytes([WHOLE.data[3] ^ 1])
    text = str(judge(LOADED, loading(flipped(data), OBJECT)))
    assert f"element   'a'[1, 1]: expected {WHOLE.data[3:].hex()}, seen {data[3:].hex()}" in text


@pytest.mark.parametrize(
    "outcome",
    [
        failed(NAMED, NAMED),
        Outcome(OperationOutcome((NAMED,) * 3), OperationOutcome((NAMED,) * 3)),
        Outcome(OperationOutcome((Returned(()),) * 3)),
    ],
    ids=["a rank is missing", "loaded after a save that failed", "not loaded after a save that returned"],
)
def test_outcome_of_another_scenario_is_an_error_and_no_pass(outcome: Outcome) -> None:
    with pytest.raises(ValueError, match="rank"):
        judge(BLAMED, outcome)


def test_each_kind_is_raised_from_a_line_of_its_own() -> None:
    """Hypothesis tells two failures apart by the type and the line, and would else shrink one into the other."""
    lines = set()
    for kind in KINDS:
        with pytest.raises(kind) as caught:
            kind("").throw()
        last = caught.traceback[-1]
        lines.add((last.path, last.lineno))
    assert len(lines) == len(KINDS) == 27


def test_text_is_what_one_wants_to_read() -> None:
    seen = failed(NAMED, NAMED, replace(NAMED, failures=()))
    assert str(judge(BLAMED, seen)) == (
        "Disagreement: save: ranks 0 and 2 do not raise the same\n"
        "\n"
        "scenario = Scenario(\n"
        "    save=Operation(3),\n"
        "    load=Operation(3),\n"
        "    faults=(Fault('save', 1, 'writer.write_data'), Fault('save', 0, 'writer.finish')),\n"
        ")\n"
        "\n"
        "expected  save: every rank raises CheckpointException in 'write' naming rank 1 (OSError of writer.write_data)"
        ", or else: every rank raises CheckpointException in 'write' naming rank 0 (OSError of writer.finish)\n"
        "seen      save: ranks 0-1: raised CheckpointException in 'write' naming rank 1 "
        "(OSError: [Errno 5] injected fault 0)\n"
        "                rank 2: raised CheckpointException in 'write' naming nobody\n"
        "reached   faults: writer.write_data on rank 1"
    )


def test_verdict_of_a_right_outcome_says_so() -> None:
    assert str(judge(LOADED, good())) == "the laws hold"
