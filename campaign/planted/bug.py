"""A bug to plant, as data: what is changed in torch, and the smallest case that is known to show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from properties.ledger import Release, torch_release

from .plant import DoesNotApply, planted

__all__ = ["Bug", "Change", "Witness", "plant"]

_CHECKPOINT = "torch.distributed.checkpoint"


@dataclass(frozen=True)
class Change:
    """``new`` for each ``old`` in the source of one function.

    ``where`` is ``module:function`` or ``module:Class.method``, the module within ``torch.distributed.checkpoint``
    unless it begins with ``torch.``. It is for releases of torch from ``since`` on, before ``until``.
    """

    where: str
    old: str
    new: str
    since: Release | None = None
    until: Release | None = None

    def is_for(self, release: Release) -> bool:
        """Whether it is of that release."""
        return (self.since is None or self.since <= release) and (self.until is None or release < self.until)

    def target(self) -> tuple[Any, str]:
        """The module or class, and the name of the function in it; raises :class:`DoesNotApply`."""
        module, _, path = self.where.partition(":")
        *classes, name = path.split(".")
        try:
            owner: Any = import_module(module if module.startswith("torch.") else f"{_CHECKPOINT}.{module}")
            for each in classes:
                owner = getattr(owner, each)
        except (ImportError, AttributeError) as error:
            raise DoesNotApply(f"the bug does not apply to {self.where}: {error}") from None
        return owner, name


@dataclass(frozen=True)
class Witness:
    """A case on which a law says that something is wrong with the bug, and nothing without it."""

    law: str
    case: Any
    known: str = ""
    """The known issue that the case shows without the bug, where none shows the bug that does not."""


@dataclass(frozen=True)
class Bug:
    """A bug. ``upstream`` is the issue or pull request in which torch mended it; ``None`` where it is made up."""

    id: str
    title: str
    changes: tuple[Change, ...]
    witness: Witness
    upstream: str | None = None

    def applies_to(self, release: Release) -> bool:
        """Whether it is a bug of that release of torch."""
        return any(change.is_for(release) for change in self.changes)


@contextmanager
def plant(bug: Bug) -> Iterator[None]:
    """Inside the block the installed torch has the bug, in this process; raises :class:`DoesNotApply`."""
    changes = [change for change in bug.changes if change.is_for(torch_release())]
    if not changes:
        raise DoesNotApply(f"{bug.id} is no bug of the installed torch")
    with ExitStack() as stack:
        for change in changes:
            owner, name = change.target()
            stack.enter_context(planted(owner, name, change.old, change.new))
        yield
