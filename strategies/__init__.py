"""What may happen: Hypothesis strategies that draw scenarios, for anyone to import."""

from ._bounds import limit_world_sizes
from .failures import failing_ranks, faults
from .kills import killed_scenarios, kills
from .sequences import save_sequences
from .states import fqns, object_values, state_dicts, tensor_entries
from .tensors import chunk_sharding_specs, dtypes, ranks, tensor_shapes, world_sizes
from .whole import operations, scenarios, schedules, writer_options

__all__ = [
    "chunk_sharding_specs",
    "dtypes",
    "failing_ranks",
    "faults",
    "fqns",
    "killed_scenarios",
    "kills",
    "limit_world_sizes",
    "object_values",
    "operations",
    "ranks",
    "save_sequences",
    "scenarios",
    "schedules",
    "state_dicts",
    "tensor_entries",
    "tensor_shapes",
    "world_sizes",
    "writer_options",
]
