"""What was saved at the same path before: by plain ``save()``, with or without collectives, whatever the API later."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata

from .calls import make_save_planner, make_writer
from .inject import Injection
from .program import Call
from .scenario import Scenario
from .state import StateDict
from .storages import find_storage

__all__ = ["earlier_save"]


def earlier_save(scenario: Scenario) -> tuple[Scenario, Call] | None:
    """The scenario of the earlier save, which has no faults, and what saves in it; ``None`` where there was none."""
    if scenario.earlier == "nothing":
        return None
    before = replace(scenario, faults=(), file_faults=(), damages=(), earlier="nothing")
    return before, partial(_save, use_collectives=scenario.earlier == "coordinated")


def _save(
    scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any, *, use_collectives: bool
) -> Metadata:
    del injection
    metadata: Metadata = dcp.save(
        state.entries,
        checkpoint_id=find_storage(scenario.storage).checkpoint_id(path),
        storage_writer=make_writer(scenario, path),
        planner=make_save_planner(scenario),
        process_group=group,
        no_dist=scenario.save.no_dist,
        use_collectives=use_collectives,
    )
    return metadata
