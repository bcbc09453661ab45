"""The files of a report."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jinja2

from ..files import write_whole
from ..folder import Folder
from ..tally import Tally
from .content import Content, content_of
from .markdown import markdown
from .plots import over_time

__all__ = ["PAGE", "SUMMARY", "write_report"]

PAGE, SUMMARY = "report.html", "summary.md"


def write_report(folder: Folder, tally: Tally) -> tuple[Path, Path]:
    """Write the page and the summary into the campaign's directory; where they are."""
    content = content_of(folder, tally)
    page, summary = folder.path / PAGE, folder.path / SUMMARY
    write_whole(page, _page(content))
    write_whole(summary, markdown(content))
    return page, summary


def _page(content: Content) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(resources.files(__package__).joinpath("page.html.jinja").read_text("utf-8"))
    ticks = content.tally.ticks
    plots = [
        over_time([(tick.seconds, getattr(tick, what)) for tick in ticks], what, number)
        for number, what in enumerate(("examples", "behaviours", "findings"))
    ]
    return template.render(content=content, plots=plots, plan=content.plan, tally=content.tally)
