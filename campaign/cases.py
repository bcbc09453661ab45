"""Cases of any law as data that outlives the process: JSON where there is a word for all of it, else Python."""

from __future__ import annotations

import ast
import json
from typing import Any

from worlds import plans
from worlds.codec import from_json, to_json
from worlds.concise import Concise, pretty
from worlds.invalid import InvalidScenario

__all__ = ["case_of", "data_of", "pasted"]

_CLASSES = {name: kind for name, kind in vars(plans).items() if isinstance(kind, type) and issubclass(kind, Concise)}


def data_of(case: object) -> dict[str, Any]:
    """``{"json": ...}`` as the codec writes it, or ``{"python": text}``, of which :func:`case_of` makes it again."""
    try:
        text = to_json(case)
        if from_json(text, type(case)) == case:
            return {"json": json.loads(text)}
    except (InvalidScenario, TypeError, StopIteration):
        pass  # what it holds is no plain data of the codec's
    return {"python": repr(case)}


def case_of(data: dict[str, Any], kind: type[Any]) -> Any:
    """The case of that class; raises :class:`InvalidScenario`, with one line, where there is none."""
    if "json" in data:
        return from_json(json.dumps(data["json"]), kind)
    try:
        case = _evaluated(ast.parse(data["python"], mode="eval").body)
    except (KeyError, SyntaxError, TypeError, ValueError) as error:
        raise InvalidScenario(f"the case is not one that can be read: {' '.join(str(error).split())}") from None
    if not isinstance(case, kind):
        raise InvalidScenario(f"the case is a {type(case).__name__}, and must be a {kind.__name__}")
    return case


def _evaluated(node: ast.expr) -> Any:
    """The value of literals and of calls of the classes of cases, and of nothing else."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _CLASSES:
            named = {keyword.arg: _evaluated(keyword.value) for keyword in node.keywords if keyword.arg}
            return _CLASSES[name](*map(_evaluated, node.args), **named)
        case ast.Tuple():
            return tuple(map(_evaluated, node.elts))
        case ast.List():
            return list(map(_evaluated, node.elts))
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {_evaluated(key): _evaluated(value) for key, value in pairs if key is not None}
    return ast.literal_eval(node)


def pasted(argument: str, case: object) -> str:
    """The line to put above a law, so that it tries this case first in each run."""
    return f"@example({argument}={pretty(case)})"
