"""How the ranks hold a tensor, as plain data: plain, or cut by a sharding spec, by a mesh, or into any tiles.

Each layout says for each rank which parts of the global tensor its local tensors hold (:mod:`worlds.parts`). That is
computed from first principles, so that the oracle can rest on it; the tensors themselves are made in
:mod:`worlds.tensors`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .concise import Concise
from .invalid import require
from .parts import Box, Part, chunk_runs, joined_runs, whole_runs

__all__ = [
    "ChunkSharding",
    "Device",
    "EnumerableSharding",
    "Layout",
    "Memory",
    "MeshSharding",
    "Placement",
    "Plain",
    "Replicate",
    "Shard",
    "StridedShard",
    "Tile",
]

Memory = Literal[
    "contiguous", "transposed", "strided", "window", "expanded", "conjugated", "negated", "gradient", "meta"
]
"""How a local tensor lies in memory.

``transposed`` (dims in reverse order), ``strided`` (every second element of its storage), ``window`` (in the middle of
a larger storage), ``expanded`` (all elements are one), ``conjugated`` and ``negated`` (the bit that makes torch compute
the values when they are read), ``gradient`` (contiguous, and requires grad), ``meta`` (nowhere yet: it is a target on
the meta device, in whose place a load is to put a tensor).
"""

Device = Literal["cpu", "accelerator"]
"""Where a local tensor is: in the memory of the CPU, or of the accelerator that the machine has."""


@dataclass(frozen=True, repr=False)
class Plain(Concise):
    """A plain tensor, equal on each rank that has it; ``ranks`` lists those, ``()`` stands for all."""

    _positional = 1

    ranks: tuple[int, ...] = ()
    memory: Memory = "contiguous"
    device: Device = "cpu"

    kind = "Tensor"

    def __post_init__(self) -> None:
        _check_ranks(self.ranks)

    def parts(self, shape: Sequence[int], rank: int) -> list[Part]:
        """The whole tensor."""
        return [Part(tuple(whole_runs(shape)))] if self.is_on(rank) else []

    def is_on(self, rank: int) -> bool:
        """Whether the rank's state dict has the tensor."""
        return not self.ranks or rank in self.ranks

    def highest_rank(self) -> int:
        """The highest rank that is named."""
        return max(self.ranks, default=0)

    def check(self, shape: Sequence[int]) -> None:
        """Any shape will do."""


@dataclass(frozen=True, repr=False)
class ChunkSharding(Concise):
    """A ``ShardedTensor`` by a ``ChunkShardingSpec``: ``dim`` is cut as by ``torch.chunk``, one chunk for each rank.

    ``dim`` may be negative, a rank may be left out, come in any order, and hold more than one chunk. Ranks are numbered
    within the process group.
    """

    _positional = 2

    dim: int
    ranks: tuple[int, ...]
    memory: Memory = "contiguous"
    device: Device = "cpu"

    kind = "ShardedTensor"

    def __post_init__(self) -> None:
        require(len(self.ranks) > 0, "a chunk sharding needs at least one placement")
        require(min(self.ranks) >= 0, f"a placement is on a negative rank: {self.ranks}")

    def chunks(self, shape: Sequence[int]) -> list[tuple[int, Box]]:
        """The rank and the place of each chunk of a tensor of that shape, in order, the empty ones at the end too."""
        return [(rank, next(part.boxes())[0]) for rank, part in _chunk_parts(self, tuple(shape))]

    def parts(self, shape: Sequence[int], rank: int) -> list[Part]:
        """The chunks of that rank."""
        return [part for owner, part in _chunk_parts(self, tuple(shape)) if owner == rank]

    def is_on(self, rank: int) -> bool:
        """Every rank holds the tensor, be it without a chunk."""
        return True

    def highest_rank(self) -> int:
        """The highest rank that is named."""
        return max(self.ranks)

    def check(self, shape: Sequence[int]) -> None:
        """The dim must be there."""
        require(-len(shape) <= self.dim < len(shape), f"shape {tuple(shape)} has no dim {self.dim} to shard")


@lru_cache(maxsize=256)
def _chunk_parts(sharding: ChunkSharding, shape: tuple[int, ...]) -> list[tuple[int, Part]]:
    """Kept, since each rank asks for them, and again for each operation."""
    dim = sharding.dim % len(shape)
    found = []
    for rank, runs in zip(sharding.ranks, chunk_runs([(0, shape[dim])], len(sharding.ranks)), strict=True):
        whole = whole_runs(shape)
        whole[dim] = runs
        found.append((rank, Part(tuple(whole))))
    return found


