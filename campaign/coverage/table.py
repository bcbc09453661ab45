"""What was reached, as a table, and what was not, as lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .holes import Judged
from .measured import Measured, Module
from .reason import Reason

__all__ = ["data", "lines", "markdown"]

Pair = tuple[int, int]


def _total(pairs: Iterable[Pair]) -> Pair:
    found = list(pairs)
    return sum(one for one, _ in found), sum(all_ for _, all_ in found)


def _share(pair: Pair) -> str:
    reached, of = pair
    return f"{reached}/{of}" + (f" {reached / of:6.1%}" if of else "")


def _cells(name: str, lines: Pair, jumps: Pair, excused: Pair, others: Sequence[tuple[Pair, Pair]]) -> tuple[str, ...]:
    theirs = [_share(pair) for other in others for pair in other]
    return (name, _share(lines), _share(jumps), "/".join(map(str, excused)), *theirs)


def _rows(judged: Judged, others: Mapping[str, Measured]) -> list[tuple[str, ...]]:
    header = ["module", "statements", "branches", "with a reason"]
    header += [f"{what}, {name}" for name in others for what in ("statements", "branches")]

    def of(modules: Sequence[Module], name: str) -> tuple[str, ...]:
        excused = [judged.excused_in(module) for module in modules]
        theirs = []
        for other in others.values():
            found = [other.module(module.name) for module in modules]
            there = [each for each in found if each is not None]
            theirs.append((_total(each.lines() for each in there), _total(each.jumps() for each in there)))
        return _cells(
            name,
            _total(module.lines() for module in modules),
            _total(module.jumps() for module in modules),
            (sum(lines for lines, _ in excused), sum(jumps for _, jumps in excused)),
            theirs,
        )

    rows = [of([module], module.name) for module in judged.modules]
    return [tuple(header), *rows, of(judged.modules, "all of them")]


def lines(judged: Judged, reasons: Sequence[Reason], others: Mapping[str, Measured]) -> Iterator[str]:
    """The table and the lists as text; ``others`` reached the same package, each by its name."""
    table = _rows(judged, others)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for number, row in enumerate(table):
        if number == len(table) - 1:
            yield ""
        yield "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
    for title, found in _lists(judged, reasons):
        yield ""
        yield f"{title}:"
        yield from (f"  {each}" for each in found or ["nothing"])


def _lists(judged: Judged, reasons: Sequence[Reason]) -> Iterator[tuple[str, list[str]]]:
    by_reason: dict[str, list[str]] = {}
    for module, why in judged.left_out:
        by_reason.setdefault(why, []).append(module.name)
    yield "Not on the path of a save and a load", [f"{why}: {', '.join(names)}" for why, names in by_reason.items()]
    never = [f"{reason.why}: {'; '.join(map(str, reason.places))}" for reason in reasons]
    yield "Never reached, for a reason", never
    yield "Never reached", [str(hole) for hole in judged.holes]
    if judged.void:
        yield "Reasons that do not hold", list(judged.void)


def markdown(judged: Judged, reasons: Sequence[Reason], others: Mapping[str, Measured]) -> str:
    """The same in Markdown."""
    header, *rows = _rows(judged, others)
    said = ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows)]
    for title, found in _lists(judged, reasons):
        said += ["", f"{title}:", ""]
        said += [f"- {each}" for each in found or ["nothing"]]
    return "\n".join(said) + "\n"


def data(judged: Judged, others: Mapping[str, Measured]) -> dict[str, Any]:
    """The same as JSON has it."""
    modules = {}
    for module in judged.modules:
        modules[module.name] = {
            "statements": module.lines(),
            "branches": module.jumps(),
            "with_a_reason": judged.excused_in(module),
            **{
                name: {"statements": found.lines(), "branches": found.jumps()}
                for name, other in others.items()
                if (found := other.module(module.name)) is not None
            },
        }
    return {
        "modules": modules,
        "left_out": {module.name: why for module, why in judged.left_out},
        "holes": [str(hole) for hole in judged.holes],
        "void": list(judged.void),
    }
