"""The ledger of what goes wrong in released torch where a state goes another way, and the check that knows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from strategies.case_features import case_features
from worlds.entries import Entry, Nested, TensorEntry
from worlds.example import ExampleWorld
from worlds.layouts import ChunkSharding, EnumerableSharding, Layout, Memory, Plain, Tile
from worlds.operations import Operation
from worlds.outcome import Died, ErrorRecord, Raised
from worlds.routes import Route, from_torch_save
from worlds.run_route import run_route
from worlds.scenario import Scenario

from .check import KNOWN_HITS
from .judge_route import RouteBreach, judge_route, no_tensors, refuses, to_refuse, to_refuse_of_the_file
from .judged import count_judged
from .known_issues import KNOWN_ISSUES, find_known_issue
from .known_issues.asking import lists_of_objects_left, padding
from .known_issues.entry import blamed
from .ledger import LedgerEntry, first_match
from .route_entry import RouteIssue
from .violations import Deadlock, NotLoaded, RankDied, UnexpectedFailure, WrongBits

__all__ = ["ROUTE_ISSUES", "check_route", "find_route_issue"]


def check_route(route: Route, world: ExampleWorld) -> None:
    """Raise the violation if something else is loaded than was saved, unless it is a known issue; that is counted."""
    __tracebackhide__ = True
    count_judged(case_features(route))
    breach = judge_route(route, run_route(world, route))
    if breach is None:
        return
    known = find_route_issue(breach)
    if known is None:
        breach.violation().throw()
    KNOWN_HITS[known.id] += 1


def find_route_issue(breach: RouteBreach) -> LedgerEntry | None:
    """The entry for the breach, if it is known for the installed torch; also one that DCP's own files show too."""
    if breach.route.by != "broadcast":
        return find_known_issue(breach.verdict)
    known: LedgerEntry | None = first_match(ROUTE_ISSUES.values(), lambda issue: issue.matches(breach))
    known = known or _refuses_what_lists_become(breach) or find_known_issue(breach.verdict)
    return _known_of_each_rank(breach) if known is None else known


def _known_of_each_rank(breach: RouteBreach) -> LedgerEntry | None:
    """Where several ranks fail that should not, each alone as an entry says: the entry for the first of them."""
    outcome = breach.verdict.outcome.load
    phase = next((seen.phase for seen in outcome.ranks if isinstance(seen, Raised)), None) if outcome else None
    wrong = _blamed_wrongly(breach, phase or "")
    if outcome is None or len(wrong) < 2:
        return None
    found = []
    for rank in sorted(wrong):
        others = wrong.keys() - {rank}
        ranks = tuple(
            replace(seen, failures=tuple(failure for failure in seen.failures or () if failure[0] not in others))
            for seen in outcome.ranks
            if isinstance(seen, Raised)
        )
        alone = judge_route(breach.route, replace(breach.verdict.outcome, load=replace(outcome, ranks=ranks)))
        found.append(None if alone is None else find_route_issue(alone))
    return found[0] if all(found) else None


def _blamed_wrongly(breach: RouteBreach, phase: str) -> dict[int, ErrorRecord]:
    """Whom every rank blames for that phase, but for those that rightly refuse something."""
    outcome, right = breach.verdict.outcome.load, to_refuse(breach.route)
    if outcome is None:
        return {}
    named = blamed(outcome, phase)
    return {rank: error for rank, error in named.items() if not refuses(error.message, right.get(rank, ()))}


def _tensors(breach: RouteBreach, name: Literal["save", "load"]) -> dict[str, TensorEntry]:
    leaves = breach.route.scenario.leaves(name)
    return {leaf.fqn: leaf.entry for leaf in leaves if isinstance(leaf.entry, TensorEntry)}


def _layouts(breach: RouteBreach) -> list[Layout | None]:
    """How the tensors that are to be loaded are held."""
    return [entry.loaded for entry in _tensors(breach, "load").values()]


def _wrong_bits_of(breach: RouteBreach) -> str:
    """The name of the tensor that has other bits than were saved; nothing where that is not what is wrong."""
    name = ".".join(map(str, breach.breach.path))
    target = _tensors(breach, "load").get(name)
    # A wrong bool is always what the target was before the load.
    as_before = breach.breach.kind is NotLoaded and target is not None and target.dtype == "bool"
    return name if breach.breach.kind is WrongBits or as_before else ""


def _says(phase: str, text: str) -> Callable[[RouteBreach], bool]:
    """Whether every rank that is blamed wrongly has said that, in that phase."""

    def matches(breach: RouteBreach) -> bool:
        said = [error.message for error in _blamed_wrongly(breach, phase).values()]
        return bool(said) and all(re.search(text, message) for message in said)

    return matches


