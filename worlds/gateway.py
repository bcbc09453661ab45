"""A gateway on this machine to a server of HTTP, by which the requests of one rank pass, and fail where they are to.

It is no part of the schedule of a world: it runs in threads of the system, as a server elsewhere would.
"""

from __future__ import annotations

import _thread
import http.client
import socket
import struct
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from .request_faults import RequestFault

__all__ = ["Gateway"]

_DELAY = 0.05
"""Seconds."""

_POLL = 0.02
"""Seconds until one that is closed notices."""

_TIMEOUT = 60
"""Seconds for which a server is waited for: far more than any takes that is on this machine."""

_CODES = {500: "InternalError", 503: "SlowDown"}
"""What S3 calls them; who does not speak S3 does not look."""

_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")
"""Headers of one connection, or that are made anew."""


class Gateway:
    """Passes requests to the server at ``address``, such as ``http://127.0.0.1:9000``, until it is closed.

    Faults come with their numbers; ``reach`` is told the number of each that strikes, each time that it does, in
    whatever thread.
    """

    def __init__(self, address: str, faults: Sequence[tuple[int, RequestFault]], reach: Callable[[int], None]) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = urlsplit(address).netloc
        self._server.strike = self._strike
        self._faults, self._reach, self._requests = tuple(faults), reach, count()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        # Not by threading, where a thread that a simulated rank starts is one of the world's, and waits for its turn.
        _thread.start_new_thread(self._server.serve_forever, (_POLL,))

    def close(self) -> None:
        """Take no more requests. What is on its way is not waited for, and strikes nobody any more."""
        self._faults = ()
        _thread.start_new_thread(self._end, ())

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _strike(self) -> str | None:
        """What happens to the next request."""
        place, struck = next(self._requests), None
        for number, fault in self._faults:
            if place == fault.skip or (fault.lasting and place > fault.skip):
                self._reach(number)
                struck = struck or fault.error
        return struck


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    upstream: str
    strike: Callable[[], str | None]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who has gone need not be told of on the terminal."""


class _Handler(BaseHTTPRequestHandler):
    """By HTTP/1.0, so that each request has a connection of its own, and none is left waiting for another."""

    server: _Server

    def _pass_on(self) -> None:
        body = self._body()
        error = self.server.strike()
        if error == "dropped":
            self._reset()
        elif error in ("500", "503"):
            code = int(error)
            said = f"<?xml version='1.0'?><Error><Code>{_CODES[code]}</Code><Message>injected</Message></Error>"
            self._answer(code, [("Content-Type", "application/xml")], said.encode())
        else:
            if error == "delayed":
                time.sleep(_DELAY)
            self._answer(*self._asked(body), cut=error == "truncated")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815 - names that http.server calls

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return content

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection = http.client.HTTPConnection(self.server.upstream, timeout=_TIMEOUT)
        try:
            connection.request(self.command, self.path, body if body or self.command != "GET" else None, headers)
            with connection.getresponse() as answer:
                content = answer.read()
            length = len(content) if self.command != "HEAD" else int(answer.headers.get("Content-Length", 0))
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            return answer.status, [*kept, ("Content-Length", str(length))], content
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(content)))]
        for name, value in headers:
            self.send_header(name, value)
        if cut and not content:  # in the middle of the headers
            self.flush_headers()
            self._reset()
            return
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._reset()

    def _reset(self) -> None:
        """Close the connection so that who is at its other end sees no orderly end."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
