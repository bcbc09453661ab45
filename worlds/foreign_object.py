"""An object of another package, found by ``module:name``, and whether it has what is asked of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from .invalid import InvalidScenario, require

__all__ = ["import_object", "probed"]


def import_object(name: str, what: str) -> Any:
    """The ``what`` named ``module:name``; raises :class:`InvalidScenario`, with one line that says what is wrong.

    What is named is an object, or a class or function that makes one without arguments; its module is looked for in the
    working directory first, as by ``python -m``.
    """
    module, _, attribute = name.partition(":")
    if (
        here := os.getcwd()
    ) not in sys.path:  # as where the command was installed; it stays, for what is imported later
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), attribute)
        return found() if callable(found) else found
    except Exception as error:  # whatever the author's module raises
        raise InvalidScenario(f"the {what} {name} cannot be made: {_said(error)}") from None


def probed(maker: str, make: Callable[[], Any], methods: Iterable[str]) -> Any:
    """What ``make`` returns, if it has these methods; raises :class:`InvalidScenario` that names the ``maker``."""
    try:
        made = make()
    except Exception as error:
        raise InvalidScenario(f"{maker} fails: {_said(error)}") from None
    missing = [method for method in methods if not callable(getattr(made, method, None))]
    require(not missing, f"what {maker} returns lacks {' and '.join(missing)}")
    return made


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
