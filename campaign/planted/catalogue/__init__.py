"""Every planted bug by its id. Where a bug comes from, if torch had it once, is its ``upstream``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from ..bug import Bug
from .collectives import COLLECTIVES
from .file_failures import FILE_FAILURES
from .layouts import LAYOUTS
from .load_plans import LOAD_PLANS
from .misfits import MISFITS
from .misuses import MISUSES
from .plan_caches import PLAN_CACHES
from .quantized import QUANTIZED
from .reads import READS
from .resharding import RESHARDING
from .save_plans import SAVE_PLANS
from .shards import SHARDS
from .staging import STAGING
from .states import STATES
from .steps import STEPS
from .storages import STORAGES
from .trainings import TRAININGS
from .uncoordinated import UNCOORDINATED
from .writes import WRITES

__all__ = ["CATALOGUE"]

_OF_TENSORS = (LAYOUTS, SHARDS, RESHARDING, STATES, TRAININGS, STAGING)
_OF_PLANS = (SAVE_PLANS, LOAD_PLANS, PLAN_CACHES)
_OF_FILES = (WRITES, READS, FILE_FAILURES, STORAGES, QUANTIZED)
_OF_RANKS = (STEPS, COLLECTIVES, UNCOORDINATED, MISUSES, MISFITS)

CATALOGUE: Mapping[str, Bug] = {bug.id: bug for bug in chain(*_OF_TENSORS, *_OF_PLANS, *_OF_FILES, *_OF_RANKS)}
