"""How the ranks share a training, as source: the mesh, tensor parallelism, and ``fully_shard``."""

from __future__ import annotations

from worlds.training import Again, Block, Counter, Embedding, Mlp, Parallelism, Scale, Training
from worlds.training.layers import Layer, leaf_layers

from ..text import Code, Items, headed, quoted, render
from .model import layer_places

__all__ = ["mesh_lines", "parallel_lines"]

_PLANS: dict[type[Mlp | Embedding], dict[str, str]] = {
    Mlp: {"0": "ColwiseParallel(use_local_output=False)", "1": "RowwiseParallel()"},
    Embedding: {
        "tokens": "RowwiseParallel(input_layouts=Replicate())",
        "head": "ColwiseParallel(output_layouts=Replicate())",
    },
}


def mesh_lines(parallelism: Parallelism) -> list[str]:
    """The statement that makes ``mesh``, which every rank of the job must run; none where the ranks have copies."""
    dims = _dims(parallelism)
    if not parallelism.data and not parallelism.tensor:
        return []
    sizes = f"({', '.join(map(str, dims.values()))}{',' if len(dims) == 1 else ''})"
    named = [f"mesh_dim_names=({', '.join(map(quoted, dims))})"] if len(dims) > 1 else []
    return [render(Items("mesh = init_device_mesh(", ('"cpu"', sizes, *named)))]


def parallel_lines(training: Training, parallelism: Parallelism) -> list[str]:
    """The statements that parallelise ``model`` on ``mesh``."""
    if parallelism.flat:
        return _flat(training, parallelism)
    return [*_tensor_parallel(training, parallelism), *_fully_shard(training, parallelism)]


def _dims(parallelism: Parallelism) -> dict[str, int]:
    replicas = parallelism.replicas if parallelism.replicas > 1 else 0
    stages = parallelism.stages if parallelism.stages > 1 else 0
    sizes = {"stages": stages, "replicas": replicas, "data": parallelism.data, "tensor": parallelism.tensor}
    return {name: size for name, size in sizes.items() if size}


def _within(parallelism: Parallelism, *names: str) -> str:
    """The mesh along the dims of those names."""
    dims = [name for name in _dims(parallelism) if name in names]
    return "mesh" if dims == list(_dims(parallelism)) else f"mesh[{', '.join(map(quoted, dims))}]"


def _tensor_parallel(training: Training, parallelism: Parallelism) -> list[str]:
    plan: list[Code] = []
    ties = []
    for path, layer in layer_places(training.layers):
        if isinstance(layer, Mlp | Embedding):
            name = ".".join(map(str, path))
            plan += [f"{quoted(f'{name}.{inner}')}: {style}" for inner, style in _PLANS[type(layer)].items()]
        if isinstance(layer, Embedding) and layer.tied:
            ties.append(f"{_at(path)}.head.weight = {_at(path)}.tokens.weight")
    if not parallelism.tensor or not plan:
        return []
    mesh = _within(parallelism, "tensor")
    return [render(Items("parallelize_module(", ("model", mesh, Items("{", tuple(plan))))), *ties]


def _fully_shard(training: Training, parallelism: Parallelism) -> list[str]:
    if not parallelism.data:
        return []
    scales = [f"{_at(path)}.weight" for path, layer in layer_places(training.layers) if isinstance(layer, Scale)]
    mesh = f"mesh={_within(parallelism, 'replicas', 'data')}"
    ignored: list[Code] = [headed("ignored_params=", Items("{", tuple(scales)))] if scales else []

    def shard(what: str) -> str:
        return render(Items("fully_shard(", (what, mesh, *ignored)))

    lines = []
    if parallelism.wrapped:
        taken = [index for index, layer in enumerate(training.layers) if _has_shards(layer)]
        layers = "model" if len(taken) == len(training.layers) else f"[{', '.join(f'model[{i}]' for i in taken)}]"
        lines = [f"for layer in {layers}:\n    {shard('layer')}"] if taken else []
    return [*lines, shard("model")]


def _flat(training: Training, parallelism: Parallelism) -> list[str]:
    """The statements that put ``model``, and perhaps its layers, into FSDP's first version."""

    def shard(what: str) -> str:
        options = ["device_mesh=mesh", 'device_id=torch.device("cpu")', "use_orig_params=True"]
        if parallelism.replicas > 1:
            options.append("sharding_strategy=ShardingStrategy.HYBRID_SHARD")
        return f"{what} = {render(Items('FullyShardedDataParallel(', (what, *options)))}"

    taken = [place for place, layer in enumerate(training.layers) if parallelism.wrapped and _has_shards(layer)]
    return [*(shard(f"model[{place}]") for place in taken), shard("model")]


def _has_shards(layer: Layer) -> bool:
    """Whether there is a parameter in it that ``fully_shard`` takes."""
    leaves = leaf_layers(layer.layers) if isinstance(layer, Block) else [layer]
    return any(not isinstance(leaf, Scale | Counter | Again) for leaf in leaves)


def _at(path: tuple[int, ...]) -> str:
    return "model" + "".join(f"[{index}]" for index in path)
