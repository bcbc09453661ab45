"""Extensions in a script: what the writer passes each item through, and how the reader is told of it."""

from __future__ import annotations

from worlds.operations import Extension
from worlds.storages import FILE_SYSTEM, FORMATTED

from .plan import Name, Plan

__all__ = ["extension_arguments", "extension_blocks"]

_BASE = '''\
class Extension(StreamTransformExtension):
    """Changes all the bytes of an item at once, ``there`` and ``back``."""

    @classmethod
    def registry_name(cls):
        return f"stream.{cls.__name__.lower()}"

    @classmethod
    def from_descriptor(cls, version):
        return cls()

    def get_descriptor(self):
        return f"{self.registry_name()}/1"

    def transform_to(self, output):
        stream = AtClose()
        stream.output, stream.change = output, self.there
        return stream

    def transform_from(self, input):
        return io.BytesIO(self.back(input.read()))'''
_WRITER = '''\
class AtClose(io.BytesIO):
    """Writes what ``change`` makes of all that it was given to ``output``, as it is closed."""

    def close(self):
        if not self.closed:
            self.output.write(self.change(self.getvalue()))
            self.output.close()
        super().close()'''
_INVERTED = """\
class Inverted(Extension):
    # As a cipher might.
    there = back = staticmethod(lambda data: data.translate(bytes(range(255, -1, -1))))"""
_DEFLATED = """\
class Deflated(Extension):
    there, back = zlib.compress, zlib.decompress"""
_NAMES: dict[Extension, str] = {"inverted": "Inverted", "deflated": "Deflated", "zstandard": "ZStandard"}
_CLASSES: dict[Extension, str] = {"inverted": _INVERTED, "deflated": _DEFLATED}


def extension_blocks(plan: Plan) -> list[str]:
    """The classes of those that torch does not ship, and the registry by which a reader finds them."""
    own = [name for name in dict.fromkeys(plan.scenario.writer.extensions) if name in _CLASSES]
    if not own:
        return []
    blocks = [_WRITER, _BASE, *(_CLASSES[name] for name in own)]
    if _takes_registry(plan):
        register = [f"registry.register({_NAMES[name]})" for name in own]
        blocks.append("\n".join(["registry = ExtensionRegistry()", *register]))
    return blocks


def extension_arguments(plan: Plan, name: Name) -> list[str]:
    """What the writer, or the reader, is given for them."""
    extensions = plan.scenario.writer.extensions
    if name == "save":
        made = ", ".join(f"{_NAMES[each]}()" for each in extensions)
        return [f"_extensions=[{made}]"] if extensions else []
    return ["_extension_registry=registry"] if _takes_registry(plan) else []


def _takes_registry(plan: Plan) -> bool:
    takes = plan.scenario.storage in (FILE_SYSTEM, FORMATTED)
    return plan.last == "load" and takes and not plan.scenario.writer.known_to_torch
