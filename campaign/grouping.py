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

    ``fact`` is the exception that was seen, without what differs between examples, or where ranks wait; of other
    violations the kind says it. ``place`` is where in torch, or in the tester, it was raised, if that is told.
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
    if not isinstance(error, Violation) or error.law == "planning":
        return Group(law, kind, fact=_exception_in(headline))
    operation, _, rest = headline.partition(": ")
    if operation not in _OPERATIONS:
        operation, rest = "", headline
    return Group(error.law, kind, operation, _phase(operation, rest), _fact(rest), _place(rest))


def _phase(operation: str, text: str) -> str:
    quoted = re.search(r"in '(plan|write|read)'", text)
    if quoted is not None:
        return quoted[1]
    hooks = (hook for (where, name), hook in HOOKS.items() if where == operation and name in text)
    hook = next(hooks, None)
    return "" if hook is None else hook.phase or "outside of phases"


def _fact(text: str) -> str:
    waits = re.search(r" for ever in (.*)", text)
    return f"waits in {_plain(waits[1])}" if waits is not None else _exception_in(text)


_RAISED = re.compile(r"(?:raised|blamed for) (?P<type>[\w.]+)(?:: (?P<message>.*))?")


def _exception_in(text: str) -> str:
    """What was raised that should not have been; what a fault raised is not what broke."""
    raised = _RAISED.search(text)
    if raised is None or "injected fault" in text:
        return ""
    return f"{raised['type']}: {_plain(raised['message'] or '')}".rstrip(": ")


def _place(text: str) -> str:
    found = re.search(r"\(in ([\w/.]+:\w+)\)", text)
    return found[1] if found is not None else ""


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
