"""Every planted bug by its id. Where a bug comes from, if torch had it once, is its ``upstream``."""

from __future__ import annotations

from collections.abc import Mapping

from ..bug import Bug
from .files import FILES
from .plans import PLANS
from .ranks import RANKS
from .shards import SHARDS
from .states import STATES

__all__ = ["CATALOGUE"]

CATALOGUE: Mapping[str, Bug] = {bug.id: bug for bug in (*SHARDS, *PLANS, *STATES, *FILES, *RANKS)}
