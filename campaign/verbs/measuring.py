"""The verbs about how good the laws are: what they find of planted bugs, what they reach, and if twice the same."""

from __future__ import annotations

from pathlib import Path

import click

from ..asked import seconds_of
from ..coverage.verb import run_coverage
from ..determinism.verb import run_determinism
from ..measure.verb import list_bugs, run_measure, write_tables
from ..status import NEWS, NOTHING, TEXT
from ._tell import tell

__all__ = ["coverage", "determinism", "measure"]


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(epilog=TEXT)
@click.argument("bugs", nargs=-1, metavar="[BUG]...")
@click.option("--into", metavar="DIR", default="measure", show_default=True, help="Where results are, and go on.")
@click.option("--list", "listed", is_flag=True, help="Show the planted bugs, and do nothing else.")
@click.option("--law", "laws", metavar="LAW", multiple=True, help="Let these laws alone look for the bugs.")
@click.option("--alone", is_flag=True, help="Let the law alone look for a bug that its smallest known case breaks.")
@click.option("--random", "by_chance", is_flag=True, help="Let the laws look for it with purely random choices, too.")
@click.option(
    "--torch-tests", metavar="DIR", type=_FOLDER, help="Let torch's own tests look for it, too; see coverage."
)
@click.option("--without-laws", is_flag=True, help="Do not let the laws look for it as they are, but the others alone.")
@click.option("--seeds", metavar="N", type=click.IntRange(1), default=1, show_default=True)
@click.option("--max-examples", metavar="N", type=click.IntRange(1), help="Of all laws together; else a ci run's.")
@click.option("--workers", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Bugs at a time.")
@click.option("--max-shrink", metavar="TIME", default="1m", show_default=True, help="Of CPU, to shrink what is found.")
@click.option("--patience", metavar="TIME", default="5m", show_default=True, help="Give a silent law up after that.")
def measure(
    bugs: tuple[str, ...],
    into: str,
    listed: bool,
    laws: tuple[str, ...],
    alone: bool,
    by_chance: bool,
    torch_tests: Path | None,
    without_laws: bool,
    seeds: int,
    max_examples: int | None,
    workers: int,
    max_shrink: str,
    patience: str,
) -> int:
    """Measure the laws by planted bugs: how many they find, how soon, and how small they make them.

    Each BUG, by default all, is planted in memory in a process of its own, and the laws look for it as in a run of the
    profile ci, an example of each in turn. What is in DIR already is not done again. With --random, the same is done
    beside with purely random choices, without shrinking, to show what it is worth that strategies favour corners. With
    --torch-tests, torch's own tests run for each bug too, those that pass without one, up to the first that fails: it
    is said at once how long that takes.
    """
    if listed:
        for line in list_bugs():
            click.echo(line)
        return NOTHING
    directory = Path(into)
    run_measure(
        bugs,
        directory,
        laws=laws,
        alone=alone,
        seeds=seeds,
        examples=max_examples,
        workers=workers,
        shrink_seconds=seconds_of(max_shrink),
        patience=seconds_of(patience),
        by_chance=by_chance,
        torch_tests=torch_tests,
        without_laws=without_laws,
        show=lambda line: click.echo(line, err=True),
    )
    for line in write_tables(directory):
        click.echo(line)
    return NOTHING


@click.command(epilog=TEXT)
@click.argument("laws", nargs=-1, metavar="[LAW]...")
@click.option("--into", metavar="DIR", default="coverage", show_default=True, help="Where results are, and go on.")
@click.option("--max-examples", metavar="N", type=click.IntRange(1), help="Of each law; else those of a ci run.")
@click.option("--workers", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Laws at a time.")
@click.option("--patience", metavar="TIME", default="2h", show_default=True, help="Give a law up after that.")
@click.option(
    "--torch-tests",
    metavar="DIR",
    type=_FOLDER,
    help="test/distributed/checkpoint of a checkout of pytorch: run torch's own tests too, and set theirs beside it.",
)
def coverage(
    laws: tuple[str, ...],
    into: str,
    max_examples: int | None,
    workers: int,
    patience: str,
    torch_tests: Path | None,
) -> int:
    """Measure what the laws reach of DCP's source: its statements and branches, and what is never reached and why.

    The LAWs, by default all, run as in a run of the profile ci, each in a process of its own, under coverage.py. What
    is in DIR already is not done again. The exit status is 1 where a law is broken, or a reason does not hold any more.
    """
    is_wrong = run_coverage(
        laws,
        Path(into),
        examples=max_examples,
        workers=workers,
        patience=seconds_of(patience),
        torch_tests=torch_tests,
        show=click.echo,
        tell=tell,
    )
    return NEWS if is_wrong else NOTHING


@click.command(epilog=TEXT)
@click.argument("laws", nargs=-1, metavar="[LAW]...")
@click.option(
    "--max-examples", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="Of each law."
)
def determinism(laws: tuple[str, ...], max_examples: int) -> int:
    """Check that examples come out the same whenever and wherever they run, as a failure must that is to be run again.

    Those of the LAWs, by default of all that the simulated world runs, are run in one process, in another with other
    hashes of strings, from the last to the first and each twice, and beside load: they must be the same, with the same
    schedules, outcomes and violations. Each difference is a line, and makes the exit status 1.
    """
    found = run_determinism(laws, examples=max_examples, tell=tell)
    for difference in found:
        click.echo(difference)
    click.echo(f"{len(found) or 'no'} differences")
    return NEWS if found else NOTHING