def _refuses_what_lists_become(breach: RouteBreach) -> LedgerEntry | None:
    """Where ranks refuse what is not there, but in lists of which they have no shard: why it is in these."""
    said = {rank: error.message for rank, error in _blamed_wrongly(breach, "plan").items()}
    for known, names in (("empty-dict-in-list", padding), ("empty-dict-beside-objects", lists_of_objects_left)):
        may_say = {rank: no_tensors(names(breach.route.scenario, rank)) for rank in said}
        if said and all(refuses(message, may_say[rank]) for rank, message in said.items()):
            return KNOWN_ISSUES[known]
    return None


def _mixes_collectives(breach: RouteBreach) -> bool:
    """Ranks wait for each other, or fail in what they read, or gloo ends one, which receives more than it has room."""
    kind = breach.breach.kind
    if kind is RankDied and breach.verdict.outcome.load is not None:
        died = [seen for seen in breach.verdict.outcome.load.ranks if isinstance(seen, Died)]
        return all(seen.reason == "killed by SIGABRT" for seen in died)
    return kind is Deadlock or (kind is UnexpectedFailure and bool(_blamed_wrongly(breach, "read")))


def _is_sub_group(breach: RouteBreach) -> bool:
    load = breach.route.scenario.load
    return breach.breach.kind is Deadlock and load.whole_world > load.world_size


def _is_sharded(breach: RouteBreach) -> bool:
    sharded = any(not isinstance(layout, Plain) for layout in _layouts(breach))
    return sharded and breach.route.scenario.load.world_size > 1 and _mixes_collectives(breach)


def _differs_between_ranks(breach: RouteBreach) -> bool:
    """Whether ranks hold different tensors, which DCP's documentation does not allow: they may hang, or mix them up."""
    some = any(isinstance(layout, Plain) and layout.ranks for layout in _layouts(breach))
    return some and (_mixes_collectives(breach) or bool(_wrong_bits_of(breach)))


_SIZE = r"torch\.Size\((.*?)\)"
_SIZE_MISMATCH = re.compile(f"Size mismatch between saved {_SIZE} and current: {_SIZE} for (.*)", re.DOTALL)


def _takes_local_size(breach: RouteBreach) -> bool:
    """Every rank that is blamed wrongly takes the shape of its local tensor for that of the whole."""
    wrong = _blamed_wrongly(breach, "plan")
    return bool(wrong) and all(_has_local_size(breach, rank, error.message) for rank, error in wrong.items())


def _has_local_size(breach: RouteBreach, rank: int, message: str) -> bool:
    said = _SIZE_MISMATCH.fullmatch(message)
    target = _tensors(breach, "load").get(said[3]) if said else None
    layout = target.loaded if target else None
    if said is None or target is None or not isinstance(layout, EnumerableSharding):
        return False
    local, _ = layout.local_boxes(target.shape, rank)
    return layout.holder == "CheckpointableTensor" and [said[1], said[2]] == [str([*local]), str([*target.shape])]


def _fails_alone(breach: RouteBreach) -> bool:
    """Whether ranks wait where the one that reads the file has refused what is in it."""
    return breach.breach.kind is Deadlock and bool(to_refuse_of_the_file(breach.route))


def _is_conjugated(breach: RouteBreach) -> bool:
    lazy = any(
        entry.saved is not None and entry.saved.memory == "conjugated" for entry in _tensors(breach, "save").values()
    )
    failed = breach.breach.kind is Deadlock or _says("read", "view_as_real doesn't work on unresolved")(breach)
    return lazy and failed


_UNORDERED: tuple[Memory, ...] = ("transposed", "strided", "expanded", "negated")
"""Whose bytes from the first element on are not those of the elements in row-major order."""


def _takes_memory_for_elements(breach: RouteBreach) -> bool:
    """What is wrong is not on the rank that has read the file, and it, or its target, is not in row-major order."""
    name = _wrong_bits_of(breach)
    saved, target = (_tensors(breach, side).get(name) for side in ("save", "load"))
    layouts = (saved.saved if saved else None, target.loaded if target else None)
    on_root = f"on rank {breach.route.scenario.load.coordinator}:" in breach.breach.headline
    return (
        isinstance(layouts[1], Plain)
        and not on_root
        and any(layout is not None and layout.memory in _UNORDERED for layout in layouts)
    )


def _takes_first_part(breach: RouteBreach) -> bool:
    """What is wrong is a part of a sharded target that does not begin where the tensor does."""
    target = _tensors(breach, "load").get(_wrong_bits_of(breach))
    place = re.search(r"of its chunk at \[([\d, ]+)\]", breach.breach.headline)
    behind = place is not None and any(map(int, place[1].split(",")))
    return behind and target is not None and not isinstance(target.loaded, Plain)


_TWO = Operation(2)


