"""The verbs about what is installed here: the ledger against torch, and what will work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from properties.summary import ENTRIES

from ..doctor import examine
from ..entries import STATES, can_run, compare_entry, entry_named
from ..opened import OpenedWorlds
from ..status import NEWS, NOTHING, TEXT, UNABLE

__all__ = ["doctor", "known"]


@click.command(epilog=TEXT)
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


@click.command(epilog=TEXT)
def doctor() -> int:
    """Say what will work here and what will not."""
    status = NOTHING
    marks = {True: "ok", False: "NO", None: ""}
    for finding in examine():
        click.echo(f"{marks[finding.well]:3} {finding.what:16} {finding.text}")
        if finding.well is False and finding.needed:
            status = UNABLE
    return status
