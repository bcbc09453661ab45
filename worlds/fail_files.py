"""Operations on files that fail, in the one file system object of a rank's writer or reader, and in what it opens.

Of DCP's own, or of that of fsspec, where what fails are the operations of fsspec itself.

Nothing else is replaced: no class, no module and no function of the system, so that ranks which share a process do not
meet each other's faults. An operation fails where the system would refuse it: a path cannot be used in the place of its
name, and a file is what lies below its buffer, so that all that DCP, Python and torch do about it is their own.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NoReturn

from torch.distributed.checkpoint.filesystem import FileSystem

from .errors import RAISES_NOTHING
from .file_faults import UNWRITTEN, FileFault

__all__ = ["BUFFERS", "FailingFiles", "files_of", "put_back"]

BUFFERS = {"data": 256, "metadata": io.DEFAULT_BUFFER_SIZE}
"""The sizes of files' buffers, in bytes.

Of those with data, so small that a small tensor takes several writes, as a large one does. Of the metadata, as usual:
what has not been written when it is synced depends on it.
"""

_OF_PATHS = {
    "mkdir": "directory.mkdir",
    "exists": "metadata.exists",
    "rm_file": "metadata.remove",
    "rename": "metadata.rename",
}
"""The methods of DCP's ``FileSystem`` that ask one thing of the system."""


