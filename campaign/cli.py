"""The command ``dcp-stress``: what it is asked for, and what it answers; what it does is in modules of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

from properties.choices import WORLDS
from properties.ledger import LedgerEntry
from properties.summary import ENTRIES
from worlds import Scenario, TorchrunWorld
from worlds.concise import pretty
from worlds.torchrun import NoJob, job_rank, serve

from .cases import data_of
from .contract import contract_lines
from .doctor import examine
from .entries import STATES, can_run, compare_entry, entry_named
from .files import write_text
from .finding import Finding
from .folder import Folder
from .fuzz import begin, go_on, seconds_of, shard_of, summary_lines
from .measure.verb import list_bugs, run_measure, write_tables
from .merge import merged
from .minimize import minimized
from .new_storage import write_template
from .opened import OpenedWorlds
from .progress import Progress
from .replay import Answer, again, sight
from .report import write_report
from .reproduce import script_of_case, script_of_entry
from .script import CannotWrite
from .status import INTERRUPTED, NEWS, NOTHING, TEXT, UNABLE, Refused, Unable
from .stored import judge_stored
from .subject import subject

__all__ = ["cli", "main"]

NAME = "dcp-stress"
F = TypeVar("F", bound=Callable[..., Any])


def _version() -> str:
    try:
        own = importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        own = "of this checkout"
    return f"{own}, torch {torch.__version__}"


@click.group(epilog=TEXT, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(_version(), prog_name=NAME)
def cli() -> None:
    """Stress torch.distributed.checkpoint, as it is installed, and show what was found."""


def world_options(function: F) -> F:
    """Let ``--world`` choose where cases run; see :func:`opened`."""
    for option in (
        click.option("--world", type=click.Choice(list(WORLDS)), default="simulated", show_default=True),
        click.option("--checkpoint-dir", metavar="DIR", help="Where checkpoints of a job of torchrun go."),
        click.option("--group-timeout", metavar="S", type=float, default=120, help="Of a job's groups, in seconds."),
    ):
        function = option(function)
    return function


def opened(world: str, checkpoint_dir: str | None, group_timeout: float) -> AbstractContextManager[OpenedWorlds]:
    """The worlds; a rank of a job of torchrun other than 0 serves that one, and leaves this process at its end."""
    if world == TorchrunWorld.name:
        try:
            rank = job_rank()
        except NoJob:
            said = "torchrun --nproc-per-node=4 -m campaign replay ID --world=torchrun"
            raise Refused(f"the torchrun world runs in a job of torchrun: {said}") from None
        if rank != 0:
            raise click.exceptions.Exit(serve(timeout=group_timeout))
    return OpenedWorlds(world, checkpoint_dir=checkpoint_dir, timeout=group_timeout)


@cli.command(epilog=TEXT)
@click.argument("names", nargs=-1, metavar="[ID]...")
@click.option("--world", type=click.Choice(["simulated", "processes"]), default="simulated", show_default=True)
def known(names: Sequence[str], world: str) -> int:
    """Hold the ledger of known issues against the installed torch.

    Runs the minimal case of each entry, or of those that are named, and says whether it shows the issue still. What
    needs real ranks gets them.
    """
    entries = [entry_named(name) for name in names] or [entry for entry in ENTRIES.values() if can_run(entry)]
    found = []
    with OpenedWorlds(world) as worlds:
        for each in (compare_entry(entry, worlds) for entry in entries):
            found.append(each)
            upstream = f" ({each.entry.upstream})" if each.entry.upstream else ""
            click.echo(f"{each.state:18} {each.entry.id}: {each.entry.title}{upstream}")
            if each.seen:
                click.echo(f"{'':18} {each.seen}")
    counts = Counter(each.state for each in found)
    click.echo("")
    for state, meaning in STATES.items():
        if counts[state]:
            click.echo(f"{counts[state]:4} {state}: {meaning}")
    if not all(each.is_right for each in found):
        return NEWS
    return UNABLE if counts["not run"] else NOTHING


@cli.command(epilog=TEXT)
@click.argument("what", metavar="ID|FILE")
@click.option("-o", "--output", metavar="FILE", help="Where to write the script; by default standard output.")
def script(what: str, output: str | None) -> int:
    """Write a stand-alone reproduction that needs torch alone.

    Of an entry of the ledger by its ID, of a finding by its directory, or of a scenario, which is run in the simulated
    world, by the FILE that Scenario.to_json() wrote. The script exits with status 1 while torch has the bug, and with
    0 when it is gone; its first lines say how to run it.
    """

    def tell(line: str) -> None:
        click.echo(f"{NAME}: {line}", err=True)

    try:
        with OpenedWorlds() as worlds:
            text = _script(subject(what), worlds, tell)
    except CannotWrite as error:
        raise Unable(str(error)) from None
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
    return NOTHING


def _script(about: LedgerEntry | Finding | Scenario, worlds: OpenedWorlds, tell: Callable[[str], None]) -> str:
    match about:
        case LedgerEntry():
            return script_of_entry(about, worlds, tell)
        case Finding():
            return script_of_case(about.read_case(), worlds, tell)
    return script_of_case(about, worlds, tell)


@cli.command(epilog=TEXT)
@click.argument("what", metavar="ID|FILE")
@click.option("--stored", is_flag=True, help="Judge what was seen of a finding then, and run nothing.")
@world_options
def replay(what: str, stored: bool, world: str, checkpoint_dir: str | None, group_timeout: float) -> int:
    """Run it again: still there, fixed, or different.

    An entry of the ledger by its ID, a finding by its directory, or a scenario by the FILE that Scenario.to_json()
    wrote. `git bisect run` can go by the exit status.
    """
    about = subject(what)
    if stored:
        if not isinstance(about, Finding):
            raise Refused(f"{what} is no finding: nothing is stored of it, so leave out --stored")
        answer = Answer(*judge_stored(about))
    else:
        with opened(world, checkpoint_dir, group_timeout) as worlds:
            answer = again(about, worlds)
    click.echo(f"{what}: {answer.state}")
    click.echo(answer.text)
    if world == TorchrunWorld.name and not stored:  # a rank that hangs would keep the process from ending as usual
        sys.stdout.flush()
        os._exit(answer.status)
    return answer.status


@cli.command(epilog=TEXT)
@click.argument("what", metavar="FILE")
@click.option("-o", "--output", metavar="FILE", help="Where to write the smaller case, as JSON.")
@click.option("--max-time", metavar="TIME", default="5m", show_default=True, help="As 90s or 10m.")
@click.option("--world", type=click.Choice(["simulated", "processes"]), default="simulated", show_default=True)
def minimize(what: str, output: str | None, max_time: str, world: str) -> int:
    """Make a scenario smaller, as long as it shows the same.

    The FILE is what Scenario.to_json() wrote, or a finding's directory. What `fuzz` finds is shrunk already; this is
    for what you have written yourself, and for what there was no time to shrink.
    """
    about, seconds = subject(what), seconds_of(max_time)
    if isinstance(about, LedgerEntry):
        raise Refused(f"{what} is an entry of the ledger, whose case is minimal")
    case = about.read_case() if isinstance(about, Finding) else about
    with OpenedWorlds(world) as worlds:
        wanted = sight(about, case, worlds)
        if not wanted:
            raise Unable(f"{what} shows nothing to keep: the laws hold")
        found = minimized(case, lambda other: sight(about, other, worlds) == wanted, seconds=seconds)
    click.echo(pretty(found))
    click.echo(f"{NAME}: {wanted}: {len(repr(case))} letters became {len(repr(found))}", err=True)
    if output is not None:
        data = data_of(found)
        write_text(output, json.dumps(data["json"], indent=2) + "\n" if "json" in data else data["python"] + "\n")
    return NOTHING


@cli.command(epilog=TEXT)
def doctor() -> int:
    """Say what will work here and what will not."""
    status = NOTHING
    marks = {True: "ok", False: "NO", None: ""}
    for finding in examine():
        click.echo(f"{marks[finding.well]:3} {finding.what:16} {finding.text}")
        if finding.well is False and finding.needed:
            status = UNABLE
    return status


@cli.command(epilog=TEXT)
@click.argument("laws", nargs=-1, metavar="[LAW]...")
@click.option("--max-time", metavar="TIME", default="10m", show_default=True, help="As 90s, 10m, 8h or 1h30m.")
@click.option("--workers", metavar="N", type=click.IntRange(1), help="Processes; by default one for each CPU.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Where the workers are.")
@click.option("--address", metavar="HOST:PORT", default="", help="Of a Ray cluster; by default the one that is here.")
@click.option("--world", type=click.Choice(["simulated", "processes"]), default="simulated", show_default=True)
@click.option("--storage", metavar="STORAGE", default="", help="Save to this: a name, or module:name of your own.")
@click.option("--planner", metavar="PLANNERS", default="", help="Plan with these: module:name of your own.")
@click.option("--seed", metavar="N", type=int, help="Draw what a campaign with the same seed and laws drew.")
@click.option("--shard", metavar="I/N", default="1/1", help="Do the i-th of n parts, as one job of an array does.")
@click.option("--units", metavar="N", type=click.IntRange(1), help="End after so many slices of each law.")
@click.option("--max-examples", metavar="N", type=click.IntRange(1), help="End a slice after so many examples.")
@click.option("--patience", metavar="TIME", default="10m", help="Kill a worker that says nothing for so long.")
@click.option(
    "--findings",
    metavar="DIR|redis://…",
    default="",
    help="Findings of earlier campaigns, in a directory or on a server: they are tried first, and are not new.",
)
@click.option("--into", metavar="DIR", help="The campaign's directory; by default one that is named by the time.")
@click.option("--resume", metavar="DIR", help="Go on with the campaign in this directory, and nothing else.")
def fuzz(
    laws: tuple[str, ...],
    max_time: str,
    workers: int | None,
    engine: str,
    address: str,
    world: str,
    storage: str,
    planner: str,
    seed: int | None,
    shard: str,
    units: int | None,
    max_examples: int | None,
    patience: str,
    findings: str,
    into: str | None,
    resume: str | None,
) -> int:
    """Look for what is new, for as long as you say.

    Draws cases of the LAWs, by default of all, in several processes. Time goes where new behaviour still appears. All
    is on disk as it happens: Ctrl-C ends with a summary, and a campaign that was killed goes on with --resume.
    """
    if resume is not None:
        folder = Folder(Path(resume))
    else:
        folder = begin(
            None if into is None else Path(into),
            laws=laws,
            world=world,
            seconds=seconds_of(max_time),
            workers=workers,
            engine=engine,
            address=address,
            seed=seed,
            shard=shard_of(shard),
            patience=seconds_of(patience),
            storage=storage,
            planners=planner,
            findings=findings,
            units=units,
            unit_examples=max_examples,
        )
    plan = folder.plan()
    on = f" {plan.on}" if plan.on else ""
    click.echo(
        f"{len(plan.laws)} laws{on} in the {plan.world} world of torch {torch.__version__}, {plan.workers} workers, "
        f"seed {plan.seed}, into {folder.path}",
        err=True,
    )
    progress = Progress()
    tally, new, status = go_on(folder, progress)
    progress.erase()
    for line in summary_lines(tally, new, folder):
        click.echo(line)
    page, _ = write_report(folder, tally)
    click.echo(f"{NAME}: the report is {page}", err=True)
    return status


@cli.command(epilog=TEXT)
@click.argument("directory", metavar="DIR")
def report(directory: str) -> int:
    """Write the report of a campaign: a page, and a summary in Markdown, which is shown.

    Also of one that is under way, or was killed.
    """
    folder = Folder(Path(directory))
    tally = folder.tally()
    page, summary = write_report(folder, tally)
    click.echo(summary.read_text(encoding="utf-8"), nl=False)
    click.echo(f"{NAME}: the report is {page}", err=True)
    return NOTHING


@cli.command(epilog=TEXT)
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option("--into", required=True, metavar="DIR", help="The directory of the whole.")
def merge(directories: Sequence[str], into: str) -> int:
    """Make one campaign of several, as of the shards of an array of jobs, and report on it."""
    folder = merged([Folder(Path(directory)) for directory in directories], Folder(Path(into)))
    tally = folder.tally()
    page, summary = write_report(folder, tally)
    click.echo(summary.read_text(encoding="utf-8"), nl=False)
    click.echo(f"{NAME}: the report is {page}", err=True)
    return NEWS if tally.is_news else NOTHING


@cli.command(epilog=TEXT)
@click.argument("bugs", nargs=-1, metavar="[BUG]...")
@click.option("--into", metavar="DIR", default="measure", show_default=True, help="Where results are, and go on.")
@click.option("--list", "listed", is_flag=True, help="Show the planted bugs, and do nothing else.")
@click.option("--law", "laws", metavar="LAW", multiple=True, help="Let these laws alone look for the bugs.")
@click.option("--seeds", metavar="N", type=click.IntRange(1), default=1, show_default=True)
@click.option("--max-examples", metavar="N", type=click.IntRange(1), help="Of all laws together; else a ci run's.")
@click.option("--workers", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Bugs at a time.")
@click.option("--max-shrink", metavar="TIME", default="1m", show_default=True, help="To shrink what is found.")
@click.option("--patience", metavar="TIME", default="5m", show_default=True, help="Give a silent law up after that.")
def measure(
    bugs: tuple[str, ...],
    into: str,
    listed: bool,
    laws: tuple[str, ...],
    seeds: int,
    max_examples: int | None,
    workers: int,
    max_shrink: str,
    patience: str,
) -> int:
    """Measure the laws by planted bugs: how many they find, how soon, and how small they make them.

    Each BUG, by default all, is planted in memory in a process of its own, and the laws look for it as in a run of the
    profile ci, an example of each in turn. What is in DIR already is not done again.
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
        seeds=seeds,
        examples=max_examples,
        workers=workers,
        shrink_seconds=seconds_of(max_shrink),
        patience=seconds_of(patience),
        show=lambda line: click.echo(line, err=True),
    )
    for line in write_tables(directory):
        click.echo(line)
    return NOTHING


@cli.command(epilog=TEXT)
@click.argument("directory", metavar="DIR")
def new_storage(directory: str) -> int:
    """Write a template for a storage of your own into DIR: the storage, its test, and its job of GitHub Actions."""
    for path in write_template(Path(directory)):
        click.echo(path)
    there = "" if Path(directory) == Path() else f"cd {directory} && "
    click.echo(f"{NAME}: the laws on it, some minutes: {there}pytest test_my_storage.py", err=True)
    return NOTHING


@cli.command(epilog=TEXT)
def contract() -> int:
    """Print what DCP asks of a storage, hook by hook, and what holds of every storage."""
    for line in contract_lines():
        click.echo(line)
    return NOTHING


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for, by default those of the process; the exit status."""
    try:
        status = cli.main(arguments, prog_name=NAME, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else NAME
        click.echo(f"{where}: error: {error.format_message()} See `{where} --help`.", err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"{NAME}: error: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{NAME}: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return NOTHING
    return int(status or NOTHING)
