"""Why no legal scenario reaches some of DCP's source, as data that a measure of coverage is held against.

What is not reached and has no reason here is a hole: a corner that a strategy lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .places import Place

__all__ = ["OUT_OF_SCOPE", "REASONS", "Reason"]


@dataclass(frozen=True)
class Reason:
    """Why these places are not reached. It is void where one of them is, and where the installed torch lacks one."""

    why: str
    places: tuple[Place, ...]


def _reason(why: str, *places: Iterable[Place]) -> Reason:
    return Reason(why, tuple(place for several in places for place in several))


def _in(where: str, *texts: str) -> Iterator[Place]:
    """The statements of ``module:function`` that begin with these lines; without any, the whole of it."""
    module, _, function = where.partition(":")
    yield from (Place(module, function, text) for text in texts or ("",))


def _all(module: str, *functions: str) -> Iterator[Place]:
    """These functions of a module."""
    yield from (Place(module, function) for function in functions)


OUT_OF_SCOPE: tuple[Reason, ...] = (
    _reason(
        "another way to save, that shares nothing with this one but its loggers",
        _in("_experimental.__init__"),
        _in("_experimental.barriers"),
        _in("_experimental.builder"),
        _in("_experimental.checkpoint_process"),
        _in("_experimental.checkpoint_reader"),
        _in("_experimental.checkpoint_writer"),
        _in("_experimental.checkpointer"),
        _in("_experimental.config"),
        _in("_experimental.staging"),
        _in("_experimental.types"),
        _in("_experimental.utils"),
    ),
    _reason("sends a state to other ranks' memory, and saves nothing", _in("_pg_transport")),
    _reason("nothing imports it", _in("_checkpointer"), _in("_dedup_tensors")),
    _reason("reads files of models that others have quantized, and gives other numbers", _in("quantized_hf_storage")),
    _reason("loads the states of optimizers of FSDP's first version, which no law draws", _in("optimizer")),
)
"""Modules that are not on the path of a save and a load, and so are not counted."""

REASONS: tuple[Reason, ...] = (
    _reason(
        "with an accelerator",
        _all("filesystem", "_OverlappingCpuLoader.__init__", "_OverlappingCpuLoader._done"),
        _all("filesystem", "_OverlappingCpuLoader._drain", "_OverlappingCpuLoader._refill"),
        _all("filesystem", "_OverlappingCpuLoader._finish", "_OverlappingCpuLoader.add"),
        _all("filesystem", "_OverlappingCpuLoader.start_loading", "_OverlappingCpuLoader.values"),
        _in("filesystem:_write_files_from_queue", "loader = _OverlappingCpuLoader("),
        _in("staging:DefaultStager.__init__", "self._staging_stream = torch.Stream()"),
        _in("staging:DefaultStager._stage", "if not (self._staging_stream or not self._config.use_async_staging):"),
        _in("staging:BlockingAsyncStager.stage", "if self.state_dict_cache is None:"),
        _in(
            "_state_dict_stager:StateDictStager._stage_untyped_storage",
            "pin_memory_utils.pin_memory(new_storage.data_ptr(), new_storage.nbytes())",
        ),
    ),
    _reason(
        "whoever derives from it has their own",
        _all("filesystem", "_TensorLoader.add", "_TensorLoader.start_loading", "_TensorLoader.values"),
        _all("staging", "AsyncStager.stage"),
    ),
    _reason(
        "sends a state to other ranks' memory, and saves nothing",
        _all("staging", "_ReplicationStager.__init__", "_ReplicationStager.stage"),
        _all("staging", "_ReplicationStager._persist_state_dict", "_ReplicationStager._get_persisted_path"),
    ),
    _reason("as a command", _in("format_utils:(outside)", "class FormatMode(Enum):")),
    _reason(
        "only where its source says so",
        _in("utils:_profile", "profiler = cProfile.Profile()"),
    ),
    _reason(
        "nothing calls it",
        _all("_traverse", "get_element", "print_tensor", "_print_nested"),
        _all("utils", "_element_wise_sub"),
    ),
)
"""Functions and statements that are."""
