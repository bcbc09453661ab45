"""Judges a training that was saved and loaded: it goes on exactly as the one that was saved would have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from properties.violations import (
    ChangedInput,
    Deadlock,
    NotLoaded,
    RankDied,
    UnexpectedFailure,
    Violation,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)
from worlds.outcome import Deadlocked, Died
from worlds.training import Failed, Held, HeldTensor, Loaded, Saved, Training, TrainingOutcome

from .breach import TrainingBreach, describe_failures
from .whole import Whole, WholeTensor, is_elsewhere, places, put_together

__all__ = ["judge_training"]


def judge_training(training: Training, outcome: TrainingOutcome) -> Iterator[TrainingBreach]:
    """Everything that is wrong, in the order in which it happened.

    Each parameter, persistent buffer, optimizer state and hyperparameter must have, on each rank, the bits that the
    ranks of the save held together, and everything else must be as it was. What the save itself changed is told apart
    from what the load did not restore: the latter is compared with what was there when the save returned.
    """
    judged = _Judged(training, outcome)
    broken = list(judged.failures("save"))
    yield from broken
    saved = [rank for rank in outcome.saved if isinstance(rank, Saved)]
    if broken:
        return
    for rank, seen in enumerate(saved):
        yield from judged.changes(rank, seen)
    broken = list(judged.failures("load"))
    yield from broken
    if broken:
        return
    whole = put_together([rank.after for rank in saved])
    for rank, target in enumerate(outcome.loaded):
        assert isinstance(target, Loaded)
        yield from judged.target(rank, whole, target)


@dataclass(frozen=True)
class _Judged:
    training: Training
    outcome: TrainingOutcome

    def breach(
        self, kind: type[Violation], side: Literal["save", "load"], headline: str, **about: object
    ) -> TrainingBreach:
        return TrainingBreach(kind, f"{side}: {headline}", self.training, self.outcome, side, **about)  # type: ignore[arg-type]

    def failures(self, side: Literal["save", "load"]) -> Iterator[TrainingBreach]:
        """A breach for each thing that ranks raised; else for those that died, or else for those that wait.

        Where ranks raise, the others wait for them, and say nothing new; two of them may have met different bugs.
        """
        ranks = self.outcome.saved if side == "save" else self.outcome.loaded
        raised: dict[Failed, list[int]] = {}
        for rank, seen in enumerate(ranks):
            if isinstance(seen, Failed):
                raised.setdefault(seen, []).append(rank)
        for failed, there in raised.items():
            yield self._failure(UnexpectedFailure, side, there, "raised", failed)
        died = [rank for rank, seen in enumerate(ranks) if isinstance(seen, Died)]
        stuck = [rank for rank, seen in enumerate(ranks) if isinstance(seen, Deadlocked)]
        if died and not raised:
            yield self._failure(RankDied, side, died, "died")
        elif stuck and not raised:
            yield self._failure(Deadlock, side, stuck, "waiting for ever")

    def _failure(
        self,
        kind: type[Violation],
        side: Literal["save", "load"],
        ranks: list[int],
        what: str,
        failed: Failed | None = None,
    ) -> TrainingBreach:
        first, *others = describe_failures(self.outcome.saved if side == "save" else self.outcome.loaded)
        named = f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
        return self.breach(
            kind,
            side,
            f"{named} {what}, where all should return",
            rank=ranks[0],
            expected="returns on every rank",
            seen=first,
            detail=tuple(f"          {line}" for line in others),
            failed=failed,
        )

    def changes(self, rank: int, saved: Saved) -> Iterator[TrainingBreach]:
        """What the save changed on a rank."""
        for before, after in (
            (_tensors(saved.before), _tensors(saved.after)),
            (_values(saved.before), _values(saved.after)),
        ):
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name):
                    yield self.breach(
                        ChangedInput,
                        "save",
                        f"{name} on rank {rank} is not what it was before",
                        name=name,
                        rank=rank,
                        expected=_text(before.get(name)),
                        seen=_text(after.get(name)),
                    )

    def target(self, rank: int, whole: Whole, loaded: Loaded) -> Iterator[TrainingBreach]:
        """What is wrong with what a rank holds after the load, and with what it has given to it."""
        for name in loaded.lost:
            headline = f"{name} on rank {rank} has gone from the state dict that was given to be loaded"
            yield self.breach(ChangedInput, "load", headline, name=f"given.{name}", rank=rank, expected="stays")
        before, after = _tensors(loaded.before), _tensors(loaded.after)
        kept = {name for name, tensor in before.items() if self.is_left_out(name, tensor)}
        elsewhere = {
            name
            for name in whole.tensors
            if name not in after and (is_elsewhere(name, after) or self.is_of_another_stage(rank, name))
        }
        for name in sorted(_without_gradients({*whole.tensors, *after}) - kept - elsewhere):
            wanted, got = whole.tensors.get(name), after.get(name)
            if wanted is None or got is None:
                yield self._wrong_key(rank, name, got is None, _text(got))
            else:
                yield from self._tensor(rank, name, wanted, before.get(name), got)
        for name in sorted(kept):
            yield from self._kept(WrongBits, rank, name, before[name], after.get(name))
        yield from self._target_values(rank, whole, loaded)

    def _target_values(self, rank: int, whole: Whole, loaded: Loaded) -> Iterator[TrainingBreach]:
        before, values = _values(loaded.before), _values(loaded.after)
        kept = {name for name in before if self.is_not_asked_for(name) or self.is_list_of_a_stage(name)}
        elsewhere = {name for name in whole.values if name not in values and self.is_of_another_stage(rank, name)}
        for name in sorted(kept):
            yield from self._kept(WrongObject, rank, name, before[name], values.get(name))
        for name in sorted({*whole.values, *values} - kept - elsewhere):
            wanted_text, text = whole.values.get(name), values.get(name)
            if wanted_text is None or text is None:
                yield self._wrong_key(rank, name, text is None, _text(text))
            elif wanted_text != text:
                about = {"expected": _text(wanted_text), "seen": _text(text)}
                headline = f"{name} on rank {rank} is not what was saved"
                yield self.breach(WrongObject, "load", headline, name=name, rank=rank, **about)

    def _kept(
        self, kind: type[Violation], rank: int, name: str, before: HeldTensor | str, after: HeldTensor | str | None
    ) -> Iterator[TrainingBreach]:
        if before != after:
            about = {"expected": _text(before), "seen": _text(after)}
            headline = f"{name} on rank {rank} is not to be loaded, and is not what it was before"
            yield self.breach(kind, "load", headline, name=name, rank=rank, **about)

    def is_left_out(self, name: str, tensor: HeldTensor) -> bool:
        """Whether the load does not have the tensor, on purpose."""
        ignored = tensor.frozen and self.training.ignore_frozen
        return tensor.scratch or ignored or self.is_not_asked_for(name)

    def is_not_asked_for(self, name: str) -> bool:
        """Whether it is of a layer that is none of the submodules that are."""
        loaded = self.training.loaded
        part, *rest = name.split(".")
        path = tuple(int(place) for place in itertools.takewhile(str.isdigit, rest))
        there = bool(path) and self.training.is_asked_for(loaded, path)
        return bool(loaded.submodules) and part == "model" and not there

    def _wrong_key(self, rank: int, name: str, missing: bool, seen: str) -> TrainingBreach:
        what = "is not there, and was saved" if missing else "is there, and was not saved"
        return self.breach(
            WrongKeys, "load", f"{name} on rank {rank} {what}", name=name, rank=rank, seen=seen, missing=missing
        )

    def is_of_another_stage(self, rank: int, name: str) -> bool:
        """Whether it is of a layer that the rank of the load does not have."""
        place = name.removeprefix("model.").removeprefix("optim.state.").partition(".")[0]
        return place.isdigit() and int(place) not in self.training.places_of(self.training.loaded, rank)

    def is_list_of_a_stage(self, name: str) -> bool:
        """Whether it is what an optimizer has parameters of, which is not saved, and is another list in each stage."""
        sides = (self.training.saved, self.training.loaded)
        return name.endswith(".params") and any(side.parallelism.stages > 1 for side in sides)

    def _tensor(
        self, rank: int, name: str, wanted: WholeTensor, before: HeldTensor | None, got: HeldTensor
    ) -> Iterator[TrainingBreach]:
        layout = got.layout if before is None else before.layout
        expected = (wanted.dtype, wanted.shape, layout)
        seen = (got.dtype, got.shape, got.layout)
        if expected != seen:
            about = {"expected": " ".join(map(str, expected)), "seen": " ".join(map(str, seen))}
            headline = f"{name} on rank {rank} has another dtype, shape or sharding"
            yield self.breach(WrongTensor, "load", headline, name=name, rank=rank, **about)
            return
        held = dict(place for chunk in got.chunks for place in places(chunk, got.shape))
        wrong = sorted(index for index, element in held.items() if element != wanted.elements[index])
        if not wrong:
            return
        was = dict(place for chunk in before.chunks for place in places(chunk, got.shape)) if before else {}
        untouched = [index for index in wrong if was.get(index) == held[index]]
        kind, what = (NotLoaded, "were not loaded") if untouched == wrong else (WrongBits, "are not what was saved")
        headline = f"{name} on rank {rank}: {len(wrong)} of {len(held)} elements {what}"
        detail = tuple(
            f"element   {name}{_place(index, got.shape)}: expected {wanted.elements[index].hex()}, "
            f"seen {held[index].hex()}{', as before the load' if index in untouched else ''}"
            for index in wrong[:6]
        )
        yield self.breach(kind, "load", headline, name=name, rank=rank, detail=detail)


def _without_gradients(names: set[str]) -> set[str]:
    """Those of which a checkpoint has something; gradients that a load finds are left as they are, and that is all."""
    return {name for name in names if not name.startswith("grad.")}


def _tensors(held: Held) -> dict[str, HeldTensor]:
    return dict(held.tensors)


def _values(held: Held) -> dict[str, str]:
    return dict(held.values)


def _text(value: HeldTensor | str | None) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return value
    chunks = ", ".join(f"{chunk.data.hex()} at {list(chunk.offsets)}" for chunk in value.chunks)
    return f"{value.dtype} {value.shape} {value.layout}: {chunks}"


def _place(index: int, shape: tuple[int, ...]) -> list[int]:
    place = []
    for extent in reversed(shape):
        index, within = divmod(index, extent)
        place.append(within)
    return place[::-1]
