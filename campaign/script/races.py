"""What would be a race between threads, or ranks, made certain by a class of the script."""

from __future__ import annotations

from worlds.outcome import Raised, RankOutcome

from .faults import failing_class
from .files import file_faults
from .known import CannotWrite
from .plan import Plan
from .storage import storage_class

__all__ = ["first_method", "late_writer", "late_writer_class", "thread_classes", "thread_order"]

_THREADS_FIRST = '''\
class EagerThread(threading.Thread):
    """Which thread of the writer comes first is a race. Here it is always the new one."""

    def start(self):
        super().start()
        self.join(timeout=1)'''
_THREADS_LAST = '''\
class LateThread(threading.Thread):
    """Which thread of the writer comes first is a race. Here it is never the new one."""

    def start(self):
        if "_write_files" not in self.name:  # it is none of the writer
            super().start()

    def join(self, timeout=None):
        if self.ident is None:
            super().start()
        super().join(timeout)'''

_LATE_UPLOAD = '''\
class LateWriter({base}):
    """How far the upload gets before the caller goes on is a race. Here it waits for the caller."""

    def {begin}:
        overwritten.wait(timeout=60)
        return super().{goes_on}'''


_OVERTAKEN = '''\
def late(method):
    """How far an upload gets meanwhile is a race. Here it begins when the next step has ended."""

    def begin(*args, **kwargs):
        ended.wait(timeout=60)
        return method(*args, **kwargs)

    return begin'''


_TWO_UPLOADS = '''\
class LateWriter({base}):
    """Which upload gets on first is a race. Here rank {root} ends the first one, and the others begin both."""

    def reset(self, checkpoint_id=None):
        called.wait(timeout=60)
        if dist.get_rank() == {root} and checkpoint_id == path:
            concurrent.futures.wait([first], timeout=10)
        super().reset(checkpoint_id)

    def prepare_global_plan(self, plans):
        time.sleep(2)  # for the others to send what belongs to the second one
        return super().prepare_global_plan(plans)'''


_LATE_RANKS = '''\
class LateWriter({base}):
    """Which rank is faster is a race. Here the others wait until rank {first} has written its metadata."""

    def {begin}:
        end = time.monotonic() + {seconds}
        while dist.get_rank() != {first} and time.monotonic() < end:
            if os.path.exists(os.path.join(path, "__0.metadata")):
                break
            time.sleep(0.01)
        return super().{goes_on}'''
_TOLD = "reset(self, checkpoint_id=None)", "reset(checkpoint_id)"
_ASKED = "storage_meta(self)", "storage_meta()"
"""The first method that is called of a writer which is told the path, and of one that is not: how each begins, and what
it goes on with."""
_SECONDS = 10
"""How long ranks wait for another one in a torch that makes that wait for them."""


def late_writer_class(plan: Plan) -> list[str]:
    """The class of writers that makes it certain who comes first: the caller of ``async_save``, or rank 0."""
    base = failing_class(plan, "save", "writer") or storage_class(plan.scenario.storage, "writer").name
    told = plan.scenario.save.named_by != "storage"
    begin, goes_on = _TOLD if told else _ASKED
    if plan.overwrites:
        return [_LATE_UPLOAD.format(base=base, begin=begin, goes_on=goes_on)]
    if plan.is_overtaken:
        return [_OVERTAKEN]
    if plan.in_flight:
        if not told:
            raise CannotWrite("there is no script for two uploads by their storage alone yet")
        return [_TWO_UPLOADS.format(base=base, root=plan.members("save")[0])]
    if _is_race_of_ranks(plan):
        first = plan.members("save")[0]
        return [_LATE_RANKS.format(base=base, first=first, seconds=_SECONDS, begin=begin, goes_on=goes_on)]
    return []


def first_method(plan: Plan) -> str:
    """The name of the first method that a save calls of its writer."""
    begin, _ = _TOLD if plan.scenario.save.named_by != "storage" else _ASKED
    return begin.partition("(")[0]


def late_writer(plan: Plan) -> str | None:
    """The name of that class, where there is one."""
    return "LateWriter" if plan.overwrites or plan.in_flight or _is_race_of_ranks(plan) else None


def _is_race_of_ranks(plan: Plan) -> bool:
    """Whether ranks look for what rank 0 writes, which they must find; what another order shows has no script."""
    save = plan.scenario.save
    if save.coordinated or plan.scenario.writer.overwrite or save.world_size == 1:
        return False
    first, *others = plan.verdict.outcome.save.ranks
    if _finds_a_checkpoint(first) or not all(map(_finds_a_checkpoint, others)):
        raise CannotWrite("there is no script for a race in which rank 0 is not the first to save")
    return True


def _finds_a_checkpoint(seen: RankOutcome) -> bool:
    return isinstance(seen, Raised) and seen.error.message.startswith("Checkpoint already exists")


def _orders_threads(plan: Plan) -> bool:
    """Whether the order of the writer's threads decides on the outcome."""
    if plan.step is not None and plan.kind is not None and plan.scenario.writer.thread_count > 1:
        return True  # what goes wrong after other saves may do so in any of them
    places = [fault.place for fault in plan.faults("save")] + [fault.place for fault in file_faults(plan, "save")]
    return plan.scenario.writer.thread_count > 1 and any(place.per_item for place in places)


def thread_classes(plan: Plan) -> list[str]:
    """The class of threads that makes their order certain, where it decides on the outcome."""
    if not _orders_threads(plan):
        return []
    return [_THREADS_FIRST if plan.scenario.save.schedule.threads_first else _THREADS_LAST]


def thread_order(plan: Plan) -> list[str]:
    """The statement that puts that class into use."""
    if not _orders_threads(plan):
        return []
    return [f"threading.Thread = {'Eager' if plan.scenario.save.schedule.threads_first else 'Late'}Thread"]