def _route(entry: Entry | None = None, load: Operation = _TWO) -> Route:
    return Route(from_torch_save(Scenario(entries=() if entry is None else (entry,), load=load)), "broadcast")


_COLLIDING = (TensorEntry("a.b"), Nested("a", entries=(TensorEntry("b", loaded=None),)))
_HALVES = ChunkSharding(0, (0, 1))
_TILES = EnumerableSharding((Tile(0, (1,), (1,)), Tile(0, (0,), (1,))))
_PADDED = EnumerableSharding((Tile(0, (0,), (1,)),), "CheckpointableTensor", padded=True)
_ISSUES = (
    RouteIssue(
        id="broadcast-forgets-path",
        title="load_state_dict makes a BroadcastingTorchSaveReader forget the path that it was made with",
        loses="it can be used with load() alone, which is given the path again",
        route=_route(load=Operation(api="legacy")),
        matches=_says("plan", "checkpoint_id must be set before setting up storage reader"),
    ),
    RouteIssue(
        id="broadcast-without-group",
        title="BroadcastingTorchSaveReader cannot load where torch.distributed is not initialised",
        loses="a file cannot be loaded in a single process, as load() says that it does there",
        route=_route(load=Operation(distributed=False)),
        matches=_says("plan", "Default process group has not been initialized"),
    ),
    RouteIssue(
        id="broadcast-in-sub-group",
        title="BroadcastingTorchSaveReader broadcasts in the default group, whatever process_group load() gets",
        loses="a load by some of the ranks hangs until the watchdog fires",
        route=_route(TensorEntry("a"), Operation(members=(1,))),
        matches=_is_sub_group,
    ),
    RouteIssue(
        id="broadcast-of-other-keys",
        title="BroadcastingTorchSaveReader hangs, or mixes tensors up, where ranks hold different ones",
        loses="load() says only that mismatched keys may result in hangs or errors",
        route=_route(TensorEntry("a", loaded=Plain((0,)))),
        matches=_differs_between_ranks,
        documented=True,
    ),
    RouteIssue(
        id="broadcast-into-shards",
        title="BroadcastingTorchSaveReader receives into a tensor as the target is, and none that is sharded can be",
        loses="a file cannot be loaded into a sharded model, which it is for: ranks hang, or gloo ends their processes",
        route=_route(TensorEntry("a", (2,), loaded=_HALVES)),
        matches=_is_sharded,
    ),
    RouteIssue(
        id="broadcast-first-part",
        title="BroadcastingTorchSaveReader takes an offset within the target's own chunk for one within the tensor",
        loses="each shard silently gets the rows that the first one is to have",
        route=_route(TensorEntry("a", (2,), loaded=_TILES), Operation()),
        matches=_takes_first_part,
    ),
    RouteIssue(
        id="broadcast-of-local-size",
        title="DynamicMetaLoadPlanner takes the size of a CheckpointableTensor's local tensor for that of the whole",
        loses="a file cannot be loaded into the parts of one: each rank refuses the size of its own",
        route=_route(TensorEntry("a", (1,), loaded=_PADDED), Operation()),
        matches=_takes_local_size,
        upstream="pytorch/pytorch#189944",
        since=(2, 15),
    ),
    RouteIssue(
        id="broadcast-of-memory",
        title="BroadcastingTorchSaveReader sends a tensor's memory, with gloo whatever its strides are",
        loses="with a transposed or negated tensor in the file, other ranks silently get other values",
        route=_route(TensorEntry("a", (2, 2), saved=Plain(memory="transposed"))),
        matches=_takes_memory_for_elements,
    ),
    RouteIssue(
        id="broadcast-of-conjugate",
        title="BroadcastingTorchSaveReader cannot send a tensor that is conjugated lazily",
        loses="the rank that reads the file fails, and the others hang until the watchdog fires",
        route=_route(TensorEntry("a", dtype="complex64", saved=Plain(memory="conjugated"))),
        matches=_is_conjugated,
    ),
    RouteIssue(
        id="broadcast-fails-alone",
        title="BroadcastingTorchSaveReader: where names in the file collide once flattened, the rank that reads it "
        "refuses them alone, and the others wait",
        loses="rank 0 alone has the reason, and says it when the watchdog has fired for the others",
        route=Route(from_torch_save(Scenario(entries=_COLLIDING, load=_TWO)), "broadcast"),
        matches=_fails_alone,
    ),
    RouteIssue(
        id="broadcast-of-dtype",
        title="BroadcastingTorchSaveReader cannot send a dtype that the back end does not, as int16 or float8 on gloo",
        loses="a file with one such tensor cannot be loaded into a state dict that has it",
        route=_route(TensorEntry("a", dtype="int16")),
        matches=_says("read", "Invalid scalar type"),
    ),
)

ROUTE_ISSUES: dict[str, RouteIssue] = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
