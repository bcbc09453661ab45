"""What the verb ``measure`` does, but for its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from properties.ledger import torch_release

from ..files import write_whole
from ..laws import chosen_laws
from ..planted.catalogue import CATALOGUE
from ..status import Refused
from .plot import found_over_examples
from .race import LAWS, Course, Racer, Record
from .run import chosen_bugs, measure, prepare, read_results, warm_up
from .table import lines, markdown, table
from .torch_tests import steady_tests

__all__ = ["list_bugs", "run_measure", "write_tables"]


def list_bugs() -> list[str]:
    """Each bug of the catalogue in a line."""
    release = torch_release()
    return [
        f"{bug.id}: {bug.title}"
        + (f" ({bug.upstream})" if bug.upstream else "")
        + ("" if bug.applies_to(release) else " - not for this torch")
        for bug in CATALOGUE.values()
    ]


def run_measure(
    names: Sequence[str],
    directory: Path,
    *,
    laws: Sequence[str],
    alone: bool,
    seeds: int,
    examples: int | None,
    workers: int,
    shrink_seconds: float,
    patience: float,
    by_chance: bool,
    torch_tests: Path | None,
    without_laws: bool,
    show: Callable[[str], None],
) -> None:
    """Race against the bugs of those names, or of all that the installed torch can have, but for what is there already.

    ``seeds`` is how many: 0, 1, and so on. With ``alone``, bugs of which the witness breaks another law are left out.
    With ``by_chance``, the laws look for them with purely random choices too, and with ``torch_tests``, torch's own
    tests in that folder; ``without_laws``, these alone.
    """
    if without_laws and not by_chance and torch_tests is None:
        raise Refused("without the laws nobody looks for the bugs: give --random or --torch-tests too")
    prepare()
    release = torch_release()
    bugs = [bug for bug in chosen_bugs(names) if bug.applies_to(release)]
    course = Course(chosen_laws(laws, "simulated"), examples, alone, shrink_seconds, patience)
    if alone:
        bugs = [bug for bug in bugs if bug.witness.law in {law.name for law in course.laws}]
    racers: list[Racer] = [] if without_laws else [course]
    if by_chance:
        racers.append(replace(course, by_chance=True))
    if torch_tests is not None:
        racers.append(steady_tests(torch_tests, directory / "torch-tests", patience=patience, show=show))
    if by_chance or not without_laws:
        warm_up(course.laws)
    for record in measure(bugs, range(seeds), racers, directory, workers=workers):
        show(_tell(record))


def write_tables(directory: Path) -> list[str]:
    """Write the table and the plot of what is in the directory; the table as lines of text."""
    records = read_results(directory)
    found = table(records, CATALOGUE)
    write_whole(directory / "measure.md", markdown(found))
    write_whole(directory / "found.svg", found_over_examples(records) + "\n")
    return list(lines(found))


def _tell(record: Record) -> str:
    """What came of a race, in a line."""
    bug = f"{record['bug']}, seed {record['seed']}" + (f", {record['who']}" if record["who"] != LAWS else "")
    match record["state"]:
        case "found":
            law, examples, cpu = record["law"], record["examples"], record["cpu"]
            return f"{bug}: found by {law} after {examples} examples, {cpu} s: {record['headline']}"
        case "missed":
            return f"{bug}: missed in {record['examples']} examples, {record['cpu']} s"
    return f"{bug}: {record['state']}, {record.get('how', '')}"
