"""Extensions of DCP's file system storage: what its writer passes each item through, and its reader back.

``StreamTransformExtension`` is for compression and encryption. Torch ships one, ``ZStandard``, which needs the package
``zstandard``; of the two here one changes each byte, as a cipher does, and the other the length, as compression does.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

from torch.distributed.checkpoint._extension import ExtensionRegistry, StreamTransformExtension, ZStandard

from .operations import Extension

__all__ = ["Deflated", "Inverted", "make_extensions", "registry"]

_INVERTED = bytes(range(255, -1, -1))


class _Writer(io.RawIOBase):
    """Writes what ``change`` makes of what it is given to ``output``, and at the end what ``finish`` says."""

    def __init__(self, output: IO[bytes], change: Callable[[bytes], bytes], finish: Callable[[], bytes]) -> None:
        self._output = output
        self._change = change
        self._finish = finish

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        _write_all(self._output, self._change(content))
        return len(content)

    def close(self) -> None:
        if self.closed:
            return
        try:
            _write_all(self._output, self._finish())
            self._output.close()
        finally:
            super().close()


def _write_all(output: IO[bytes], content: bytes) -> None:
    """A stream may take a part of what it is given, and says so."""
    while content:
        content = content[output.write(content) :]


class _Named(StreamTransformExtension):
    """Known in the metadata by the name of its class."""

    @classmethod
    def registry_name(cls) -> str:
        return f"stream.{cls.__name__.lower()}"

    @classmethod
    def from_descriptor(cls, version: str) -> _Named:
        return cls()

    def get_descriptor(self) -> str:
        return f"{self.registry_name()}/1"


class Inverted(_Named):
    """Every bit of every byte is the other one."""

    def transform_to(self, output: IO[bytes]) -> IO[bytes]:
        return cast(IO[bytes], _Writer(output, lambda content: content.translate(_INVERTED), bytes))

    def transform_from(self, input: IO[bytes]) -> IO[bytes]:
        return io.BytesIO(input.read(-1).translate(_INVERTED))


class Deflated(_Named):
    """The bytes are compressed by :mod:`zlib`."""

    def transform_to(self, output: IO[bytes]) -> IO[bytes]:
        compressor = zlib.compressobj()
        return cast(IO[bytes], _Writer(output, compressor.compress, compressor.flush))

    def transform_from(self, input: IO[bytes]) -> IO[bytes]:
        return io.BytesIO(zlib.decompress(input.read(-1)))


_MADE: dict[Extension, type[StreamTransformExtension]] = {
    "inverted": Inverted,
    "deflated": Deflated,
    "zstandard": ZStandard,
}


def make_extensions(names: Sequence[Extension]) -> list[StreamTransformExtension]:
    """New ones of those names; raises ``ValueError`` where ``zstandard`` is one and its package is not there."""
    return [_MADE[name]() for name in names]


def registry() -> ExtensionRegistry:
    """By which a reader finds all of them, since what is saved names its own."""
    found = ExtensionRegistry()
    for kind in (Inverted, Deflated):
        found.register(kind)
    return found
