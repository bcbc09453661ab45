"""How the ranks share a training, as plain data, and what torch can train so."""

from __future__ import annotations

from dataclasses import dataclass

from ..concise import Concise
from ..invalid import require
from .layers import Embedding, Layer, Mlp, Renamed, Scale, rows_of

__all__ = ["Parallelism", "can_train"]


@dataclass(frozen=True, repr=False)
class Parallelism(Concise):
    """How the ranks share a training: a mesh of ``stages`` × ``replicas`` × ``data`` × ``tensor`` ranks.

    ``data`` is the number of ranks that ``fully_shard`` cuts the parameters for, and ``tensor`` that of tensor
    parallelism; 0 stands for neither. With ``replicas``, ``fully_shard`` is to replicate too (HSDP), or else the
    ranks have equal copies. With ``wrapped``, each layer is fully sharded by itself, and not the whole alone.
    With ``flat``, ``FullyShardedDataParallel``, the first version of FSDP, is in the place of ``fully_shard``: it makes
    one flat parameter of all those of a module, and cuts that. The optimizer has views of it (``use_orig_params``).
    With ``replicas``, those are copies of what is cut (``HYBRID_SHARD``).
    With ``stages``, of a pipeline, the ranks of each have some of the layers and no others, by the names that they have
    in the whole. Each takes its steps by itself, with the batch in the place of what the stage before would hand on.
    """

    _positional = 0

    replicas: int = 1
    data: int = 0
    tensor: int = 0
    wrapped: bool = False
    flat: bool = False
    stages: int = 1

    def __post_init__(self) -> None:
        positive = min(self.stages, self.replicas) > 0
        require(positive and min(self.data, self.tensor) >= 0, f"no mesh has such dims: {self}")
        require(self.data > 0 or not self.wrapped, "layers are wrapped that fully_shard does not see")
        alone = self.data > 1 and not self.tensor and self.stages == 1
        require(alone or not self.flat, "FSDP's first version shards for two ranks at least, and is here by itself")

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return self.stages * self.replicas * max(1, self.data) * max(1, self.tensor)


def can_train(layer: Layer, parallelism: Parallelism) -> bool:
    """Whether torch itself can take a step with the layer, by FSDP and ``DTensor`` as they are in 2.13.

    FSDP's first version takes no 0-d parameter, and no module whose hooks name its parameters otherwise.
    ``fully_shard`` takes no parameter of which tensor parallelism leaves a rank nothing, an embedding has no forward
    pass there, and ``DTensor`` cannot make the gradient of a sharded bias of one element.
    """
    if parallelism.flat and isinstance(layer, Scale | Renamed):
        return False
    if not parallelism.tensor or not isinstance(layer, Mlp | Embedding):
        return True
    rows = rows_of(layer)
    if isinstance(layer, Mlp) and layer.bias and rows == 1:
        return False
    everywhere = -(-rows // parallelism.tensor) * (parallelism.tensor - 1) < rows
    return everywhere or (isinstance(layer, Mlp) and not parallelism.data)
