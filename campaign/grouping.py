"""What broke, in so few words that violations of one bug have the same ones: a hundred of them are one finding."""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import astuple, dataclass
from pathlib import PurePath

from properties.violations import Violation
from worlds.hooks import HOOKS

__all__ = ["Group", "group_of"]

_OPERATIONS = ("save", "load", "metadata")
_NOISE = re.compile(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}")
_WORD = re.compile(r"[A-Za-z][A-Za-z_'-]+[,.;]?")


@dataclass(frozen=True)
class Group:
    """Of one bug: the ``broken`` law, the kind of its violation, where it shows, and the first fact that differs.

    ``fact`` is the exception that was seen, without what differs between examples, or where ranks wait, or what the
    judge says that differs. ``place`` is the innermost frame inside DCP of that exception or that wait; of what the
    tester, or torch where no law expects it, has raised, the innermost frame of all.
    """

    broken: str
    kind: str
    operation: str = ""
    phase: str = ""
    fact: str = ""
    place: str = ""

    @property
    def id(self) -> str:
        """The same for the same bug in each campaign."""
        return f"{self.kind}-{hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:8]}"

    def __str__(self) -> str:
        where = " of ".join(part for part in (self.phase, self.operation) if part)
        return ", ".join(part for part in (f"{self.kind} ({self.broken})", where, self.fact, self.place) if part)


def group_of(law: str, error: Exception) -> Group:
    """The group of what a law raised of a case."""
    kind = type(error).__name__
    if not isinstance(error, AssertionError):  # the tester, or torch where no law expects it, is what broke
        return Group(law, kind, fact=_plain(str(error)), place=_innermost(error))
    headline = str(error).strip().partition("\n")[0]
    if not isinstance(error, Violation):
        return Group(law, kind, fact=_exception_in(headline))
    if error.law == "planning":
        return Group(law, kind, fact=_plain(error.fact or headline), place=error.place)
    operation, _, rest = _BEFORE.sub("", headline).partition(": ")
    if operation not in _OPERATIONS:
        operation, rest = "", headline
    fact = _plain(error.fact) or _fact(rest)
    place = error.place if fact and "injected fault" not in rest else ""
    return Group(error.law, kind, operation, _phase(operation, rest), fact, place)


_BEFORE = re.compile(r"^(step \d+ of \d+|by [\w ]+): ")
"""What stands before the operation: the step of a history, or the way in which a file was loaded."""


def _phase(operation: str, text: str) -> str:
    """The phase, and whether it is the coordinator's part of it, which fails by itself and not with the others."""
    quoted = re.search(r"in '(plan|write|read)'", text)
    if quoted is not None:
        return quoted[1]
    failed = re.search(r"failed in ([\w.]+)", text)
    if failed is None:
        return ""
    hook = HOOKS.get((operation, failed[1]))
    if hook is None:
        return failed[1]  # an operation on a file
    alone = " on the coordinator" if hook.role == "coordinator" else ""
    return f"{hook.phase or 'outside of phases'}{alone}"


def _fact(text: str) -> str:
    waits = re.search(r" for ever in (.*)", text)
    return f"waits in {_plain(waits[1])}" if waits is not None else _exception_in(text)


_RAISED = re.compile(r"(?:raised|blamed for) (?P<type>[\w.]+)(?:: (?P<message>.*))?")


def _exception_in(text: str) -> str:
    """What was raised that should not have been; what a fault raised is not what broke."""
    raised = _RAISED.search(text)
    if raised is None or "injected fault" in text or f"({raised['type'].rpartition('.')[2]}" in text:
        return ""
    return f"{raised['type']}: {_plain(raised['message'] or '')}".rstrip(": ")


def _plain(text: str, words: int = 12) -> str:
    """The words that a message begins with, without what differs from one example to the next.

    That is names, places, ranks and numbers, and what follows a colon, which is most often one of them.
    """
    said = " ".join(_NOISE.sub(" ", text.partition("\n")[0]).split())
    first, _, rest = said.partition(": ")
    kept = first if len(first.split()) > 2 else f"{first} {rest.partition(': ')[0]}"
    return " ".join([word for word in kept.split() if _WORD.fullmatch(word)][:words])


def _innermost(error: Exception) -> str:
    frames = [
        (PurePath(frame.f_code.co_filename), frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    path, name = frames[-1] if frames else (PurePath("?"), "?")
    return f"{path.name}:{name}"
