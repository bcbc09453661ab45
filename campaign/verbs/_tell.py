"""What a verb says beside what it was asked for."""

from __future__ import annotations

import click

from ..status import NAME

__all__ = ["tell"]


def tell(line: str) -> None:
    """Say it on standard error, which what is asked for does not go to."""
    click.echo(f"{NAME}: {line}", err=True)
