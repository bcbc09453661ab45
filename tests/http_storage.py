"""Storages on a server of HTTP that are wrong, or in a hurry, as those of others may be."""

from __future__ import annotations

from worlds.served import Served

__all__ = ["Believing", "Impatient"]


class Impatient(Served):
    """Asks once."""

    attempts = 1


class Believing(Served):
    """Takes any answer for a good one."""

    believes = True