class FailingFiles:
    """The operations on files that fail on one rank, in one save or load.

    Faults come with their numbers. ``reach`` is told the number of each that strikes, and each time that it does;
    ``make_error`` makes of it what is raised, where it is one that raises.
    """

    def __init__(
        self,
        faults: Sequence[tuple[int, FileFault]],
        reach: Callable[[int], None],
        make_error: Callable[[int], BaseException],
    ) -> None:
        self._reach = reach
        self._make_error = make_error
        self._faults = [(number, fault, count()) for number, fault in faults]

    def place(self, files: Any) -> None:
        """Let the operations of ``files``, a ``FileSystem`` of DCP or of its fsspec, fail."""
        if files_of(files) == "fsspec":
            self._place_in_fsspec(files)
            return
        calls = {fault.call for _, fault, _ in self._faults}
        for method, call in _OF_PATHS.items():
            if call in calls:
                vars(files)[method] = self._on_path(getattr(files, method), call)
        if any(call.startswith(("data.", "metadata.")) for call in calls):
            vars(files)["create_stream"] = self._opening(files.create_stream)

    def _place_in_fsspec(self, files: Any) -> None:
        """In the place of what fsspec has for the path, which other ranks have too, and is found anew at a reset."""
        init_path = files.init_path

        def failing(path: Any, **kwargs: Any) -> Any:
            found = init_path(path, **kwargs)
            files.fs = _FailingFsspec(files.fs, self.strike)
            return found

        vars(files)["init_path"] = failing
        files.fs = _FailingFsspec(files.fs, self.strike)

    def strike(self, call: str) -> Strike | None:
        """The fault that a call there meets, if there is one; to be asked once for each call, since it counts them."""
        struck = None
        for number, fault, calls in self._faults:
            if fault.call == call:
                done = next(calls)
                if done == fault.skip or (done > fault.skip and fault.error == "full"):
                    partly = done == fault.skip and fault.error in ("short", "full")
                    reach, make_error = partial(self._reach, number), partial(self._make_error, number)
                    struck = Strike(partly, fault.error not in RAISES_NOTHING, reach, make_error)
        return struck

    def _path(self, path: Any, call: str) -> Path:
        strike = self.strike(call)
        failing = _FailingPath(path)
        failing.strike = strike
        return failing

    def _on_path(self, method: Callable[..., Any], call: str) -> Callable[..., Any]:
        def failing(path: Any, *args: Any) -> Any:
            return method(self._path(path, call), *args)

        return failing

    def _opening(self, create_stream: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def create(path: Any, mode: str) -> Iterator[Any]:
            kind = _kind_of(path)
            opened = create_stream(self._path(path, f"{kind}.open"), mode)
            with opened as stream, self._over(stream, kind) as failing:
                yield failing

        return create

    def _over(self, stream: Any, kind: str) -> Any:
        """``stream``, with what may fail below its buffer, or in its place where it has none."""
        if not isinstance(stream, io.BufferedReader | io.BufferedWriter):
            return _FailingFile(stream, partial(self._strike_of, kind))
        file = _FailingFile(stream.raw, lambda _: None)
        buffered: Any = type(stream)(file, BUFFERS[kind])
        # Only now, since a buffer that is made looks at its file, which nobody counts.
        file.strike = partial(self._strike_of, kind)
        return buffered

    def _strike_of(self, kind: str, method: str) -> Strike | None:
        return self.strike(f"{kind}.{method}")


def files_of(files: Any) -> Literal["system", "fsspec"] | None:
    """What a writer or a reader has its files in, as its ``fs``: ``None`` where nobody knows how to let that fail."""
    if isinstance(files, FileSystem):
        return "system"
    modules = [kind.__module__ for kind in type(files).__mro__]  # the class has another name in each torch
    return "fsspec" if any(module.endswith("fsspec_filesystem") for module in modules) else None


def put_back(files: Any) -> None:
    """Let no operation of ``files`` fail any more that :meth:`FailingFiles.place` has let fail, but in open files."""
    for name in (*_OF_PATHS, "create_stream", "init_path"):
        vars(files).pop(name, None)
    if isinstance(getattr(files, "fs", None), _FailingFsspec):
        files.fs = files.fs.whole


def _kind_of(path: Any) -> Literal["data", "metadata"]:
    return "data" if str(path).endswith(".distcp") else "metadata"


@dataclass(frozen=True)
class Strike:
    """What a call meets: whether it does its work ``partly``, if it has more than a byte, and else whether it fails.

    Where neither, it does its work, and what comes of that is lost later.
    """

    partly: bool
    fails: bool
    reach: Callable[[], None]
    make_error: Callable[[], BaseException]

    def fail(self) -> NoReturn:
        """Raise what the call is to raise."""
        self.reach()
        raise self.make_error()


class _FailingPath(type(Path())):  # type: ignore[misc]
    """A path that cannot be used, once: when the system asks for its name."""

    strike: Strike | None = None

    def __fspath__(self) -> str:
        strike, self.strike = self.strike, None
        if strike is not None:
            strike.fail()
        return str(self)


class _FailingFsspec:
    """A file system of fsspec, each operation of which may fail, before it has done anything."""

    def __init__(self, files: Any, strike: Callable[[str], Strike | None]) -> None:
        self.whole = files
        self._strike = strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def open(self, path: Any, mode: str) -> Any:
        kind = _kind_of(path)
        self._may_fail(f"{kind}.open")
        return _FailingFile(self.whole.open(path, mode), lambda method: self._strike(f"{kind}.{method}"))

    def makedirs(self, path: Any, exist_ok: bool) -> None:
        self._may_fail("directory.mkdir")
        self.whole.makedirs(path, exist_ok=exist_ok)

    def exists(self, path: Any) -> bool:
        self._may_fail("metadata.exists")
        return bool(self.whole.exists(path))

    def rename(self, path: Any, new_path: Any) -> None:
        self._may_fail("metadata.rename")
        self.whole.rename(path, new_path)

    def rm(self, path: Any) -> None:
        self._may_fail("metadata.remove" if str(path).endswith(".metadata") else UNWRITTEN)
        self.whole.rm(path)

    def _may_fail(self, call: str) -> None:
        strike = self._strike(call)
        if strike is not None:
            strike.fail()


class _FailingFile(io.RawIOBase):
    """A file as the system has it, without a buffer, or as fsspec has it, each call of which may fail."""

    def __init__(self, file: Any, strike: Callable[[str], Strike | None]) -> None:
        self._file = file
        self.strike = strike
        self._kept: int | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        strike = self.strike("write")
        if strike is not None and strike.partly and len(view) > 1:
            strike.reach()
            view = view[: len(view) // 2]
        elif strike is not None and strike.fails:
            strike.fail()
        written: int = self._file.write(view)
        return written

    def readinto(self, buffer: Any) -> int:
        strike = self.strike("read")
        if strike is not None and strike.fails:
            strike.fail()
        read: int = self._file.readinto(buffer)
        if strike is None or read < 2:
            return read
        strike.reach()
        self._file.seek(read // 2 - read, io.SEEK_CUR)
        return read // 2

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._may_fail("seek")
        place: int = self._file.seek(offset, whence)
        return place

    def tell(self) -> int:
        self._may_fail("seek")
        place: int = self._file.tell()
        return place

    def fileno(self) -> Any:
        return _Descriptor(self._file, self._sync)

    def close(self) -> None:
        if not self.closed:
            if self._kept is not None:
                self._file.truncate(self._kept)
            self._file.close()
            super().close()
            self._may_fail("close")

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def readable(self) -> bool:
        return bool(self._file.readable())

    def writable(self) -> bool:
        return bool(self._file.writable())

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def _sync(self) -> None:
        strike = self.strike("fsync")
        if strike is not None and strike.fails:
            strike.fail()
        if strike is not None or self._kept is not None:
            self._kept = os.fstat(self._file.fileno()).st_size
        if strike is not None:
            strike.reach()

    def _may_fail(self, method: str) -> None:
        strike = self.strike(method)
        if strike is not None:
            strike.fail()


class _Descriptor:
    """The number of a file, which ``os.fsync`` asks for as it begins, and then may not get."""

    def __init__(self, file: Any, sync: Callable[[], None]) -> None:
        self._file = file
        self._sync = sync

    def fileno(self) -> int:
        self._sync()
        number: int = self._file.fileno()
        return number
