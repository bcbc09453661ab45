"""The command ``dcp-stress``: its verbs, its exit status, and how it answers whoever has called it wrongly."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence

import click
import torch

from worlds import InvalidScenario

from .status import INTERRUPTED, NAME, NOTHING, TEXT, UNABLE
from .verbs.campaigns import fuzz, merge, report
from .verbs.installed import doctor, known
from .verbs.measuring import coverage, determinism, measure
from .verbs.one_case import minimize, replay, script
from .verbs.own_storage import contract, new_storage

__all__ = ["cli", "main"]


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


for verb in (known, doctor, script, replay, minimize, fuzz, report, merge, measure, coverage, determinism):
    cli.add_command(verb)
for verb in (new_storage, contract):
    cli.add_command(verb)


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
    except InvalidScenario as error:  # of a case that takes another torch
        click.echo(f"{NAME}: error: {error}", err=True)
        return UNABLE
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{NAME}: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return NOTHING
    return int(status or NOTHING)
