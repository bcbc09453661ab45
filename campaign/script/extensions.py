"""Extensions in a script: what the writer passes each item through, and how the reader is told of it."""

from __future__ import annotations

from worlds.operations import Extension
from worlds.storages import FILE_SYSTEM

from .plan import Name, Plan

__all__ = ["extension_arguments", "extension_blocks"]

_CLASS = '''\
class {name}(StreamTransformExtension):
    """{does}"""

    @staticmethod
    def registry_name():
        return "stream.{label}"

    @staticmethod
    def from_descriptor(version):
        return {name}()

    def get_descriptor(self):
        return "stream.{label}/1"

    def transform_to(self, output):
        return {writer}

    def transform_from(self, input):
        return io.BytesIO({reads})'''
_WRITER = '''\
class AtClose(io.BytesIO):
    """Writes what ``change`` makes of all that it was given to ``output``, as it is closed."""

    def __init__(self, output, change):
        super().__init__()
        self.output, self.change = output, change

    def close(self):
        if not self.closed:
            self.output.write(self.change(self.getvalue()))
            self.output.close()
        super().close()'''
_INVERTED = _CLASS.format(
    name="Inverted",
    does="Every bit is the other one, as a cipher might have it.",
    label="inverted",
    writer="AtClose(output, lambda data: data.translate(bytes(range(255, -1, -1))))",
    reads="input.read().translate(bytes(range(255, -1, -1)))",
)
_DEFLATED = _CLASS.format(
    name="Deflated",
    does="Compressed by zlib.",
    label="deflated",
    writer="AtClose(output, zlib.compress)",
    reads="zlib.decompress(input.read())",
)
_NAMES: dict[Extension, str] = {"inverted": "Inverted", "deflated": "Deflated", "zstandard": "ZStandard"}
_CLASSES: dict[Extension, str] = {"inverted": _INVERTED, "deflated": _DEFLATED}


def extension_blocks(plan: Plan) -> list[str]:
    """The classes of those that torch does not ship, and the registry by which a reader finds them."""
    own = [name for name in dict.fromkeys(plan.scenario.writer.extensions) if name in _CLASSES]
    if not own:
        return []
    blocks = [_WRITER, *(_CLASSES[name] for name in own)]
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
    return plan.last == "load" and not plan.scenario.writer.known_to_torch and plan.scenario.storage == FILE_SYSTEM
