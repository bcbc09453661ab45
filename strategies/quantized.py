"""Strategies for quantized tensors in files of safetensors, and for what loads them."""

from __future__ import annotations

import itertools
from typing import get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from worlds.entries import TensorEntry
from worlds.layouts import EnumerableSharding, Layout, Tile
from worlds.quantized import BESIDE, Float, Quantized, Stored

from ._reused import reused, sampled_from
from ._telling import tell
from ._weighted import weighted
from .calls import operations
from .case_features import case_features
from .layouts import layouts, on_meta
from .tensors import ranks

__all__ = ["quantized_tensors"]

_STORED: tuple[Stored, ...] = (*get_args(Stored), "float8_e4m3fn", "float8_e4m3fn", "mxfp4", "mxfp4")
# Of a row of MXFP4, released torch reads as many elements as there are groups: more of them where these are small.
_BYTES = (1, 1, 1, 2, 2, 3, 16)
_FLOATS: tuple[Float, ...] = ("float32", *get_args(Float))


@st.composite
def quantized_tensors(draw: DrawFn, *, max_world_size: int = 6) -> Quantized:
    """Tensors, quantized block-wise or as MXFP4, and a load of each into any layout.

    Blocks are small, so that a part of a tensor begins and ends within one, and has several; often the last is no whole
    one. Shrinks towards one element in one block, loaded by one process. Names that the reader takes for others, and
    numbers of dims that it refuses, are drawn seldom, since they hide whatever else is wrong.
    """
    stored = draw(sampled_from(_STORED), label="stored")
    blocks = st.integers(1, 4) | st.sampled_from((1, 128))
    block = draw(blocks if stored != "mxfp4" else st.sampled_from(_BYTES), label="block")
    shape = draw(_shapes(), label="shape")
    groups = draw(st.integers(1, 4) | st.integers(1, 12), label="groups in a row, if MXFP4")
    if stored == "mxfp4":
        shape = (1, *shape) if len(shape) == 2 else shape
        shape = (*(min(extent, 3) for extent in shape[:-1]), groups)
    load = draw(operations(load=True, max_world_size=max_world_size), label="load")
    target_dtype, dtype = draw(st.tuples(st.sampled_from(_FLOATS), st.sampled_from(_FLOATS)), label="dtypes")
    plain = Quantized(shape, stored, block)
    world = load.world_size if load.distributed and not load.no_dist else 0
    usual = layouts(shape=plain.sizes, dtype=dtype, world_size=world, target=True)
    grids = _grids(plain, world) if world and 0 not in shape else usual
    loaded = draw(weighted((3, usual), (2, grids)), label="loaded")
    meta = draw(sampled_from((*[False] * 14, True)), label="on the meta device")
    if meta:
        loaded = on_meta(loaded)
    quantized = Quantized(
        shape,
        stored,
        block,
        target_dtype,
        dtype,
        loaded,
        load,
        draw(_prefixes(), label="prefix"),
        draw(_others(), label="beside"),
        loads_scales=draw(st.booleans(), label="scales too"),
        apart=draw(st.booleans(), label="scales apart"),
        partial=draw(sampled_from((False, False, False, True)), label="partial"),
        thread_count=draw(sampled_from((1, 2)), label="threads"),
    )
    tell(case_features(quantized))
    return quantized


@reused
def _shapes() -> SearchStrategy[tuple[int, ...]]:
    """Of two dims, or seldom of one or three."""
    extents = st.integers(1, 9) | st.integers(0, 9)
    usual = st.tuples(extents, extents)
    return weighted((20, usual), (1, st.tuples(extents)), (1, st.tuples(extents, extents, extents)))


@st.composite
def _grids(draw: DrawFn, quantized: Quantized, world_size: int) -> Layout:
    """Shards that begin anywhere, one or several on a rank; of MXFP4 among the elements that released torch reads.

    And sometimes one without elements, from within what the others hold.
    """
    sizes, last = quantized.sizes, len(quantized.sizes) - 1
    bounds = []
    for dim, extent in enumerate(sizes):
        most = min(extent - 1, quantized.shape[-1] if quantized.is_mxfp4 and dim == last else extent)
        some = st.sets(st.integers(1, most), max_size=2) if most > 0 else st.just(set[int]())
        cuts = sorted(draw(some, label=f"cuts along dim {dim}"))
        bounds.append(list(itertools.pairwise([0, *cuts, extent])))
    owners = draw(st.tuples(*[ranks(world_size=world_size)] * 3), label="ranks, in turn")
    tiles = tuple(
        Tile(owner, tuple(start for start, _ in box), tuple(stop - start for start, stop in box))
        for owner, box in zip(itertools.cycle(owners), itertools.product(*bounds), strict=False)
    )
    empty = draw(sampled_from((None, None, 0, 1)), label="dim in which one more has nothing")
    if empty is None or empty > last or sizes[empty] < 2:
        return EnumerableSharding(tiles)
    within = draw(st.integers(1, sizes[empty] - 1), label="where that would begin")
    offsets = tuple(within if dim == empty else 0 for dim in range(last + 1))
    if any((tile.rank, tile.offsets) == (owners[0], offsets) for tile in tiles):
        return EnumerableSharding(tiles)
    lengths = tuple(0 if dim == empty else extent for dim, extent in enumerate(sizes))
    return EnumerableSharding((*tiles, Tile(owners[0], offsets, lengths)), "Checkpointable")


@reused
def _prefixes() -> SearchStrategy[str]:
    usual = weighted((3, st.just("a")), (1, st.sampled_from(("layers.0.mlp", "a_blocks", "a.weight"))))
    return weighted((20, usual), (1, st.sampled_from(("", "a_scales", "a.weight_scale_inv"))))


@reused
def _others() -> SearchStrategy[TensorEntry]:
    """What is called as a quantized tensor is, or as its scales, without the other; more often another tensor."""
    names = ("b.weight", "b.weight_scale_inv", "b_scales")
    usual = weighted((3, st.just(BESIDE)), (1, st.sampled_from(names).map(lambda name: TensorEntry(name, (2, 1)))))
    shapes = st.sampled_from(((2,), (2, 2), (), (1, 2, 2)))
    return weighted((24, usual), (1, shapes.map(lambda shape: TensorEntry("b_blocks", shape))))
