"""The reference storage on a server of HTTP, which runs in this process: a storage whose requests can fail."""

from __future__ import annotations

import copy
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import LoadPlan, LoadPlanner, Metadata, SavePlan, SavePlanner
from torch.futures import Future

from .operations import WriterOptions
from .outcome import FileRecord
from .reference import CHECKPOINTS, Checkpoint, ReferenceReader, ReferenceWriter
from .storages import Limits, Storage

__all__ = ["Served"]

_FILES: dict[str, bytes] = {}
"""What is kept, by the path of its address: that of the checkpoint, and the name in it."""

_METADATA = "metadata"
_TIMEOUT = 60
"""Seconds for which an answer is waited for: far more than any takes that is on this machine."""


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        _FILES[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        content = _FILES.get(self.path)
        self._answer(404 if content is None else 200, content or b"")

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Served(Storage):
    """What the reference storage writes goes to the server, and each request is made up to ``attempts`` times."""

    limits = Limits(options=(), uncoordinated=False, stages=False, processes=False)
    attempts = 3
    believes = False
    """Whether it takes any answer for a good one."""

    def __init__(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.endpoint: str = f"http://127.0.0.1:{server.server_address[1]}"

    def at(self, endpoint: str) -> Served:
        moved = copy.copy(self)
        moved.endpoint = endpoint
        return moved

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        return _Writer(checkpoint_id, self)

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return _Reader(checkpoint_id, self)

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...]:
        """Without the metadata."""
        start = quote(f"{checkpoint_id}/")
        sizes = {path.removeprefix(start): len(content) for path, content in _FILES.items() if path.startswith(start)}
        return tuple(FileRecord(name, size) for name, size in sorted(sizes.items()) if name != _METADATA)

    def clean_up(self, checkpoint_id: str) -> None:
        CHECKPOINTS.pop(checkpoint_id, None)
        for path in [path for path in _FILES if path.startswith(quote(f"{checkpoint_id}/"))]:
            del _FILES[path]

    def ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        """What the server answers; raises what the last attempt does."""
        for attempt in range(self.attempts):
            connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=_TIMEOUT)
            try:
                connection.request(method, quote(path), content)
                with connection.getresponse() as answer:  # which has the socket by itself, as HTTP/1.0 does
                    read = answer.read()
                if answer.status == 200 or self.believes:
                    return read
                raise OSError(f"the server says {answer.status}")
            except (OSError, http.client.HTTPException):
                if attempt == self.attempts - 1:
                    raise
            finally:
                connection.close()
        raise AssertionError("unreachable")


class _Writer(ReferenceWriter):
    def __init__(self, checkpoint_id: str, storage: Served) -> None:
        super().__init__(checkpoint_id)
        self._storage = storage

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[Any]:
        written = super().write_data(plan, planner)
        for result in written.value():
            name = result.storage_data.relative_path
            self._storage.ask("PUT", f"{self.checkpoint_id}/{name}", CHECKPOINTS[self.checkpoint_id].files[name])
        return written

    def finish(self, metadata: Metadata, results: list[Any]) -> None:
        super().finish(metadata, results)
        published = CHECKPOINTS[self.checkpoint_id].metadata
        assert published is not None
        self._storage.ask("PUT", f"{self.checkpoint_id}/{_METADATA}", published)


class _Reader(ReferenceReader):
    """Forgets what this process has, and asks the server."""

    def __init__(self, checkpoint_id: str, storage: Served) -> None:
        super().__init__(checkpoint_id)
        self._storage = storage

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        metadata = self._storage.ask("GET", f"{self.checkpoint_id}/{_METADATA}")
        CHECKPOINTS[self.checkpoint_id] = Checkpoint({}, metadata)
        return super().read_metadata()

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for item in plan.items:
            name = self._places[item.storage_index].relative_path
            content = self._storage.ask("GET", f"{self.checkpoint_id}/{name}")
            CHECKPOINTS[self.checkpoint_id].files[name] = content
        return super().read_data(plan, planner)
