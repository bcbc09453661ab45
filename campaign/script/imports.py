"""The imports of a script: those of the names that it uses."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from worlds.backends import FSSPEC

from .text import WIDTH, indented

__all__ = ["import_block"]

_STANDARD = (
    "asyncio",
    "atexit",
    "collections",
    "concurrent.futures",
    "contextlib",
    "copyreg",
    "dataclasses",
    "datetime",
    "enum",
    "errno",
    "functools",
    "gc",
    "io",
    "itertools",
    "json",
    "math",
    "os",
    "pathlib",
    "shutil",
    "signal",
    "sys",
    "tempfile",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
    "zlib",
)
_TORCH = {
    "torch": "import torch",
    "dist": "import torch.distributed as dist",
    "dcp": "import torch.distributed.checkpoint as dcp",
    "mp": "import torch.multiprocessing as mp",
    "nn": "from torch import nn",
}
_MODULES = {"DistributedDataParallel": "from torch.nn.parallel import DistributedDataParallel"}
_SAFETENSORS = {"save_file": "from safetensors.torch import save_file"}
_DISTRIBUTED = {
    "_shard": ("sharded_tensor",),
    "_shard.sharded_tensor": ("ShardedTensor",),
    "_shard.sharding_spec": ("ChunkShardingSpec", "EnumerableShardingSpec", "ShardMetadata"),
    FSSPEC.removeprefix("torch.distributed."): ("FsspecReader", "FsspecWriter"),
    "algorithms._checkpoint.checkpoint_wrapper": ("checkpoint_wrapper",),
    "checkpoint._extension": ("ExtensionRegistry", "StreamTransformExtension", "ZStandard"),
    "checkpoint._dedup_save_plans": ("dedup_save_plans",),
    "checkpoint._nested_dict": ("flatten_state_dict", "unflatten_state_dict"),
    "checkpoint._sharded_tensor_utils": ("_flatten_sharded_tensors",),
    "checkpoint._traverse": ("get_element", "traverse_state_dict"),
    "checkpoint.default_planner": (
        "_create_default_local_metadata",
        "_EmptyStateDictLoadPlanner",
        "_validate_global_plan",
    ),
    "checkpoint.filesystem": ("FileSystem", "SerializationFormat", "_split_by_size_and_type"),
    "checkpoint.format_utils": (
        "BroadcastingTorchSaveReader",
        "DynamicMetaLoadPlanner",
        "dcp_to_torch_save",
        "torch_save_to_dcp",
    ),
    "checkpoint.metadata": (
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "TensorProperties",
        "TensorStorageMetadata",
    ),
    "checkpoint.quantized_hf_storage": ("QuantizedHuggingFaceStorageReader",),
    "checkpoint.planner": ("SavePlan", "TensorWriteData", "WriteItem", "WriteItemType"),
    "checkpoint.planner_helpers": ("_compare_save_plans", "_merge_delta_local_plans"),
    "checkpoint.staging": ("DefaultStager", "StagingOptions"),
    "checkpoint.state_dict": (
        "StateDictOptions",
        "get_model_state_dict",
        "get_optimizer_state_dict",
        "get_state_dict",
        "set_model_state_dict",
        "set_optimizer_state_dict",
        "set_state_dict",
    ),
    "checkpoint.optimizer": ("load_sharded_optimizer_state_dict",),
    "checkpoint.state_dict_loader": ("_load_state_dict_from_keys",),
    "device_mesh": ("DeviceMesh", "init_device_mesh"),
    "fsdp": ("FullyShardedDataParallel", "ShardingStrategy", "fully_shard"),
    "tensor": ("DTensor", "Replicate", "Shard", "distribute_tensor"),
    "tensor._utils": ("_compute_local_shape_and_global_offset",),
    "tensor.parallel": ("ColwiseParallel", "RowwiseParallel", "parallelize_module"),
    "tensor.placement_types": ("_StridedShard",),
}
"""Names below ``torch.distributed``, by the module that they are imported from."""


def import_block(source: str) -> str:
    """The import statements, sorted as linters want them, for what ``source`` uses of Python's library and torch."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    standard = [f"import {name}" for name in _STANDARD if name.partition(".")[0] in used]
    torch = [line for name, line in _TORCH.items() if name in used]
    torch += [line for name, line in _SAFETENSORS.items() if name in used]
    for module, names in sorted(_DISTRIBUTED.items()):
        wanted = [name for name in names if name in used]
        if wanted:
            torch.append(_from(f"torch.distributed.{module}", wanted))
    torch += [line for name, line in _MODULES.items() if name in used]
    return "\n\n".join("\n".join(block) for block in (standard, torch) if block)


def _from(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *indented(f"{name}," for name in names), ")"])
