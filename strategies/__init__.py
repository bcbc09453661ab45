"""What may happen: Hypothesis strategies that draw scenarios, for anyone to import."""

from ._bounds import limit_planners, limit_storages, limit_world_sizes
from .calls import operations, planner_options, schedules, writer_options
from .damages import damaged_scenarios, damages
from .failures import failing_ranks, faults
from .file_faults import failing_file_scenarios, file_faults
from .histories import histories
from .kills import killed_scenarios, kills
from .layouts import chunk_sharding_specs, enumerable_sharding_specs, layouts, memories, mesh_shardings, replicas
from .misfits import misfits
from .mismatches import mismatched_entries
from .misuses import misuses
from .quantized import quantized_tensors
from .rebuildings import rebuildings
from .requests import failing_request_scenarios
from .routes import routes
from .sequences import async_save_sequences, save_sequences
from .side_by_side import saves_side_by_side
from .states import fqns, nested_entries, object_entries, object_values, state_dicts, tensor_entries
from .storages import storages, stored_scenarios
from .stored_histories import stored_histories
from .tensors import dtypes, ranks, tensor_shapes, world_sizes
from .trainings import optimizers, parallelisms, training_layers, training_sides, trainings
from .whole import scenarios
from .windows import windows

__all__ = [
    "async_save_sequences",
    "chunk_sharding_specs",
    "damaged_scenarios",
    "damages",
    "dtypes",
    "enumerable_sharding_specs",
    "failing_file_scenarios",
    "failing_ranks",
    "failing_request_scenarios",
    "faults",
    "file_faults",
    "fqns",
    "histories",
    "killed_scenarios",
    "kills",
    "layouts",
    "limit_planners",
    "limit_storages",
    "limit_world_sizes",
    "memories",
    "mesh_shardings",
    "misfits",
    "mismatched_entries",
    "misuses",
    "nested_entries",
    "object_entries",
    "object_values",
    "operations",
    "optimizers",
    "parallelisms",
    "planner_options",
    "quantized_tensors",
    "ranks",
    "rebuildings",
    "replicas",
    "routes",
    "save_sequences",
    "saves_side_by_side",
    "scenarios",
    "schedules",
    "state_dicts",
    "storages",
    "stored_histories",
    "stored_scenarios",
    "tensor_entries",
    "tensor_shapes",
    "training_layers",
    "training_sides",
    "trainings",
    "windows",
    "world_sizes",
    "writer_options",
]
