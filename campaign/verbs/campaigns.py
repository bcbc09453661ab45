"""The verbs about a campaign: run it, merge it with others, and report on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from ..asked import Asked, begin
from ..folder import Folder
from ..fuzz import go_on, summary_lines
from ..merge import merged
from ..progress import Progress
from ..report import write_report
from ..status import NEWS, NOTHING, TEXT
from ..tally import Tally
from ._tell import tell

__all__ = ["fuzz", "merge", "report"]


@click.command(epilog=TEXT)
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
def fuzz(into: str | None, resume: str | None, **options: Any) -> int:
    """Look for what is new, for as long as you say.

    Draws cases of the LAWs, by default of all, in several processes. Time goes where new behaviour still appears. All
    is on disk as it happens: Ctrl-C ends with a summary, and a campaign that was killed goes on with --resume.
    """
    if resume is not None:
        folder = Folder(Path(resume))
    else:
        folder = begin(None if into is None else Path(into), Asked(**options))
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
    tell(f"the report is {page}")
    return status


@click.command(epilog=TEXT)
@click.argument("directory", metavar="DIR")
def report(directory: str) -> int:
    """Write the report of a campaign: a page, and a summary in Markdown, which is shown.

    Also of one that is under way, or was killed.
    """
    _show_report(Folder(Path(directory)))
    return NOTHING


@click.command(epilog=TEXT)
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option("--into", required=True, metavar="DIR", help="The directory of the whole.")
def merge(directories: Sequence[str], into: str) -> int:
    """Make one campaign of several, as of the shards of an array of jobs, and report on it."""
    folder = merged([Folder(Path(directory)) for directory in directories], Folder(Path(into)))
    return NEWS if _show_report(folder).is_news else NOTHING


def _show_report(folder: Folder) -> Tally:
    tally = folder.tally()
    page, summary = write_report(folder, tally)
    click.echo(summary.read_text(encoding="utf-8"), nl=False)
    tell(f"the report is {page}")
    return tally
