"""The verbs about one case: an entry of the ledger, a finding, or a scenario."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager

import click

from properties.choices import WORLDS
from properties.ledger import LedgerEntry
from worlds import Scenario, TorchrunWorld
from worlds.concise import pretty
from worlds.torchrun import NoJob, job_rank, serve

from ..asked import seconds_of
from ..cases import data_of
from ..files import write_text
from ..finding import Finding
from ..minimize import can_be_minimized, minimized
from ..opened import OpenedWorlds
from ..replay import Answer, again, sight
from ..reproduce import script_of_case, script_of_entry
from ..script import CannotWrite
from ..status import NOTHING, TEXT, Refused, Unable
from ..stored import judge_stored
from ..subject import subject
from ._tell import tell

__all__ = ["minimize", "replay", "script"]


@click.command(epilog=TEXT)
@click.argument("what", metavar="ID|FILE")
@click.option("-o", "--output", metavar="FILE", help="Where to write the script; by default standard output.")
def script(what: str, output: str | None) -> int:
    """Write a stand-alone reproduction that needs torch alone.

    Of an entry of the ledger by its ID, of a finding by its directory, or of a scenario, which is run in the simulated
    world, by the FILE that Scenario.to_json() wrote. The script exits with status 1 while torch has the bug, and with
    0 when it is gone; its first lines say how to run it.
    """
    try:
        with OpenedWorlds() as worlds:
            text = _script(subject(what), worlds)
    except CannotWrite as error:
        raise Unable(str(error)) from None
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
    return NOTHING


def _script(about: LedgerEntry | Finding | Scenario, worlds: OpenedWorlds) -> str:
    if isinstance(about, LedgerEntry):
        return script_of_entry(about, worlds, tell)
    return script_of_case(about.read_case() if isinstance(about, Finding) else about, worlds, tell)


@click.command(epilog=TEXT)
@click.argument("what", metavar="ID|FILE")
@click.option("--stored", is_flag=True, help="Judge what was seen of a finding then, and run nothing.")
@click.option("--world", type=click.Choice(list(WORLDS)), default="simulated", show_default=True)
@click.option("--checkpoint-dir", metavar="DIR", help="Where checkpoints of a job of torchrun go.")
@click.option("--group-timeout", metavar="S", type=float, default=120, help="Of a job's groups, in seconds.")
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
        with _opened(world, checkpoint_dir, group_timeout) as worlds:
            answer = again(about, worlds)
    click.echo(f"{what}: {answer.state}")
    click.echo(answer.text)
    if world == TorchrunWorld.name and not stored:  # a rank that hangs would keep the process from ending as usual
        sys.stdout.flush()
        os._exit(answer.status)
    return answer.status


def _opened(world: str, checkpoint_dir: str | None, group_timeout: float) -> AbstractContextManager[OpenedWorlds]:
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


@click.command(epilog=TEXT)
@click.argument("what", metavar="FILE")
@click.option("-o", "--output", metavar="FILE", help="Where to write the smaller case, as JSON.")
@click.option("--max-time", metavar="TIME", default="5m", show_default=True, help="As 90s or 10m.")
@click.option("--world", type=click.Choice(["simulated", "processes"]), default="simulated", show_default=True)
def minimize(what: str, output: str | None, max_time: str, world: str) -> int:
    """Make a scenario smaller, as long as it shows the same.

    The FILE is what Scenario.to_json() wrote, or a finding's directory. What `fuzz` finds is so already; this is
    for what you have written yourself, and for what there was no time to make small.
    """
    about, seconds = subject(what), seconds_of(max_time)
    if isinstance(about, LedgerEntry):
        raise Refused(f"{what} is an entry of the ledger, whose case is minimal")
    case = about.read_case() if isinstance(about, Finding) else about
    if not can_be_minimized(case):
        raise Refused(f"{what} is a case of planning, of which nobody but Hypothesis knows what is legal")
    with OpenedWorlds(world) as worlds:
        wanted = sight(about, case, worlds)
        if not wanted:
            raise Unable(f"{what} shows nothing to keep: the laws hold")
        found = minimized(case, lambda other: sight(about, other, worlds) == wanted, seconds=seconds).case
    click.echo(pretty(found))
    tell(f"{wanted}: {len(repr(case))} letters became {len(repr(found))}")
    if output is not None:
        data = data_of(found)
        write_text(output, json.dumps(data["json"], indent=2) + "\n" if "json" in data else data["python"] + "\n")
    return NOTHING