@dataclass(frozen=True, repr=False)
class Tile(Concise):
    """A block of a tensor on a rank: ``sizes`` elements from ``offsets`` on."""

    _positional = 3

    rank: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def box(self) -> Box:
        """Where it is."""
        return Box(self.offsets, self.sizes)


@dataclass(frozen=True, repr=False)
class EnumerableSharding(Concise):
    """Any tiling of a tensor, each tile on any rank.

    ``holder`` says what holds the tiles: a ``ShardedTensor`` by an ``EnumerableShardingSpec``, or a tensor that is
    ``Checkpointable`` by DCP's own protocol (``__create_write_items__`` and its family), or a ``CheckpointableTensor``,
    as torch has it from 2.15 on: a plain local tensor with attributes that say which parts of it are tiles, and which
    of the global tensor they are. What is in it beside the tiles is padding; if ``padded``, there is some before each.
    """

    _positional = 1

    tiles: tuple[Tile, ...]
    holder: Literal["ShardedTensor", "Checkpointable", "CheckpointableTensor"] = "ShardedTensor"
    padded: bool = False
    memory: Memory = "contiguous"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        require(len(self.tiles) > 0, "an enumerable sharding needs at least one tile")
        for tile in self.tiles:
            require(len(tile.offsets) == len(tile.sizes), f"a tile has offsets {tile.offsets} and sizes {tile.sizes}")
            require(min((tile.rank, *tile.offsets, *tile.sizes)) >= 0, f"a tile is negative: {tile}")

    @property
    def kind(self) -> str:
        """The class of the tensor."""
        return self.holder

    def parts(self, shape: Sequence[int], rank: int) -> list[Part]:
        """The tiles of that rank."""
        return [Part.of(tile.box) for tile in self.tiles if tile.rank == rank]

    def local_boxes(self, shape: Sequence[int], rank: int) -> tuple[tuple[int, ...], list[Box]]:
        """The shape of the local tensor of a ``CheckpointableTensor``, and where in it the rank's tiles are.

        They lie behind each other along the first dim, the last one first, so that no tile is where its number, or its
        place in the global tensor, would have it.
        """
        tiles = [tile for tile in self.tiles if tile.rank == rank]
        if not shape:
            return (), [Box((), ()) for _ in tiles]
        rows, boxes = 0, []
        for tile in reversed(tiles):
            rows += self.padded
            boxes.append(Box((rows, *(int(self.padded) for _ in shape[1:])), tile.sizes))
            rows += tile.sizes[0]
        widths = (max((tile.sizes[dim] for tile in tiles), default=0) + self.padded for dim in range(1, len(shape)))
        return (rows, *widths), boxes[::-1]

    def is_on(self, rank: int) -> bool:
        """Every rank holds the tensor, be it without a tile."""
        return True

    def highest_rank(self) -> int:
        """The highest rank that is named."""
        return max(tile.rank for tile in self.tiles)

    def check(self, shape: Sequence[int]) -> None:
        """The tiles must fill the shape exactly, without an overlap."""
        padding = self.holder == "CheckpointableTensor" and len(shape) > 0
        require(padding or not self.padded, "only the local tensor of a CheckpointableTensor with dims has padding")
        # torch refuses a spec with a tile without elements that lies on the edge of another.
        full = len(self.tiles) == 1 or all(tile.box for tile in self.tiles)
        require(full or self.holder != "ShardedTensor", "a ShardedTensor takes no tiles without elements")
        for tile in self.tiles:
            require(len(tile.sizes) == len(shape), f"a tile of {len(tile.sizes)} dims in shape {tuple(shape)}")
            ends = zip(tile.offsets, tile.sizes, shape, strict=True)
            require(all(offset + size <= extent for offset, size, extent in ends), f"{tile} is outside {tuple(shape)}")
        for one, other in itertools.combinations(self.tiles, 2):
            require(not _overlap(one, other), f"tiles overlap: {one} and {other}")
        # DCP's protocol asks a rank for a tile by its offsets alone.
        places = {(tile.rank, tile.offsets) for tile in self.tiles}
        require(len(places) == len(self.tiles), "a rank has two tiles at one place")
        count = sum(math.prod(tile.sizes) for tile in self.tiles)
        require(count == math.prod(shape), f"the tiles have {count} of the {math.prod(shape)} elements")


