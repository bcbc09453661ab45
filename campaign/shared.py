"""Findings that machines share by a Redis server: what one has found, every later campaign tries first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from properties.databases import NoRedis, redis_of

from .files import write_whole
from .finding import FILE, Finding
from .status import Unable

__all__ = ["SharedFindings"]

_KEY = "dcp-stress:findings"


class SharedFindings:
    """The server's findings, each by its id; raises :class:`Unable` where it does not answer."""

    def __init__(self, url: str) -> None:
        try:
            self._client = redis_of(url)
        except NoRedis as error:
            raise Unable(str(error)) from None

    def pull(self, directory: Path) -> None:
        """Write those that are not there yet into the directory, as a campaign keeps its own."""
        for name, text in self._client.hgetall(_KEY).items():
            path = directory / name.decode() / FILE
            if not path.exists():
                write_whole(path, text.decode())

    def push(self, findings: Iterable[Finding]) -> None:
        """Put them on the server, each unless a better one of its group is there."""
        for finding in findings:
            text = self._client.hget(_KEY, finding.id)
            if text is None or finding.is_better_than(Finding.from_data(json.loads(text))):
                self._client.hset(_KEY, finding.id, json.dumps(finding.to_data()))
