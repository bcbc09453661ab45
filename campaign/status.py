"""The command's name, what its exit statuses say, and how it ends where it cannot do what it was asked to."""

from __future__ import annotations

import click

__all__ = ["DIFFERENT", "INTERRUPTED", "NAME", "NEWS", "NOTHING", "TEXT", "UNABLE", "Refused", "Unable"]

NAME = "dcp-stress"

NOTHING, NEWS, WRONG_CALL, UNABLE, DIFFERENT, INTERRUPTED = 0, 1, 2, 3, 4, 130

TEXT = """\
\b
Exit status:
  0    nothing to tell: nothing new, what was looked for is gone, or what was asked for is done
  1    news: something new was found, what was looked for is still there, or the ledger is wrong
  2    the arguments, or a file that they name, are wrong
  3    it cannot be done here, or there is no script for it yet
  4    something else is wrong than what was looked for (replay)
  130  interrupted, and nothing new until then
"""
"""As the help of each command shows it."""


class Refused(click.ClickException):
    """The arguments, or a file that they name, are wrong; the message is one line that says what to do."""

    exit_code = WRONG_CALL


class Unable(click.ClickException):
    """It cannot be done here; the message is one line that says why."""

    exit_code = UNABLE
