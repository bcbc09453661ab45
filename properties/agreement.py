"""Whether two worlds saw the same of one scenario: a pure function of the two outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from worlds.concise import pretty
from worlds.outcome import Hit, OperationOutcome, Outcome, Raised, RankOutcome, Returned
from worlds.scenario import Scenario

from .judge import judge
from .judged import count_judged
from .known_issues import find_known_issue

__all__ = ["WorldsDisagree", "compare_worlds", "is_race"]


class WorldsDisagree(AssertionError):
    """Two worlds saw different things of one scenario: a bug of the simulated world until shown otherwise."""


def compare_worlds(scenario: Scenario, simulated: Outcome, real: Outcome) -> None:
    """Raise :class:`WorldsDisagree` unless the verdict, what each rank saw and the faults that were reached are equal.

    The order of events, and where in torch an exception was raised, are a world's own. Of what :func:`is_race` says is
    one, each world must keep the laws, but for known issues.
    """
    __tracebackhide__ = True
    verdicts = [judge(scenario, outcome) for outcome in (simulated, real)]
    race = is_race(scenario)
    count_judged([("two worlds", "a race, judged in each" if race else "compared rank by rank")])
    if race:
        wrong = [str(verdict) for verdict in verdicts if not verdict and find_known_issue(verdict) is None]
        differences = iter(wrong)
    else:
        differences = _differences(scenario, simulated, real)
    found = list(differences)
    if found:
        said = [f"{name}  {verdict}" for name, verdict in zip(("simulated", "real     "), verdicts, strict=True)]
        raise WorldsDisagree("\n".join([*found, "", f"scenario = {pretty(scenario)}", "", *said]))


def is_race(scenario: Scenario) -> bool:
    """Whether the outcome depends on who is faster, which the system decides.

    Of a rank's threads only some may fail, or a rank may come so late that it sees what rank 0 has written by then
    (``uncoordinated-overwrite``).
    """
    late = not scenario.save.coordinated and not scenario.writer.overwrite and scenario.save.world_size > 1
    return late or (scenario.writer.thread_count > 1 and any(fault.place.per_item for fault in scenario.all_faults))


def _differences(scenario: Scenario, simulated: Outcome, real: Outcome) -> Iterator[str]:
    yield from _operation("save", simulated.save, real.save)
    if (simulated.load is None) != (real.load is None):
        yield "one world came to the load, and the other did not"
    if simulated.load is not None and real.load is not None:
        yield from _operation("load", simulated.load, real.load)
    if scenario.writer.thread_count > 1:
        return  # which thread writes which file is the system's affair
    if simulated.metadata != real.metadata or simulated.metadata_error != real.metadata_error:
        yield "the metadata differ"
        yield f"  simulated  {simulated.metadata or simulated.metadata_error}"
        yield f"  real       {real.metadata or real.metadata_error}"
    if simulated.files != real.files:
        yield f"the files differ: {simulated.files} and {real.files}"


def _operation(name: str, simulated: OperationOutcome, real: OperationOutcome) -> Iterator[str]:
    for rank, (one, other) in enumerate(zip(simulated.ranks, real.ranks, strict=True)):
        if _comparable(one) != _comparable(other):
            yield f"{name}: rank {rank} saw different things"
            yield f"  simulated  {one}"
            yield f"  real       {other}"
    if _indices(simulated.hits) != _indices(real.hits):
        yield f"{name}: other faults were reached: {_indices(simulated.hits)} and {_indices(real.hits)}"


def _comparable(seen: RankOutcome) -> RankOutcome:
    match seen:
        case Raised():
            return replace(seen, origin="")
        case Returned():
            return replace(seen, metadata=None)  # that of the whole is compared
    return seen


def _indices(hits: tuple[Hit, ...]) -> list[int]:
    return sorted(hit.index for hit in hits)
