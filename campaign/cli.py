"""The command ``dcp-stress``: what it is asked for, and what it answers; what it does is in modules of its own."""

from __future__ import annotations

import importlib.metadata
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
from properties.summary import ENTRIES
from worlds import TorchrunWorld
from worlds.torchrun import NoJob, job_rank, serve

from .doctor import examine
from .entries import STATES, compare_entry, entry_named
from .files import read_scenario, write_text
from .opened import OpenedWorlds
from .replay import again
from .reproduce import script_of_case, script_of_entry
from .script import CannotWrite
from .status import INTERRUPTED, NEWS, NOTHING, TEXT, UNABLE, Refused, Unable

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
    entries = [entry_named(name) for name in names] or ENTRIES.values()
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

    Of an entry of the ledger by its ID, or of a scenario, which is run in the simulated world, by the FILE that
    Scenario.to_json() wrote. The script exits with status 1 while torch has the bug, and with 0 when it is gone; its
    first lines say how to run it.
    """

    def tell(line: str) -> None:
        click.echo(f"{NAME}: {line}", err=True)

    try:
        with OpenedWorlds() as worlds:
            if what in ENTRIES:
                text = script_of_entry(ENTRIES[what], worlds, tell)
            else:
                text = script_of_case(read_scenario(_existing(what)), worlds, tell)
    except CannotWrite as error:
        raise Unable(str(error)) from None
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
    return NOTHING


def _existing(what: str) -> str:
    if not Path(what).exists():
        raise Refused(f"{what!r} is neither a file nor a known issue: `{NAME} known` lists them")
    return what


@cli.command(epilog=TEXT)
@click.argument("what", metavar="ID|FILE")
@world_options
def replay(what: str, world: str, checkpoint_dir: str | None, group_timeout: float) -> int:
    """Run it again: still there, fixed, or different.

    An entry of the ledger by its ID, or a scenario by the FILE that Scenario.to_json() wrote. `git bisect run` can go
    by the exit status.
    """
    if what not in ENTRIES:
        _existing(what)
    with opened(world, checkpoint_dir, group_timeout) as worlds:
        answer = again(what, worlds)
    click.echo(f"{what}: {answer.word}")
    click.echo(answer.text)
    if world == TorchrunWorld.name:  # a rank that hangs would keep the process from ending as usual
        sys.stdout.flush()
        os._exit(answer.status)
    return answer.status


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
