"""What was not reached and nobody has said why: the holes; and reasons that do not hold any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .measured import Function, Jump, Measured, Module
from .places import Missed, NotThere, missed_assertions, missed_at
from .reason import Reason

__all__ = ["Hole", "Judged", "judge"]


@dataclass(frozen=True)
class Hole:
    """Lines of a function that were never reached, or a jump that was never taken from one that was."""

    module: str
    function: str
    first: int
    last: int
    text: str
    to: int | None = None
    """Where the jump leads that was never taken, a negative number for the end of what begins there."""

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole function."""
        return not self.text

    def __str__(self) -> str:
        where = f"{self.module}:{self.function or '(outside)'}"
        if self.is_whole:
            return f"{where}: never called"
        lines = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        if self.to is None:
            return f"{where}:{lines}: {self.text}"
        return f"{where}:{lines}: {self.text} never {'ends there' if self.to < 0 else f'goes to {self.to}'}"


@dataclass(frozen=True)
class Judged:
    """A measure held against the reasons. ``excused`` is what was missed of each module for one of them."""

    modules: tuple[Module, ...]
    left_out: tuple[tuple[Module, str], ...]
    """Those that are not counted, each with the reason."""
    excused: dict[str, dict[str, Missed]]
    holes: tuple[Hole, ...]
    void: tuple[str, ...]
    """In lines, which reasons do not hold."""

    def excused_in(self, module: Module) -> tuple[int, int]:
        """How many of its lines and jumps were missed for a reason."""
        of = self.excused.get(module.name, {}).values()
        return sum(len(missed.lines) for missed in of), sum(len(missed.jumps) for missed in of)


def judge(measured: Measured, reasons: Iterable[Reason], out_of_scope: Iterable[Reason]) -> Judged:
    """Hold what was reached against the reasons why some is not."""
    void: list[str] = []
    left_out = dict(_left_out(measured, out_of_scope, void))
    modules = [module for module in measured.modules if module.name not in left_out]
    excused = {module.name: missed_assertions(module) for module in modules}
    _excuse(measured, reasons, excused, void)
    holes = [hole for module in modules for hole in _holes(module, excused.get(module.name, {}))]
    return Judged(
        tuple(modules),
        tuple((module, left_out[module.name]) for module in measured.modules if module.name in left_out),
        excused,
        tuple(holes),
        tuple(void),
    )


def _left_out(measured: Measured, reasons: Iterable[Reason], void: list[str]) -> Iterator[tuple[str, str]]:
    for reason in reasons:
        for place in reason.places:
            module = measured.module(place.module)
            if module is None:
                void.append(f"{place}: the installed torch has no such module ({reason.why})")
                continue
            if entered := [each.name for each in module.functions if each.name and each.is_entered]:
                void.append(f"{place}: {entered[0]} was reached ({reason.why})")
            yield place.module, reason.why


def _excuse(
    measured: Measured, reasons: Iterable[Reason], excused: dict[str, dict[str, Missed]], void: list[str]
) -> None:
    for reason in reasons:
        for place in reason.places:
            module = measured.module(place.module)
            try:
                if module is None:
                    raise NotThere("the installed torch has no such module")
                found = missed_at(place, module)
            except NotThere as error:
                void.append(f"{place}: {error} ({reason.why})")
                continue
            if not any(found.values()):
                void.append(f"{place}: it was reached ({reason.why})")
            of = excused.setdefault(place.module, {})
            for name, missed in found.items():
                of[name] = of.get(name, Missed()) | missed


def _holes(module: Module, excused: dict[str, Missed]) -> Iterator[Hole]:
    source = module.source.splitlines()
    for function in module.functions:
        spared = excused.get(function.name, Missed())
        lines = sorted(function.missed - spared.lines)
        if function.name and not function.is_entered and lines and not spared:
            yield Hole(module.name, function.name, lines[0], lines[-1], "")
            continue
        for first, last in _runs(lines, function):
            yield Hole(module.name, function.name, first, last, source[first - 1].strip())
        for start, end in sorted(_own_jumps(function) - spared.jumps):
            yield Hole(module.name, function.name, start, start, source[start - 1].strip(), end)


def _own_jumps(function: Function) -> frozenset[Jump]:
    """Those that are not but another sight of a line that was not reached."""
    return frozenset(
        (start, end) for start, end in function.not_taken if start in function.reached and end not in function.missed
    )


def _runs(lines: Sequence[int], function: Function) -> Iterator[tuple[int, int]]:
    """Lines that follow each other, but for what is no statement between them."""
    others = function.reached
    run: list[int] = []
    for line in lines:
        if run and any(between in others for between in range(run[-1], line)):
            yield run[0], run[-1]
            run = []
        run.append(line)
    if run:
        yield run[0], run[-1]
