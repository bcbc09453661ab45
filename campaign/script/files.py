"""Operations on files that fail below the storage, in a script: a file system of DCP, as much of it as there is.

What it does is what :mod:`worlds.fail_files` does, in the one writer or reader that is given it: an operation fails
where the system would refuse it, so that all that DCP, Python and torch do about it is their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worlds.errors import RAISES_NOTHING
from worlds.fail_files import BUFFERS
from worlds.file_faults import FileFault
from worlds.storages import FILE_SYSTEM

from .errors import fault_message
from .known import CannotWrite
from .plan import Name, Plan
from .text import Code, Items, headed, render

__all__ = ["file_blocks", "file_faults", "new_directory", "on_failing_files"]

_PATH = '''\
class FailingPath(type(pathlib.Path())):
    """A path that cannot be used once, when the system asks for its name."""

    error = None

    def __fspath__(self):
        error, self.error = self.error, None
        if error is not None:
            raise error
        return str(self)'''

_FILES = '''\
class FailingFiles(FileSystem):
    """Lets calls fail: those in ``faults``, by what is called and how often it was before."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults
        self.calls = {call: itertools.count() for call, _ in faults}'''
_MEETS = '''\
    def meets(self, call):
        """What is to come of this call, if it is to fail."""
        return self.faults.get((call, next(self.calls[call]))) if call in self.calls else None'''
_MEETS_FULL = '''\
    def meets(self, call):
        """What is to come of this call, if it is to fail; a disk that is full stays full."""
        number = next(self.calls[call]) if call in self.calls else None
        if any(self.faults.get((call, before)) == "full" for before in range(number or 0)):
            return OSError(errno.ENOSPC, "write failed")
        return self.faults.get((call, number))'''
_MAY_FAIL = """\
    def may_fail(self, call):
        error = self.meets(call)
        if error is not None:
            raise error"""
_FAILING = '''\
    def failing(self, path, call):
        """``path`` for that call, which may fail."""
        path = FailingPath(path)
        path.error = self.meets(call)
        return path'''
_ON_PATHS = {
    "directory.mkdir": """\
    def mkdir(self, path):
        super().mkdir(self.failing(path, "directory.mkdir"))""",
    "metadata.exists": """\
    def exists(self, path):
        return super().exists(self.failing(path, "metadata.exists"))""",
    "metadata.remove": """\
    def rm_file(self, path):
        self.may_fail("metadata.remove")
        super().rm_file(path)""",
    "metadata.rename": """\
    def rename(self, path, new_path):
        self.may_fail("metadata.rename")
        super().rename(path, new_path)""",
}
_OPENS = """\
    @contextlib.contextmanager
    def create_stream(self, path, mode):
        self.may_fail("data.open" if path.suffix == ".distcp" else "metadata.open")
        with super().create_stream(path, mode) as stream:
            yield stream"""
_OPENS_FAILING = """\
    @contextlib.contextmanager
    def create_stream(self, path, mode):
        kind = "data" if path.suffix == ".distcp" else "metadata"
        self.may_fail(f"{{kind}}.open")
        file = FailingFile(path, mode)
        buffer = io.BufferedReader if mode == "rb" else io.BufferedWriter
        with buffer(file, {size}) as stream:
            # Only now, since a buffer that is made looks at its file.
            file.meets = lambda method: self.meets(f"{{kind}}.{{method}}")
            yield stream"""

_FILE = '''\
class FailingFile(io.FileIO):
    """A file as the system has it, below its buffer, each call of which may fail."""

    def meets(self, method):
        return None

    def may_fail(self, method):
        error = self.meets(method)
        if error is not None:
            raise error'''
_WRITES = """\
    def write(self, data):
        self.may_fail("write")
        return super().write(data)"""
_WRITES_PART = """\
    def write(self, data):
        error = self.meets("write")
        if error in ("short", "full") and len(data) > 1:
            return super().write(data[: len(data) // 2])
        if error not in (None, "short"):
            raise OSError(errno.ENOSPC, "write failed") if error == "full" else error
        return super().write(data)"""
_READS = """\
    read, readall = io.RawIOBase.read, io.RawIOBase.readall  # which call what follows

    def readinto(self, buffer):
        self.may_fail("read")
        return super().readinto(buffer)"""
_READS_PART = """\
    read, readall = io.RawIOBase.read, io.RawIOBase.readall  # which call what follows

    def readinto(self, buffer):
        error = self.meets("read")
        if error not in (None, "short"):
            raise error
        read = super().readinto(buffer)
        if error is None or read < 2:
            return read
        super().seek(read // 2 - read, io.SEEK_CUR)
        return read // 2"""
_SEEKS = """\
    def seek(self, *place):
        self.may_fail("seek")
        return super().seek(*place)

    def tell(self):
        self.may_fail("seek")
        return super().tell()"""
_SYNCS = """\
    def fileno(self):  # which os.fsync is given
        self.may_fail("fsync")
        return super().fileno()"""
_CLOSES = """\
    def close(self):
        if not self.closed:
            super().close()
            self.may_fail("close")"""

_FUNCTION = '''\
def on_failing_files(storage, faults):
    """``storage``, a writer or a reader, with operations on files that fail."""
    storage.fs = FailingFiles(faults)
    return storage'''


def file_faults(plan: Plan, name: Name) -> list[FileFault]:
    """Those of an operation that fail in a script, where the power does not."""
    return [fault for fault in plan.scenario.file_faults if fault.operation == name and fault.error != "lost"]


def on_failing_files(plan: Plan, name: Name, storage: Code) -> Code:
    """The writer, or the reader, whose operations on files fail as they are to in that operation."""
    by_rank: dict[int, list[FileFault]] = {}
    for fault in file_faults(plan, name):
        by_rank.setdefault(plan.members(name)[fault.rank], []).append(fault)
    if not by_rank:
        return storage
    faults = {rank: Items("{", tuple(map(_fault, mine))) for rank, mine in sorted(by_rank.items())}
    everywhere = len(faults) == len(plan.members(name)) and len(set(map(render, faults.values()))) == 1
    if plan.ranks == 1 or everywhere:
        return Items("on_failing_files(", (storage, next(iter(faults.values()))))
    of_ranks = tuple(headed(f"{rank}: ", mine) for rank, mine in faults.items())
    return Items("on_failing_files(", (storage, Items("{", of_ranks, ".get(rank, {})")))


def _fault(fault: FileFault) -> str:
    error = f'OSError(errno.{fault.error}, "{fault_message(fault)}")' if fault.error.isupper() else f'"{fault.error}"'
    return f'("{fault.call}", {fault.skip}): {error}'


def file_blocks(plans: Sequence[Plan]) -> list[str]:
    """The classes by which operations on files fail in any of ``plans``, and the function that puts them in place."""
    faults = [fault for plan in plans for name in plan.names for fault in _known(plan, file_faults(plan, name))]
    if not faults:
        return []
    calls = {fault.call for fault in faults}
    opened = [call for call in calls if call.startswith(("data.", "metadata.")) and call not in _ON_PATHS]
    in_file = any(not call.endswith(".open") for call in opened)
    on_names = calls & {"directory.mkdir", "metadata.exists"}
    methods = [_MEETS_FULL if any(fault.error == "full" for fault in faults) else _MEETS]
    methods += [_MAY_FAIL] if calls - on_names else []
    methods += [_FAILING] if on_names else []
    methods += [method for call, method in _ON_PATHS.items() if call in calls]
    if in_file:
        methods.append(_OPENS_FAILING.format(size=_size(opened)))
    elif opened:
        methods.append(_OPENS)
    path = [_PATH] if on_names else []
    file = [_with(_FILE, list(_of_file(faults)))] if in_file else []
    return [*path, *file, _with(_FILES, methods), _FUNCTION]


def new_directory(plans: Sequence[Plan]) -> list[str]:
    """The statement by which the path is none that is there, where a directory cannot be made in any of ``plans``."""
    faults = [fault for plan in plans for fault in file_faults(plan, "save")]
    making = any(fault.call == "directory.mkdir" for fault in faults)
    return ['path = os.path.join(path, "new")  # a directory that is to be made'] if making else []


def _with(head: str, methods: Sequence[str]) -> str:
    return "\n\n".join([head, *methods])


def _of_file(faults: Sequence[FileFault]) -> Iterator[str]:
    """The methods of open files that may fail."""
    errors: dict[str, set[str]] = {}
    for fault in faults:
        errors.setdefault(fault.call.rpartition(".")[2], set()).add(fault.error)
    partly = RAISES_NOTHING | {"full"}
    for method, (whole, part) in {"write": (_WRITES, _WRITES_PART), "read": (_READS, _READS_PART)}.items():
        if method in errors:
            yield part if errors[method] & partly else whole
    for method, source in {"seek": _SEEKS, "fsync": _SYNCS, "close": _CLOSES}.items():
        if method in errors:
            yield source


def _size(calls: Sequence[str]) -> str:
    """The expression for the size of a buffer: of files with data small ones, so that a small tensor takes several."""
    kinds = {call.partition(".")[0] for call in calls}
    sizes = {kind: str(size) for kind, size in BUFFERS.items()}
    return sizes[kinds.pop()] if len(kinds) == 1 else f'{sizes["data"]} if kind == "data" else {sizes["metadata"]}'


def _known(plan: Plan, faults: list[FileFault]) -> list[FileFault]:
    """``faults``; raises :class:`CannotWrite` for what a script cannot do."""
    if not faults:
        return []
    if plan.scenario.storage != FILE_SYSTEM:
        raise CannotWrite(f"there is no script for operations on files that fail on {plan.scenario.storage!r} yet")
    full = {(fault.operation, fault.rank, fault.call) for fault in faults if fault.error == "full"}
    several = [fault for fault in faults if (fault.operation, fault.rank, fault.call) in full]
    if len(several) > len(full):
        raise CannotWrite("there is no script for a disk that becomes full beside another failure of that call yet")
    return faults
