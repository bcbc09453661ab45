"""The imports of a script: those of the names that it uses."""

from __future__ import annotations

import ast

__all__ = ["import_block"]

_STANDARD = (
    "asyncio",
    "atexit",
    "errno",
    "itertools",
    "math",
    "os",
    "sys",
    "tempfile",
    "threading",
    "time",
    "traceback",
)
_TORCH = {
    "torch": "import torch",
    "dist": "import torch.distributed as dist",
    "dcp": "import torch.distributed.checkpoint as dcp",
    "sharded_tensor": "from torch.distributed._shard import sharded_tensor",
    "ShardedTensor": "from torch.distributed._shard.sharded_tensor import ShardedTensor",
    "ChunkShardingSpec": "from torch.distributed._shard.sharding_spec import ChunkShardingSpec",
    "_create_default_local_metadata": (
        "from torch.distributed.checkpoint.default_planner import _create_default_local_metadata"
    ),
    "TensorStorageMetadata": "from torch.distributed.checkpoint.metadata import TensorStorageMetadata",
}


def import_block(source: str) -> str:
    """The import statements, sorted as linters want them, for what ``source`` uses of Python's library and torch."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    standard = [f"import {name}" for name in _STANDARD if name in used]
    torch = [line for name, line in _TORCH.items() if name in used]
    return "\n\n".join("\n".join(block) for block in (standard, torch) if block)
