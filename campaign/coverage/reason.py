"""What a reason is why no legal scenario reaches some of DCP's source, and how its places are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from properties.ledger import Release, torch_release

from .places import Place

__all__ = ["Reason", "because", "functions", "until", "within"]


@dataclass(frozen=True)
class Reason:
    """Why these places are not reached. It is void where one of them is, and where the installed torch lacks one."""

    why: str
    places: tuple[Place, ...]


def because(why: str, *places: Iterable[Place]) -> Reason:
    """The reason why all of these are not reached."""
    return Reason(why, tuple(place for several in places for place in several))


def within(where: str, *texts: str) -> Iterator[Place]:
    """The statements of ``module:function`` that begin with these lines; without any, the whole of it."""
    module, _, function = where.partition(":")
    yield from (Place(module, function, text) for text in texts or ("",))


def functions(module: str, *names: str) -> Iterator[Place]:
    """These functions of a module."""
    yield from (Place(module, name) for name in names)


def until(release: Release, places: Iterable[Place]) -> Iterator[Place]:
    """Those places, if the installed torch is older than the release that no longer has them."""
    return iter(places if torch_release() < release else ())
