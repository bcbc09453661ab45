"""Bugs in how quantized tensors are dequantized."""

from __future__ import annotations

from worlds import ChunkSharding
from worlds.quantized import Quantized

from ..bug import Bug, Change, Witness

__all__ = ["QUANTIZED"]

_READER = "quantized_hf_storage:QuantizedHuggingFaceStorageReader"
_KNOWN = "mxfp4-first-elements-alone"

QUANTIZED = (
    Bug(
        "scale-of-first-block-in-row",
        "the scale of the first block in a row for all of it",
        (
            Change(
                f"{_READER}._dequantize_tensor",
                "scale = scale_inv[block_i, block_j]",
                "scale = scale_inv[block_i, 0]",
            ),
        ),
        Witness("quantized", Quantized((1, 2))),
    ),
    Bug(
        "part-of-block-behind-beginning-left-out",
        "a part of a block that is read from behind its beginning, without its scale",
        (
            Change(
                f"{_READER}._get_slice_to_block_mapping",
                "row_start_block = row_slice.start // self.block_size",
                "row_start_block = (row_slice.start + self.block_size - 1) // self.block_size",
            ),
        ),
        Witness("quantized", Quantized((2, 1), block=2, loaded=ChunkSharding(0, (0, 0)))),
    ),
    Bug(
        "last-block-that-is-not-whole-left-out",
        "a last block that is not whole, without its scale",
        (
            Change(
                f"{_READER}._get_slice_to_block_mapping",
                "col_end_block = (col_slice.stop - 1) // self.block_size + 1",
                "col_end_block = col_slice.stop // self.block_size",
            ),
        ),
        Witness("quantized", Quantized(block=2)),
    ),
    Bug(
        "scales-looked-for-in-file-of-tensor",
        "scales that are looked for in the file of their tensor",
        (
            Change(
                f"{_READER}._read_quantized_tensor_with_block_alignment",
                "scale_file_path = Path(self.path) / scale_file_name",
                "scale_file_path = Path(self.path) / weight_file_name",
            ),
        ),
        Witness("quantized", Quantized(apart=True)),
    ),
    Bug(
        "halves-of-bytes-changed-places",
        "the halves of the bytes of MXFP4 in each other's place",
        (
            Change(
                f"{_READER}._dequantize_tensor_mxfp4",
                "sub[:, 0::2] = lut[idx_lo]\n        sub[:, 1::2] = lut[idx_hi]",
                "sub[:, 0::2] = lut[idx_hi]\n        sub[:, 1::2] = lut[idx_lo]",
            ),
        ),
        Witness("quantized", Quantized((1, 1, 1), "mxfp4"), _KNOWN),
    ),
    Bug(
        "group-read-from-its-beginning",
        "a part of a group of MXFP4 that is read from its beginning",
        (
            Change(
                f"{_READER}._dequantize_tensor_mxfp4",
                "result = result[..., offset_in_first_group:end_offset]",
                "result = result[..., : req.lengths[2]]",
            ),
        ),
        Witness("quantized", Quantized((1, 1, 2), "mxfp4", loaded=ChunkSharding(2, (0, 0, 0, 0))), _KNOWN),
    ),
    Bug(
        "exponents-of-first-groups",
        "the exponents of the first groups of MXFP4 for whatever is read",
        (
            Change(
                f"{_READER}._dequantize_tensor_mxfp4",
                "group_start : group_start + num_groups",
                ":num_groups",
            ),
        ),
        Witness("quantized", Quantized((1, 1, 3), "mxfp4", loaded=ChunkSharding(2, (0, 0, 0))), _KNOWN),
    ),
    Bug(
        "exponents-of-first-rows",
        "the exponents of the first rows of MXFP4 for whatever is read",
        (
            Change(
                f"{_READER}._dequantize_tensor_mxfp4",
                "dim1_start:dim1_end",
                ": req.lengths[1]",
            ),
        ),
        Witness("quantized", Quantized((1, 2, 1), "mxfp4", loaded=ChunkSharding(1, (0, 0))), _KNOWN),
    ),
)
