"""Bugs planted in the installed torch, in memory: text of a function's source is replaced while a block runs.

Nothing but the standard library is used, so that the source of this module can be handed to a process that has no more.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

__all__ = ["DoesNotApply", "planted"]


class DoesNotApply(AssertionError):
    """The installed torch has no such function, or its source is not what the bug is a change of."""


@contextmanager
def planted(owner: Any, name: str, old: str, new: str) -> Iterator[None]:
    """Inside the block the function ``owner.name`` has ``new`` for each ``old`` in its source.

    Raises :class:`DoesNotApply` where ``old`` is not there. Whoever has imported the function by name goes on with it
    as well, since only its code is exchanged; so that a function can have one bug at a time.
    """
    function = _function(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index(f"def {name}(") :]  # without decorators: they are on the function already
    if old not in source:
        raise DoesNotApply(f"the bug does not apply to {name}: its source has no {old!r}")
    code = function.__code__
    function.__code__ = _compiled(source.replace(old, new), function)
    try:
        yield
    finally:
        function.__code__ = code


def _function(owner: Any, name: str) -> FunctionType:
    found = vars(owner).get(name)
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    elif isinstance(found, property):
        found = found.fget
    function: Any = inspect.unwrap(found) if callable(found) else None
    if not isinstance(function, FunctionType):
        raise DoesNotApply(f"the bug does not apply: {getattr(owner, '__name__', owner)} has no function {name}")
    return function


def _compiled(source: str, function: FunctionType) -> CodeType:
    """The code of the one function in ``source``, with the cells of the one that it takes the place of."""
    name, free = function.__name__, function.__code__.co_freevars
    if free:  # super() without arguments, or what is defined around it
        inner = textwrap.indent(source, "    ")
        source = f"def around({', '.join(free)}):\n{inner}\n    return {name}\n"
    code = compile(source, f"<planted in {name}>", "exec", dont_inherit=True)
    if free:
        code = next(part for part in code.co_consts if isinstance(part, CodeType))
    code = next(part for part in code.co_consts if isinstance(part, CodeType) and part.co_name == name)
    if code.co_freevars != free:
        raise DoesNotApply(f"the bug does not apply to {name}: it has {code.co_freevars} from around it, not {free}")
    return code
