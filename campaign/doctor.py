"""What will work here and what will not: versions, devices, file systems, ports and worlds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from properties import judge
from properties.ledger import torch_release
from worlds import Operation, ProcessWorld, Scenario, SimulatedWorld, TensorEntry
from worlds.layouts import ChunkSharding

__all__ = ["Finding", "examine"]

_PACKAGES = ("hypothesis", "numpy", "pytest", "pytest-xdist", "safetensors", "zstandard", "click")
_LEDGERS = ((2, 13), (2, 15))
"""The first and the last release of torch that the ledgers were held against."""

_SCENARIO = Scenario((TensorEntry("a", (4,), saved=ChunkSharding(0, (0, 1))),), Operation(2), Operation(2))


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is well (``None``: neither), and what there is to say of it.

    Without what is ``needed`` nothing works; without the others, something that ``text`` names.
    """

    what: str
    well: bool | None
    text: str
    needed: bool = False


def examine() -> Iterator[Finding]:
    """Look at one thing after the other; what takes long comes last."""
    yield from _versions()
    yield from _devices()
    yield from _directories()
    yield _port()
    yield _world("world simulated", SimulatedWorld, "nothing can be stressed", needed=True)
    yield _world("world processes", ProcessWorld, "laws and scripts that need real ranks cannot run")


def _versions() -> Iterator[Finding]:
    yield Finding("python", None, f"{platform.python_version()} at {sys.executable}")
    first, last = (".".join(map(str, release)) for release in _LEDGERS)
    within = _LEDGERS[0] <= torch_release() <= _LEDGERS[1]
    text = torch.__version__ + ("" if within else f": the ledgers know {first} to {last}, so old bugs may seem new")
    yield Finding("torch", within, text)
    for name in _PACKAGES:
        try:
            yield Finding(name, None, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, False, f"is not installed: pip install {name}", needed=True)


def _devices() -> Iterator[Finding]:
    yield Finding("system", None, f"{platform.system()} {platform.machine()}, {len(_cpus())} CPUs to use")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found = f"{torch.accelerator.device_count()} × {accelerator}"
    yield Finding("accelerator", None, found if accelerator is not None else "none; everything runs on CPU tensors")
    yield Finding("gloo", dist.is_available() and dist.is_gloo_available(), "torch's back end of real ranks")


def _cpus() -> set[int] | range:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _directories() -> Iterator[Finding]:
    places = {"temporary files": Path(tempfile.gettempdir()), "shared memory": Path("/dev/shm"), "here": Path.cwd()}
    for what, path in places.items():
        if not path.is_dir():
            yield Finding(what, None, f"there is no {path}: checkpoints of the simulated world go to temporary files")
            continue
        try:
            seconds = _write(path)
        except OSError as error:
            yield Finding(what, False, f"{path} cannot be written, synchronised and renamed in: {error.strerror}")
            continue
        free = shutil.disk_usage(path).free / 2**30
        text = f"{path} ({_file_system(path)}): {free:.1f} GiB free, write, fsync and rename in {1000 * seconds:.1f} ms"
        yield Finding(what, free > 0.5, text if free > 0.5 else f"{text}: too little")


def _write(directory: Path) -> float:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=directory) as inside:
        path = Path(inside, "a")
        with path.open("wb") as stream:
            stream.write(bytes(4096))
            stream.flush()
            os.fsync(stream.fileno())
        path.rename(Path(inside, "b"))
    return time.perf_counter() - start


def _file_system(path: Path) -> str:
    """The type of the file system, where the system tells it."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown file system"
    found = [line.split()[1:3] for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    above = [(point, kind) for point, kind in found if path.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown file system"


def _port() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            return Finding("loopback", True, "a port can be bound and reached, as real ranks need it")
    except OSError as error:
        return Finding("loopback", False, f"no port can be bound and reached, which real ranks need: {error.strerror}")


def _world(what: str, make: Callable[[], SimulatedWorld | ProcessWorld], loss: str, *, needed: bool = False) -> Finding:
    start = time.perf_counter()
    try:
        with make() as world:
            verdict = judge(_SCENARIO, world.run(_SCENARIO))
            first = time.perf_counter() - start
            start = time.perf_counter()
            world.run(_SCENARIO)
            second = time.perf_counter() - start
    except Exception as error:  # whatever it is that does not work here
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(what, False, f"does not run, so that {loss}: {line[:200]}", needed)
    if not verdict:
        return Finding(what, False, f"a plain save and load breaks a law: {verdict.violation()}", needed)
    text = f"2 ranks saved and loaded in {1000 * second:.0f} ms, the first time in {1000 * first:.0f} ms"
    return Finding(what, True, text, needed)
