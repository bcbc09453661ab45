"""What a measure has shown: for each bug how soon and how small it was found, and for all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..planted.bug import Bug
from ..size import size_of
from .race import LAWS, Record, who_of

__all__ = ["Table", "lines", "markdown", "table"]

_COUNTED = ("ranks", "entries", "elements", "faults")
_MORE_ELEMENTS = 4
"""So many elements more than the witness a tensor may have in what was shrunk to be as small as that."""


@dataclass(frozen=True)
class Row:
    """A bug over all seeds: how often it was found, after how many examples and CPU seconds, by which laws.

    ``smallest`` and ``witness`` are ranks, entries, elements and faults, of the smallest case that was found and of the
    smallest that is known; ``as_small`` says whether what each seed has come to is no larger than that, and ``cut``
    whether there was no time to shrink one to its end.
    """

    bug: str
    races: int
    found: int
    examples: tuple[int, ...]
    cpu: tuple[float, ...]
    laws: tuple[str, ...]
    smallest: tuple[int, ...] | None
    witness: tuple[int, ...] | None
    as_small: bool
    cut: bool
    lost: int


Table = Mapping[str, Sequence[Row]]
"""The rows of each who looked for bugs, the laws first."""


def table(records: Sequence[Record], bugs: Mapping[str, Bug]) -> Table:
    """What all have found; the laws are there though there be nothing of them."""
    found: dict[str, Sequence[Row]] = {LAWS: ()}
    for who in dict.fromkeys(map(who_of, records)):
        found[who] = _rows([record for record in records if who_of(record) == who], bugs)
    return found


def _rows(records: Sequence[Record], bugs: Mapping[str, Bug]) -> list[Row]:
    """One for each bug of which there is a record, those that took longest last, and those that were missed."""
    by_bug: dict[str, list[Record]] = {}
    for record in records:
        by_bug.setdefault(record["bug"], []).append(record)
    found = [_row(bug, of, bugs.get(bug)) for bug, of in by_bug.items()]
    return sorted(found, key=lambda row: (-row.found / row.races, median(row.examples or (0,)), row.bug))


def _row(bug: str, records: Sequence[Record], known: Bug | None) -> Row:
    found = [record for record in records if record["state"] == "found"]
    sizes = [tuple(record["size"][name] for name in _COUNTED) for record in found if "size" in record]
    witness = None
    if known is not None:
        size = size_of(known.witness.case).to_data()
        witness = tuple(size[name] for name in _COUNTED)
    return Row(
        bug,
        races=len(records),
        found=len(found),
        examples=tuple(sorted(record["examples"] for record in found)),
        cpu=tuple(sorted(record["cpu"] for record in found)),
        laws=tuple(law for law, _ in Counter(record["law"] for record in found).most_common()),
        smallest=min(sizes, default=None),
        witness=witness,
        as_small=len(sizes) == len(found) > 0 and all(_is_as_small(size, witness) for size in sizes),
        cut=any(not record.get("shrunk", True) for record in found),
        lost=sum(len(record.get("lost", ())) + (record["state"] == "lost") for record in records),
    )


def _is_as_small(size: tuple[int, ...], witness: tuple[int, ...] | None) -> bool:
    if witness is None:
        return False
    more = tuple(_MORE_ELEMENTS if name == "elements" else 0 for name in _COUNTED)
    return all(one <= other + also for one, other, also in zip(size, witness, more, strict=True))


def _summary(table: Table) -> Iterator[str]:
    """What there is to say of all bugs, in lines."""
    for who, found in table.items():
        if who == LAWS:
            yield from _said_of(found)
        else:
            yield from (f"{who}: {said}" for said in (*_said_of(found), *_beside(table[LAWS], found)))


def _said_of(found: Sequence[Row]) -> Iterator[str]:
    if not found:
        return
    races, hits = sum(row.races for row in found), sum(row.found for row in found)
    examples = [number for row in found for number in row.examples]
    yield f"{hits} of {races} races found the bug, {sum(row.found > 0 for row in found)} of {len(found)} bugs"
    if examples:
        cpu = [seconds for row in found for seconds in row.cpu]
        yield f"after {median(examples):g} examples and {median(cpu):g} s of CPU in the median"
    if any(row.smallest for row in found):
        small = sum(row.as_small for row in found)
        yield f"{small} of {sum(row.found > 0 for row in found)} that were found became as small as the witness"
    if lost := sum(row.lost for row in found):
        yield f"{lost} times a law, or a race, died or hung"


def _beside(laws: Sequence[Row], others: Sequence[Row]) -> Iterator[str]:
    """What the laws found of the same bugs."""
    by_bug = {row.bug: row for row in laws}
    pairs = [(by_bug[row.bug], row) for row in others if row.bug in by_bug]
    if not pairs:
        return
    both = [(law, other) for law, other in pairs if law.found and other.found]
    laws_alone, alone = (sum(pair[which].found > 0 for pair in pairs) - len(both) for which in (0, 1))
    yield (
        f"of the {len(pairs)} bugs that the laws looked for too, both found {len(both)}, the laws alone {laws_alone}, "
        f"and it alone {alone}"
    )
    if both:
        examples = median(median(other.examples) / median(law.examples) for law, other in both)
        cpu = median(median(other.cpu) / max(0.01, median(law.cpu)) for law, other in both)
        yield f"where both did, it took {examples:.3g} times the examples and {cpu:.3g} times the CPU, in the median"


_HEADER = ("bug", "found", "examples", "CPU s", "law", "size", "witness")
_OF_OTHERS = ("found", "examples", "CPU s")


def _cells(table: Table) -> list[tuple[str, ...]]:
    """The header, and a line for each bug."""
    others = {who: {row.bug: row for row in rows} for who, rows in table.items() if who != LAWS}
    lines = {row.bug: _cells_of(row) for row in table[LAWS]}
    for bug in (bug for rows in others.values() for bug in rows):
        lines.setdefault(bug, (bug, *[""] * (len(_HEADER) - 1)))
    for rows in others.values():
        for bug, cells in lines.items():
            lines[bug] = (*cells, *(_found(rows[bug]) if bug in rows else [""] * len(_OF_OTHERS)))
    return [(*_HEADER, *(f"{what}, {who}" for who in others for what in _OF_OTHERS)), *lines.values()]


def _cells_of(row: Row) -> tuple[str, ...]:
    return (
        row.bug,
        *_found(row),
        ", ".join(row.laws),
        _size(row.smallest) + ("" if row.as_small or row.smallest is None else " !") + ("…" if row.cut else ""),
        _size(row.witness),
    )


def _found(row: Row) -> tuple[str, ...]:
    found = f"{row.found}/{row.races}" + (f", {row.lost} lost" if row.lost else "")
    return found, _spread(row.examples), _spread(row.cpu)


def _spread(numbers: Sequence[float]) -> str:
    if not numbers:
        return ""
    middle = f"{median(numbers):.4g}"
    return middle if len(numbers) == 1 else f"{middle} ({numbers[0]:.4g}–{numbers[-1]:.4g})"


def _size(size: tuple[int, ...] | None) -> str:
    return "" if size is None else "/".join(map(str, size))


_LEGEND = (
    f"A size is {'/'.join(_COUNTED)}; with !, what was shrunk is larger than the witness, and with … there was no time "
    "to shrink it to its end."
)


def lines(table: Table) -> Iterator[str]:
    """The table as text."""
    every = _cells(table)
    widths = [max(len(cells[column]) for cells in every) for column in range(len(every[0]))]
    for cells in every:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    yield ""
    yield _LEGEND
    yield from _summary(table)


def markdown(table: Table) -> str:
    """The same in Markdown."""
    said = [f"- {line}" for line in _summary(table)]
    header, *every = _cells(table)
    drawn = ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *every)]
    return "\n".join([*said, "", *drawn, "", _LEGEND]) + "\n"
