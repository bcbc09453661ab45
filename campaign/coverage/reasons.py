"""Why no legal scenario reaches some of DCP's source, as data that a measure of coverage is held against.

What is not reached and has no reason here is a hole: a corner that a strategy lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from properties.ledger import Release, torch_release

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


def _until(release: Release, places: Iterable[Place]) -> Iterator[Place]:
    """Those places, if the installed torch is older than the release that no longer has them."""
    return iter(places if torch_release() < release else ())


_FSSPEC = "_fsspec_filesystem:FileSystem" if torch_release() < (2, 15) else "fsspec_filesystem:_FileSystem"

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
)
"""Modules that are not on the path of a save and a load, and so are not counted."""

_REASONS: tuple[Reason, ...] = (
    _reason(
        "with an accelerator",
        _all("filesystem", "_OverlappingCpuLoader.__init__", "_OverlappingCpuLoader._done"),
        _all("filesystem", "_OverlappingCpuLoader._drain", "_OverlappingCpuLoader._refill"),
        _all("filesystem", "_OverlappingCpuLoader._finish", "_OverlappingCpuLoader.add"),
        _all("filesystem", "_OverlappingCpuLoader.start_loading", "_OverlappingCpuLoader.values"),
        _in("filesystem:_write_files_from_queue", "loader = _OverlappingCpuLoader("),
        _in(
            "staging:DefaultStager.__init__",
            "self._staging_stream = torch.Stream()",
            "if not torch.accelerator.is_available():",
        ),
        _in("staging:DefaultStager._stage", "if not (self._staging_stream or not self._config.use_async_staging):"),
        _in("staging:BlockingAsyncStager.stage", "if self.state_dict_cache is None:"),
        _in("state_dict:_load_model_state_dict", 'raise ValueError("Multiple devices found")'),
        _in("state_dict:_load_optim_state_dict._device", 'raise ValueError("Device mismatch")'),
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
    _reason(
        "of FSDP's first version on top of tensor parallelism: before DTensor, a ShardedTensor in another one",
        _all("optimizer", "_gen_rank_device", "_create_colwise_spec"),
        _in("optimizer:_is_nested_tensor", "if type(val) is ShardedTensor:"),
        _in("optimizer:_is_nested_tensor", 'raise ValueError("Cannot handle nested DTensor")'),
        _in("optimizer:_get_state_dict_2d_layout", "if _is_nested_tensor(value):"),
        _in("optimizer:load_sharded_optimizer_state_dict", "if dp_pg is None:", "elif dp_pg is None:"),
        _in("_sharded_tensor_utils:_flatten_sharded_tensors.rewrite_dict", "if len(inner_st.local_shards()) != 1:"),
    ),
    _reason(
        "with an accelerator",
        _in("optimizer:_alloc_tensor", 'if device_type == "cpu":'),
        _in("utils:_normalize_device_info", 'return f"{device_type}:{device_id}"'),
    ),
    _reason(
        "of FSDP's first version without use_orig_params, with replicas, around parts of a module alone, or around "
        "what is compiled: it is drawn around the whole, and by itself",
        _in("state_dict:_get_fqns", "if i < len(obj_names) - 1 and obj_names[i + 1] == _FLAT_PARAM:"),
        _in(
            "state_dict:_get_fsdp_process_group",
            "elif info.fsdp_modules:",
            "if fsdp_module.sharding_strategy in HYBRID_SHARDING_STRATEGIES:",
            "if isinstance(process_group, tuple):",
        ),
        _in("state_dict:_get_optim_state_dict", 'if "_orig_mod" in k:'),
        _in("state_dict:_load_optim_state_dict", "if fqns == fqns_with_compiler:"),
    ),
    _reason("as a command", _in("format_utils:(outside)", "class FormatMode(Enum):")),
    _reason(
        "only where its source says so",
        _in("utils:_profile", "profiler = cProfile.Profile()"),
    ),
    _reason(
        "nothing calls it",
        _all("_traverse", "print_tensor", "_print_nested"),
        _all("utils", "_all_gather_keys", "_assert_same_keys", "_DistWrapper.get_rank"),
        _all("planner", "LoadPlanner.resolve_bytes"),
        _all("_hf_utils", "_get_dtype"),
        _all("state_dict", "_patch_model_state_dict", "_patch_optimizer_state_dict"),
        _all("state_dict", "_patch_model_state_dict.state_dict_call", "_patch_model_state_dict.load_state_dict_call"),
        _all("state_dict", "_patch_optimizer_state_dict.state_dict_call"),
        _all("state_dict", "_patch_optimizer_state_dict.load_state_dict_call"),
        _in("state_dict:_state_dict_fn", "call = functools.partial(getattr(obj.__class__, api), self=obj)"),
        _all("filesystem", "_StorageWriterTransforms.transform_save_stream.NoCloseWriter.writeable"),
        _until((2, 15), _all("_fsspec_filesystem", "FileSystem.ls")),
        _all("format_utils", "BroadcastingTorchSaveReader.validate_checkpoint_id"),
        _all("hf_storage", "HuggingFaceStorageWriter.metadata_path"),
        _all("_consolidate_hf_safetensors", "consolidate_safetensors_files_on_every_rank"),
        _all("utils", "_ReaderView.readable"),
        _all("_extension", "ZStandard.transform_to.Writer.writeable"),
    ),
    _reason(
        "with pyzstd, or with neither, where zstandard is not installed, which this project asks for",
        _in("_extension:ZStandard.from_descriptor", "if not ZStandard.is_available():"),
        _in("_extension:ZStandard.__init__", "if not ZStandard.is_available():"),
        _in("_extension:ZStandard.transform_to", "class Writer(io.RawIOBase):"),
        _in("_extension:ZStandard.transform_from", "class Reader(io.RawIOBase):"),
        _all("_extension", "ZStandard.transform_to.Writer.__init__", "ZStandard.transform_to.Writer.write"),
        _all("_extension", "ZStandard.transform_to.Writer.flush", "ZStandard.transform_from.Reader.__init__"),
        _all("_extension", "ZStandard.transform_from.Reader.readable", "ZStandard.transform_from.Reader.readinto"),
        _all("_extension", "ZStandard.transform_from.Reader.seekable"),
    ),
    _reason(
        "there is no other kind of extension",
        _in(
            "filesystem:_StorageReaderTransforms.transform_load_stream",
            "if isinstance(ex, StreamTransformExtension):",
        ),
    ),
    _reason(
        "str.partition never gives None",
        _in("_extension:ExtensionRegistry.from_descriptor_list.from_descriptor", "version = 0"),
    ),
    _reason(
        "who calls it, nobody else being to, gives it what it asks for",
        _in(
            "_consolidate_hf_safetensors:_calculate_max_contiguous_elements",
            "raise ValueError(",
            'raise ValueError("Input lists cannot be empty")',
        ),
    ),
    _reason(
        "who calls it has a Path already",
        *(
            _in(f"filesystem:FileSystem.{name}", "path = Path(path)")
            for name in ("create_stream", "concat_path", "rename", "mkdir", "exists", "rm_file", "ls")
        ),
    ),
    _reason(
        "what planners save is contiguous, as they say",
        _in("metadata:TensorProperties.__getstate__", "elif memory_format == torch.channels_last:"),
        _in(
            "metadata:TensorProperties.__setstate__",
            "elif mem_format_encoding == _MEM_FORMAT_ENCODING.TORCH_CHANNELS_LAST:",
        ),
    ),
    _reason(
        "a planner looks up what it has planned itself",
        _in("utils:find_state_dict_object", "raise ValueError("),
        _in("utils:_find_shard", "raise ValueError("),
        _in("utils:find_tensor_shard", "raise ValueError("),
        _in(
            "utils:_find_shard",
            """raise ValueError(f"Could not find shard at '{index.offset}' for FQN: '{index.fqn}'")""",
        ),
    ),
    _reason(
        "a key goes while its call is under way",
        _in("state_dict_loader:load", "if key not in state_dict:"),
    ),
    _reason(
        "of a checkpoint of another torch",
        _in("filesystem:FileSystemReader.read_metadata", "metadata.storage_meta = StorageMeta()"),
        _in("_extension:ZStandard.from_descriptor", 'raise ValueError(f"Unknown extension {version=}")'),
    ),
    _reason(
        "as an older torch was called, or asked planners and storages",
        _in("utils:_api_bc_check.inner_func", "warnings.warn("),
        _in("default_planner:DefaultSavePlanner.__init__", "logger.warning("),
        _in("state_dict_saver:_save_state_dict.local_step", "warnings.warn("),
    ),
    _reason(
        "illegal on every rank, whatever is saved: there is nothing that it could be done with",
        _in("_storage_utils:_storage_setup", "raise RuntimeError("),
        _in("state_dict:_verify_options", "raise RuntimeError(", "raise ValueError("),
        _in("state_dict:_verify_state_dict", "raise RuntimeError("),
        _in("state_dict:_get_fqns", 'raise RuntimeError("Expect `_extra_state` to be the last obj name")'),
    ),
    _reason(
        "fsspec comes with torch",
        _until((2, 15), _in("_storage_utils:_storage_setup", "except Exception:")),
    ),
    _reason(
        "the daemon of saves in a process dies, which no law does to it, or ends behind what is measured",
        _all("_async_process_executor", "_AsyncCheckpointProcess.__del__"),
        _in(
            "_async_process_executor:_AsyncCheckpointProcess._wait_for_response",
            'logger.info("Checkpoint background process is dead calling join()...")',
            "raise RuntimeError(",
            "except EOFError:",
        ),
        _in(
            "_async_process_executor:_AsyncCheckpointProcess._checkpointing_subprocess",
            "except BaseException as e:",
            'logger.info("Terminating the checkpoint background process.")',
        ),
    ),
    _reason(
        "what DCP's own files do not take is text, and a URL that nobody knows is no place to save to",
        _in(f"{_FSSPEC}.validate_checkpoint_id", "if isinstance(checkpoint_id, Path):", "except ValueError:"),
    ),
    _reason(
        'of a path above which nothing can be written, as of "." or on a disk that is read-only, which no law has',
        _in("filesystem:FileSystem.validate_checkpoint_id", "for p in Path(checkpoint_id).parents:"),
    ),
    _reason(
        "what makes one file of several opens them by itself, and it is the writer whose files are made to fail",
        _in("_consolidate_hf_safetensors:_write_data", "except Exception as e:"),
    ),
    _reason(
        "what is made into one file are files of the writer's own, which say where they belong",
        _in("_hf_utils:_get_dcp_custom_metadata", "if CUSTOM_METADATA_KEY in custom_metadata:"),
    ),
    _reason(
        "a machine has an address, and a port for the daemons of its ranks to meet at",
        _in("utils:_DistWrapper.broadcast", "except BaseException as e:", "raise final_result"),
    ),
    _reason(
        "nothing of torch's asks for the metadata of a DTensor by itself, of which they tell a rank's own part alone",
        _in(
            "planner_helpers:_create_default_metadata_only_plan",
            "requests.append(_create_write_items_for_dtensor(fqn, obj))",
        ),
    ),
    _reason(
        "a stager is closed once: as the call fails, or when its upload is done",
        _in(
            "state_dict_saver:async_save.maybe_close_owned_async_stager",
            "if owned_async_stager is not None and not owned_async_stager_closed:",
        ),
    ),
    _reason(
        "of Python 3.13 or later",
        _in("api:_wrap_exception", 'object.__setattr__(frame, "_code", None)'),
    ),
    _reason(
        "by variables of the environment",
        _in(
            "_async_process_executor:_ProcessGroupInitInfo.__init__.get_master_addr_and_port",
            'master_addr = os.environ.get("MASTER_ADDR")',
        ),
        _in(
            "_async_process_executor:_AsyncCheckpointProcess._checkpointing_subprocess",
            "if pg_init_info.use_prefix_store:",
            "gc.disable()",
            "del obj",
        ),
    ),
    _reason(
        "what is asked can have no other answer where it stands",
        _in("_traverse:traverse_state_dict._traverse_obj", "elif isinstance(value, (list, tuple)):"),
        _in("_traverse:traverse_state_dict_v_2_3._traverse_obj", "elif isinstance(value, list):"),
        _in("api:_is_wrapped_exception", "return False"),
        _in("api:CheckpointException.__str__", "if trace is not None:"),
        _in(
            "default_planner:DefaultSavePlanner._create_global_plan_with_caching",
            "if self._cached_plans_key in self._cached_global_plan:",
        ),
        _in("hf_storage:HuggingFaceStorageReader.read_metadata", 'if getattr(metadata, "storage_meta", None) is None:'),
        _in("planner_helpers:_compare_save_plans", "return False", "if chunk and other_chunk:"),
        _in("_state_dict_stager:StateDictStager._offload_tensor", 'if hasattr(x, "__dict__"):'),
        _in("_state_dict_stager:StateDictStager._offload_tensor", "if hasattr(x, slot):"),
        _in("_state_dict_stager:StateDictStager._reconstruct", "if deep:"),
        _in(
            "_state_dict_stager:StateDictStager.deepcopy_with_tensor_offload",
            'reductor = getattr(x, "__reduce__", None)',
        ),
        _in(
            "state_dict_saver:async_save.maybe_close_owned_async_stager",
            "if owned_async_stager is not None and not owned_async_stager_closed:",
        ),
        _in("state_dict:_verify_options", "if not isinstance(param, _EXTRA_STATE):"),
        _in("state_dict:_load_model_state_dict", "elif info.full_state_dict:"),
        _in("state_dict:_get_optim_state_dict", "continue"),
        _in("state_dict:_unflatten_optim_state_dict", "elif pg_state[-1][k] != value:", "for k in param_group:"),
        _in("state_dict_loader:_load_state_dict", "local_plan: LoadPlan = local_step()"),
    ),
    _reason(
        "at the beginning of a row, as whoever calls it always is",
        _in(
            "_consolidate_hf_safetensors:_calculate_max_contiguous_elements",
            "if indices[-1] == 0:  # At start of last dimension (column)",
        ),
    ),
    _reason(
        "a planner gives each item of a tensor its offset and the place of its shard",
        _in("utils:_find_shard", "if index.index is not None:"),
        _in("utils:find_tensor_shard", "return tensor"),
    ),
    _reason(
        "torch.load, which alone reads by it, seeks from the beginning or the end, and reads what is there",
        _in("utils:_ReaderView.seek", "elif whence == os.SEEK_END:"),
        _in("utils:_ReaderView.readinto", "return 0", "b = memoryview(b)[:max_size]"),
    ),
    _reason(
        "files of safetensors hold tensors alone, and scales are looked for among the names of the index",
        _in(
            "quantized_hf_storage:QuantizedHuggingFaceStorageReader.read_metadata",
            "if isinstance(tensor_metadata, TensorStorageMetadata):",
        ),
        _in(
            "quantized_hf_storage:QuantizedHuggingFaceStorageReader._read_quantized_tensor_with_block_alignment",
            'raise ValueError(f"Scale tensor {scale_fqn} not found in weight_map")',
            'raise ValueError(f"Could not find full tensor shape for {tensor_fqn}")',
        ),
    ),
    _reason(
        "a reader that has no metadata raises",
        _in("state_dict_loader:_load_state_dict.local_step", "if global_metadata_exc is not None:"),
    ),
    _reason(
        "DynamicMetaLoadPlanner, with which alone it reads, refuses that before",
        _in("format_utils:BroadcastingTorchSaveReader.read_data", "raise RuntimeError("),
    ),
    _reason(
        "copy.deepcopy refuses such an object as well (__reduce__ returns a tuple of six)",
        _in("_state_dict_stager:StateDictStager.deepcopy_with_tensor_offload", "raise RuntimeError("),
    ),
    _reason(
        "DefaultStager asks for an accelerator before",
        _in("_state_dict_stager:StateDictStager.__init__", "warnings.warn("),
    ),
    _reason(
        "what wraps a module makes its names longer, and nothing else",
        _in(
            "state_dict:_get_model_state_dict",
            'raise RuntimeError(f"An unexpected key, {key}, exists. FQN is {fqn}")',
        ),
        _in("state_dict:_get_model_state_dict.verify", "return False", "return True"),
    ),
    _reason(
        "a module that says that it has what it has not (dsd_fqn_modifiers)",
        _in("state_dict:_get_fqns", "if hasattr(curr_obj, removed_fqn):"),
    ),
    _reason(
        "refused in one line: names that a strict load lacks, several groups without parameters, or one of several "
        "optimizers",
        _in("state_dict:_load_model_state_dict", 'raise RuntimeError(f"Missing key: {fqn}.")'),
        _in("state_dict:_split_optim_state_dict", "raise ValueError("),
    ),
    _reason(
        "no optimizer of torch's has it: states in states, groups without a learning rate",
        _in("state_dict:_init_optim_state", 'if "lr" in param_group:'),
        _in(
            "state_dict:_flatten_optim_state_dict._flatten_state_nested_dict",
            "flattened.update(_flatten_state_nested_dict(value, full_key))",
        ),
        _in(
            "state_dict:_flatten_optim_state_dict._raise_if_type_not_supported",
            "raise NotImplementedError(",
        ),
        _in("state_dict:_unflatten_optim_state_dict._reconstruct_nested_dict", "remaining_key = key[len(prefix) :]"),
    ),
    _reason(
        "the model's state is asked for by itself where the optimizer's alone is wanted",
        _in("state_dict:_get_model_state_dict", "return {}"),
    ),
    _reason(
        "not on the loopback interface",
        _in(
            "_async_process_executor:_ProcessGroupInitInfo.__init__.get_master_addr_and_port",
            "master_addr = _get_fq_hostname()",
        ),
    ),
)

REASONS = tuple(reason for reason in _REASONS if reason.places)
"""Functions and statements that are."""