def _overlap(one: Tile, other: Tile) -> bool:
    pairs = zip(one.offsets, one.sizes, other.offsets, other.sizes, strict=True)
    return all(max(a, b) < min(a + a_size, b + b_size) for a, a_size, b, b_size in pairs)


@dataclass(frozen=True, repr=False)
class Replicate(Concise):
    """Along this mesh dim, each rank holds the same."""

    _positional = 0


@dataclass(frozen=True, repr=False)
class Shard(Concise):
    """Along this mesh dim, the tensor's ``dim`` is cut as by ``torch.chunk``."""

    dim: int


@dataclass(frozen=True, repr=False)
class StridedShard(Concise):
    """As FSDP2 shards what tensor parallelism is to shard further along the same ``dim``: from right to left.

    The dim is cut into ``split_factor`` pieces, each piece into as many as the mesh dim has ranks, and a rank holds its
    share of each piece.
    """

    _positional = 2

    dim: int
    split_factor: int = 1


Placement = Replicate | Shard | StridedShard


@dataclass(frozen=True, repr=False)
class MeshSharding(Concise):
    """A ``DTensor`` on a device mesh of shape ``mesh``, with one placement for each of its dims.

    ``ranks`` are those of the mesh, in row-major order; ``()`` stands for the first ones in their own order. A rank
    that is not among them holds a ``DTensor`` without elements.
    """

    _positional = 2

    mesh: tuple[int, ...]
    placements: tuple[Placement, ...]
    ranks: tuple[int, ...] = ()
    memory: Memory = "contiguous"
    device: Device = "cpu"

    kind = "DTensor"

    def __post_init__(self) -> None:
        require(len(self.mesh) > 0 and min(self.mesh) > 0, f"a mesh needs ranks along each dim, not {self.mesh}")
        require(len(self.mesh) == len(self.placements), f"a mesh {self.mesh} with {len(self.placements)} placements")
        count = math.prod(self.mesh)
        require(len(self.ranks) in (0, count), f"a mesh of {count} ranks with {len(self.ranks)}")
        _check_ranks(self.ranks)

    @property
    def mesh_ranks(self) -> tuple[int, ...]:
        """The ranks of the mesh, in row-major order."""
        return self.ranks or tuple(range(math.prod(self.mesh)))

    def coordinate(self, rank: int) -> tuple[int, ...] | None:
        """Where the rank is in the mesh, if it is."""
        if rank not in self.mesh_ranks:
            return None
        place, found = self.mesh_ranks.index(rank), []
        for extent in reversed(self.mesh):
            place, index = divmod(place, extent)
            found.append(index)
        return tuple(reversed(found))

    def parts(self, shape: Sequence[int], rank: int) -> list[Part]:
        """The one part of that rank, if it is in the mesh: the placements are applied from left to right."""
        coordinate = self.coordinate(rank)
        if coordinate is None:
            return []
        runs = whole_runs(shape)
        for placement, count, index in zip(self.placements, self.mesh, coordinate, strict=True):
            match placement:
                case Shard(dim):
                    runs[dim] = chunk_runs(runs[dim], count)[index]
                case StridedShard(dim, factor):
                    pieces = (chunk_runs(piece, count)[index] for piece in chunk_runs(runs[dim], factor))
                    runs[dim] = joined_runs(itertools.chain.from_iterable(pieces))
        return [Part(tuple(runs))]

    def is_on(self, rank: int) -> bool:
        """Every rank holds the tensor, be it without an element."""
        return True

    def highest_rank(self) -> int:
        """The highest rank that is named."""
        return max(self.mesh_ranks)

    def check(self, shape: Sequence[int]) -> None:
        """The dims must be there."""
        for placement in self.placements:
            if isinstance(placement, Shard | StridedShard):
                fits = 0 <= placement.dim < len(shape)
                require(fits, f"shape {tuple(shape)} has no dim {placement.dim} to shard")
            if isinstance(placement, StridedShard):
                require(placement.split_factor > 0, f"a split factor must be at least 1, not {placement.split_factor}")


def _check_ranks(ranks: Sequence[int]) -> None:
    require(len(set(ranks)) == len(ranks), f"a rank is named twice: {tuple(ranks)}")
    require(min(ranks, default=0) >= 0, f"a rank is negative: {tuple(ranks)}")


Layout = Plain | ChunkSharding | EnumerableSharding | MeshSharding
