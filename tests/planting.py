"""Bugs planted in the installed torch, in memory: a line of a function's source is replaced while a test runs."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

__all__ = ["planted"]


@contextmanager
def planted(owner: Any, name: str, old: str, new: str) -> Iterator[None]:
    """Inside the block the function ``owner.name`` has ``new`` for each ``old`` in its source.

    A bug that no longer applies to the installed torch is an error: ``old`` must be there. Whoever has imported the
    function by name goes on with it as well, since only its code is exchanged.
    """
    function: Any = inspect.unwrap(vars(owner)[name])
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index(f"def {name}(") :]  # without decorators: they are on the function already
    assert old in source, f"the bug does not apply to {name}: its source has no {old!r}"
    namespace: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<planted in {name}>", "exec"), function.__globals__, namespace)
    code = function.__code__
    function.__code__ = namespace[name].__code__
    try:
        yield
    finally:
        function.__code__ = code
