"""Loads quantized tensors with the reader that dequantizes them."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from torch.distributed.checkpoint.quantized_hf_storage import QuantizedHuggingFaceStorageReader

from .calls import load
from .dtypes import DTYPES
from .example import ExampleWorld
from .inject import Injection
from .outcome import Outcome
from .quantized import Quantized
from .quantized_files import write_quantized
from .scenario import Scenario
from .state import StateDict
from .unread import NewMemory

__all__ = ["run_quantized"]


def run_quantized(world: ExampleWorld, quantized: Quantized) -> Outcome:
    """Write the files in one process, and load them on every rank."""
    directory = world.new_directory()
    path = f"{directory}/checkpoint"
    scenario = quantized.scenario
    try:
        with world.example():
            saved = world.operate(scenario, "save", path, call=partial(_write, quantized))
            if not saved.returned:
                return Outcome(saved)
            return Outcome(saved, world.operate(scenario, "load", path, call=partial(_load, quantized)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _write(
    quantized: Quantized, scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any
) -> None:
    beside = quantized.beside.key
    write_quantized(quantized, {str(beside): state.entries[beside]}, path)


def _load(
    quantized: Quantized, scenario: Scenario, state: StateDict, injection: Injection, path: str, group: Any
) -> None:
    with NewMemory():
        load(scenario, state, injection, path, group, make_reader=partial(_reader, quantized))


def _reader(quantized: Quantized, scenario: Scenario, path: str) -> QuantizedHuggingFaceStorageReader:
    return QuantizedHuggingFaceStorageReader(
        path,
        thread_count=quantized.thread_count,
        target_dtype=DTYPES[quantized.target_dtype],
        block_size=quantized.block,
    )
