"""The verbs about a storage of the user's own."""

from __future__ import annotations

from pathlib import Path

import click

from ..contract import contract_lines
from ..new_storage import write_template
from ..status import NOTHING, TEXT
from ._tell import tell

__all__ = ["contract", "new_storage"]


@click.command(epilog=TEXT)
@click.argument("directory", metavar="DIR")
def new_storage(directory: str) -> int:
    """Write a template for a storage of your own into DIR: the storage, its test, and its job of GitHub Actions."""
    for path in write_template(Path(directory)):
        click.echo(path)
    there = "" if Path(directory) == Path() else f"cd {directory} && "
    tell(f"the laws on it, some minutes: {there}pytest test_my_storage.py")
    return NOTHING


@click.command(epilog=TEXT)
def contract() -> int:
    """Print what DCP asks of a storage, hook by hook, and what holds of every storage."""
    for line in contract_lines():
        click.echo(line)
    return NOTHING
