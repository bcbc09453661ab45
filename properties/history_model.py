"""What may be seen of each checkpoint in the course of a history: a model without a disk, a rank or a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from worlds.histories import History, Save

__all__ = ["NOTHING", "UNKNOWN", "Sight", "sight_text", "walk"]


@dataclass(frozen=True)
class Sight:
    """What a load may see at one checkpoint: the state of one of the ``saves``, by their places in the history, whole.

    Where ``may_fail``, it may also fail, as long as it says on every rank who could not load.
    """

    saves: frozenset[int] = frozenset()
    may_fail: bool = True
    is_unknown: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether a checkpoint is there for sure."""
        return bool(self.saves) and not self.may_fail

    def after(self, save: int, *, returned: bool) -> Sight:
        """What may be seen after one more save there, which returned on every rank, or failed on every rank.

        Of one that failed nothing, all, or less than all may be on the disk; in no case a part of it beside a part of
        what was there.
        """
        if returned:
            return Sight(frozenset({save}), may_fail=False)
        return replace(self, saves=self.saves | {save}, may_fail=True)


NOTHING = Sight()
"""No checkpoint: a load of it must fail."""

UNKNOWN = Sight(is_unknown=True)
"""What a save has left that has reported success, and broken a law."""


def walk(history: History, returned: Mapping[int, bool | None]) -> Iterator[tuple[int, Sight]]:
    """Each step, in the order in which they end, and what may be seen before it, at its own checkpoint.

    ``returned`` says of each save whether it did on every rank, and is ``None`` for one that was refused, or failed in
    its plan, which leaves everything as it was.
    """
    seen: dict[str, Sight] = {}
    for index in history.order:
        step = history.steps[index]
        before = seen.get(step.at, NOTHING)
        yield index, before
        done = returned.get(index)
        if isinstance(step, Save) and done is not None:
            seen[step.at] = before.after(index, returned=done)


def sight_text(sight: Sight) -> str:
    """What may be seen, in words, with steps counted from one."""
    states = [f"step {save + 1}" for save in sorted(sight.saves)]
    if not states:
        return "nothing"
    return " or ".join([*states, *(["a failure"] if sight.may_fail else [])])
