"""Python source as a formatter leaves it: calls, collections and literals on one line, or an item on each line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .known import CannotWrite

__all__ = ["WIDTH", "Code", "Items", "docstring", "headed", "indented", "joined", "literal", "quoted", "render"]

WIDTH = 100
"""How many columns a line of a script has at most, if it can be broken at all."""

_INDENT = "    "
_BLOCKS = 2 * len(_INDENT)  # how far, at most, a statement is indented after it was rendered


@dataclass(frozen=True)
class Items:
    """A call or a collection: ``head`` with its opening bracket, what is between the brackets, and what follows."""

    head: str
    items: tuple[Code, ...]
    tail: str = ""

    @property
    def closing(self) -> str:
        """The bracket that closes it, and what follows."""
        return {"(": ")", "[": "]", "{": "}"}[self.head[-1]] + self.tail


Code = str | Items


def render(code: Code, *, indent: int = 0) -> str:
    """The source of ``code``; each line but the first begins with ``indent`` spaces or more."""
    line = _one_line(code)
    # One more column for the comma, or the colon, behind it.
    if isinstance(code, str) or not code.items or indent + len(line) < WIDTH - _BLOCKS:
        return line
    inner = indent + len(_INDENT)
    lines = [f"{' ' * inner}{render(item, indent=inner)},\n" for item in code.items]
    return f"{code.head}\n{''.join(lines)}{' ' * indent}{code.closing}"


def _one_line(code: Code) -> str:
    if isinstance(code, str):
        return code
    # A tuple, unlike a call, has no name before its bracket, and needs a comma behind its only item.
    comma = "," if len(code.items) == 1 and code.head[-2:] in ("(", " (", "=(") else ""
    return f"{code.head}{', '.join(map(_one_line, code.items))}{comma}{code.closing}"


def headed(head: str, code: Code) -> Code:
    """``code`` with ``head`` before it."""
    return head + code if isinstance(code, str) else Items(head + code.head, code.items, code.tail)


def literal(value: object, *, head: str = "") -> Code:
    """The literal of an object that a scenario holds; ``head`` stands before it."""
    if isinstance(value, tuple):
        return Items(f"{head}(", tuple(literal(item) for item in value))
    if not isinstance(value, bool | int | float | str | bytes | None):
        raise CannotWrite(f"there is no script for a scenario with an object of type {type(value).__name__} yet")
    if isinstance(value, float):
        return head + repr(value).replace("e+", "e")
    return head + (quoted(value) if isinstance(value, str | bytes) else repr(value))


def quoted(text: str | bytes) -> str:
    """The literal of ``text``, in double quotes where that takes no more backslashes."""
    if len(text) > 50 and len(set(text)) == 1:
        return f"{quoted(text[:1])} * {len(text)}"
    source = repr(text)
    prefix, body = ("b", source[2:-1]) if isinstance(text, bytes) else ("", source[1:-1])
    if body.count("'") < body.count('"'):
        return source  # then repr has chosen single quotes as well
    body = body.replace("\\'", "'").replace('"', '\\"')
    return f'{prefix}"{body}"'


def indented(lines: Iterable[str]) -> list[str]:
    """``lines``, each of which may be several, one level further to the right."""
    return [textwrap.indent(line, _INDENT) for line in lines]


def docstring(paragraphs: Sequence[str]) -> str:
    """A docstring of ``paragraphs``, broken into lines; those that begin with a space or are broken already stay."""
    filled = [
        paragraph
        if paragraph.startswith(" ") or "\n" in paragraph
        else textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
        for paragraph in paragraphs
    ]
    text = "\n\n".join(filled)
    return '"""' + _printable(text) + '\n"""'


def _printable(text: str) -> str:
    """``text`` as it must stand between triple quotes."""
    kept = (letter if letter == "\n" or letter.isprintable() else repr(letter)[1:-1] for letter in _escaped(text))
    return "".join(kept)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def joined(blocks: list[str]) -> str:
    """``blocks``, two lines apart where one of them defines something, else one."""
    text = ""
    for block in blocks:
        if text:
            last = re.split(r"\n\n+", text)[-1]
            apart = _defines(block) or _defines(last)
            text += "\n\n\n" if apart else "\n\n"
        text += block
    return text


def _defines(block: str) -> bool:
    return block.startswith(("def ", "class ", "@", " "))
