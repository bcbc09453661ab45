"""Why no legal scenario reaches some of DCP's source, as data that a measure of coverage is held against.

What is not reached and has no reason here is a hole: a corner that a strategy lacks.
"""

from __future__ import annotations

from properties.ledger import torch_release

from .reason import Reason, because, functions, until, within

__all__ = ["OUT_OF_SCOPE", "REASONS"]

_FSSPEC = "_fsspec_filesystem:FileSystem" if torch_release() < (2, 15) else "fsspec_filesystem:_FileSystem"

OUT_OF_SCOPE: tuple[Reason, ...] = (
    because(
        "another way to save, that shares nothing with this one but its loggers",
        within("_experimental.__init__"),
        within("_experimental.barriers"),
        within("_experimental.builder"),
        within("_experimental.checkpoint_process"),
        within("_experimental.checkpoint_reader"),
        within("_experimental.checkpoint_writer"),
        within("_experimental.checkpointer"),
        within("_experimental.config"),
        within("_experimental.staging"),
        within("_experimental.types"),
        within("_experimental.utils"),
    ),
    because("sends a state to other ranks' memory, and saves nothing", within("_pg_transport")),
    because("nothing imports it", within("_checkpointer"), within("_dedup_tensors")),
)
"""Modules that are not on the path of a save and a load, and so are not counted."""

_REASONS: tuple[Reason, ...] = (
    because(
        "with an accelerator",
        functions("filesystem", "_OverlappingCpuLoader.__init__", "_OverlappingCpuLoader._done"),
        functions("filesystem", "_OverlappingCpuLoader._drain", "_OverlappingCpuLoader._refill"),
        functions("filesystem", "_OverlappingCpuLoader._finish", "_OverlappingCpuLoader.add"),
        functions("filesystem", "_OverlappingCpuLoader.start_loading", "_OverlappingCpuLoader.values"),
        within("filesystem:_write_files_from_queue", "loader = _OverlappingCpuLoader("),
        within(
            "staging:DefaultStager.__init__",
            "self._staging_stream = torch.Stream()",
            "if not torch.accelerator.is_available():",
        ),
        within("staging:DefaultStager._stage", "if not (self._staging_stream or not self._config.use_async_staging):"),
        within("staging:BlockingAsyncStager.stage", "if self.state_dict_cache is None:"),
        within("state_dict:_load_model_state_dict", 'raise ValueError("Multiple devices found")'),
        within("state_dict:_load_optim_state_dict._device", 'raise ValueError("Device mismatch")'),
        within(
            "_state_dict_stager:StateDictStager._stage_untyped_storage",
            "pin_memory_utils.pin_memory(new_storage.data_ptr(), new_storage.nbytes())",
        ),
    ),
    because(
        "whoever derives from it has their own",
        functions("filesystem", "_TensorLoader.add", "_TensorLoader.start_loading", "_TensorLoader.values"),
        functions("staging", "AsyncStager.stage"),
    ),
    because(
        "sends a state to other ranks' memory, and saves nothing",
        functions("staging", "_ReplicationStager.__init__", "_ReplicationStager.stage"),
        functions("staging", "_ReplicationStager._persist_state_dict", "_ReplicationStager._get_persisted_path"),
    ),
    because(
        "of FSDP's first version on top of tensor parallelism: before DTensor, a ShardedTensor in another one",
        functions("optimizer", "_gen_rank_device", "_create_colwise_spec"),
        within("optimizer:_is_nested_tensor", "if type(val) is ShardedTensor:"),
        within("optimizer:_is_nested_tensor", 'raise ValueError("Cannot handle nested DTensor")'),
        within("optimizer:_get_state_dict_2d_layout", "if _is_nested_tensor(value):"),
        within("optimizer:load_sharded_optimizer_state_dict", "if dp_pg is None:", "elif dp_pg is None:"),
        within("_sharded_tensor_utils:_flatten_sharded_tensors.rewrite_dict", "if len(inner_st.local_shards()) != 1:"),
    ),
    because(
        "with an accelerator",
        within("optimizer:_alloc_tensor", 'if device_type == "cpu":'),
        within("utils:_normalize_device_info", 'return f"{device_type}:{device_id}"'),
    ),
    because(
        "of FSDP's first version without use_orig_params, with replicas, around parts of a module alone, or around "
        "what is compiled: it is drawn around the whole, and by itself",
        within("state_dict:_get_fqns", "if i < len(obj_names) - 1 and obj_names[i + 1] == _FLAT_PARAM:"),
        within(
            "state_dict:_get_fsdp_process_group",
            "elif info.fsdp_modules:",
            "if fsdp_module.sharding_strategy in HYBRID_SHARDING_STRATEGIES:",
            "if isinstance(process_group, tuple):",
        ),
        within("state_dict:_get_optim_state_dict", 'if "_orig_mod" in k:'),
        within("state_dict:_load_optim_state_dict", "if fqns == fqns_with_compiler:"),
    ),
    because("as a command", within("format_utils:(outside)", "class FormatMode(Enum):")),
    because(
        "only where its source says so",
        within("utils:_profile", "profiler = cProfile.Profile()"),
    ),
    because(
        "nothing calls it",
        functions("_traverse", "print_tensor", "_print_nested"),
        functions("utils", "_all_gather_keys", "_assert_same_keys", "_DistWrapper.get_rank"),
        functions("planner", "LoadPlanner.resolve_bytes"),
        functions("_hf_utils", "_get_dtype"),
        functions("state_dict", "_patch_model_state_dict", "_patch_optimizer_state_dict"),
        functions(
            "state_dict", "_patch_model_state_dict.state_dict_call", "_patch_model_state_dict.load_state_dict_call"
        ),
        functions("state_dict", "_patch_optimizer_state_dict.state_dict_call"),
        functions("state_dict", "_patch_optimizer_state_dict.load_state_dict_call"),
        within("state_dict:_state_dict_fn", "call = functools.partial(getattr(obj.__class__, api), self=obj)"),
        functions("filesystem", "_StorageWriterTransforms.transform_save_stream.NoCloseWriter.writeable"),
        until((2, 15), functions("_fsspec_filesystem", "FileSystem.ls")),
        functions("format_utils", "BroadcastingTorchSaveReader.validate_checkpoint_id"),
        functions("hf_storage", "HuggingFaceStorageWriter.metadata_path"),
        functions("_consolidate_hf_safetensors", "consolidate_safetensors_files_on_every_rank"),
        functions("utils", "_ReaderView.readable"),
        functions("_extension", "ZStandard.transform_to.Writer.writeable"),
    ),
    because(
        "with pyzstd, or with neither, where zstandard is not installed, which this project asks for",
        within("_extension:ZStandard.from_descriptor", "if not ZStandard.is_available():"),
        within("_extension:ZStandard.__init__", "if not ZStandard.is_available():"),
        within("_extension:ZStandard.transform_to", "class Writer(io.RawIOBase):"),
        within("_extension:ZStandard.transform_from", "class Reader(io.RawIOBase):"),
        functions("_extension", "ZStandard.transform_to.Writer.__init__", "ZStandard.transform_to.Writer.write"),
        functions("_extension", "ZStandard.transform_to.Writer.flush", "ZStandard.transform_from.Reader.__init__"),
        functions("_extension", "ZStandard.transform_from.Reader.readable", "ZStandard.transform_from.Reader.readinto"),
        functions("_extension", "ZStandard.transform_from.Reader.seekable"),
    ),
    because(
        "there is no other kind of extension",
        within(
            "filesystem:_StorageReaderTransforms.transform_load_stream",
            "if isinstance(ex, StreamTransformExtension):",
        ),
    ),
    because(
        "str.partition never gives None",
        within("_extension:ExtensionRegistry.from_descriptor_list.from_descriptor", "version = 0"),
    ),
    because(
        "who calls it, nobody else being to, gives it what it asks for",
        within(
            "_consolidate_hf_safetensors:_calculate_max_contiguous_elements",
            "raise ValueError(",
            'raise ValueError("Input lists cannot be empty")',
        ),
    ),
    because(
        "who calls it has a Path already",
        *(
            within(f"filesystem:FileSystem.{name}", "path = Path(path)")
            for name in ("create_stream", "concat_path", "rename", "mkdir", "exists", "rm_file", "ls")
        ),
    ),
    because(
        "what planners save is contiguous, as they say",
        within("metadata:TensorProperties.__getstate__", "elif memory_format == torch.channels_last:"),
        within(
            "metadata:TensorProperties.__setstate__",
            "elif mem_format_encoding == _MEM_FORMAT_ENCODING.TORCH_CHANNELS_LAST:",
        ),
    ),
    because(
        "a planner looks up what it has planned itself",
        within("utils:find_state_dict_object", "raise ValueError("),
        within("utils:_find_shard", "raise ValueError("),
        within("utils:find_tensor_shard", "raise ValueError("),
        within(
            "utils:_find_shard",
            """raise ValueError(f"Could not find shard at '{index.offset}' for FQN: '{index.fqn}'")""",
        ),
    ),
    because(
        "a key goes while its call is under way",
        within("state_dict_loader:load", "if key not in state_dict:"),
    ),
    because(
        "of a checkpoint of another torch",
        within("filesystem:FileSystemReader.read_metadata", "metadata.storage_meta = StorageMeta()"),
        within("_extension:ZStandard.from_descriptor", 'raise ValueError(f"Unknown extension {version=}")'),
    ),
    because(
        "as an older torch was called, or asked planners and storages",
        within("utils:_api_bc_check.inner_func", "warnings.warn("),
        within("default_planner:DefaultSavePlanner.__init__", "logger.warning("),
    ),
    because(
        "illegal on every rank, whatever is saved: there is nothing that it could be done with",
        within("state_dict:_get_fqns", 'raise RuntimeError("Expect `_extra_state` to be the last obj name")'),
    ),
    because(
        "fsspec comes with torch",
        until((2, 15), within("_storage_utils:_storage_setup", "except Exception:")),
    ),
    because(
        "the daemon of saves in a process dies while it is waited for, which no law does to it, or ends behind what is "
        "measured",
        within("_async_process_executor:_AsyncCheckpointProcess.__del__", "try:"),
        within(
            "_async_process_executor:_AsyncCheckpointProcess._wait_for_response",
            'logger.info("Checkpoint background process is dead calling join()...")',
            "raise RuntimeError(",
            "except EOFError:",
        ),
        within(
            "_async_process_executor:_AsyncCheckpointProcess._checkpointing_subprocess",
            "except BaseException as e:",
            'logger.info("Terminating the checkpoint background process.")',
        ),
    ),
    because(
        "what DCP's own files do not take is text",
        within(f"{_FSSPEC}.validate_checkpoint_id", "if isinstance(checkpoint_id, Path):"),
    ),
    because(
        'of a path above which nothing can be written, as of "." or on a disk that is read-only, which no law has',
        within("filesystem:FileSystem.validate_checkpoint_id", "for p in Path(checkpoint_id).parents:"),
    ),
    because(
        "what makes one file of several opens them by itself, and it is the writer whose files are made to fail",
        within("_consolidate_hf_safetensors:_write_data", "except Exception as e:"),
    ),
    because(
        "what is made into one file are files of the writer's own, which say where they belong",
        within("_hf_utils:_get_dcp_custom_metadata", "if CUSTOM_METADATA_KEY in custom_metadata:"),
    ),
    because(
        "a machine has an address, and a port for the daemons of its ranks to meet at",
        within("utils:_DistWrapper.broadcast", "except BaseException as e:", "raise final_result"),
    ),
    because(
        "nothing of torch's asks for the metadata of a DTensor by itself, of which they tell a rank's own part alone",
        within(
            "planner_helpers:_create_default_metadata_only_plan",
            "requests.append(_create_write_items_for_dtensor(fqn, obj))",
        ),
    ),
    because(
        "a stager is closed once: as the call fails, or when its upload is done",
        within(
            "state_dict_saver:async_save.maybe_close_owned_async_stager",
            "if owned_async_stager is not None and not owned_async_stager_closed:",
        ),
    ),
    because(
        "of Python 3.13 or later",
        within("api:_wrap_exception", 'object.__setattr__(frame, "_code", None)'),
    ),
    because(
        "by variables of the environment",
        within(
            "_async_process_executor:_ProcessGroupInitInfo.__init__.get_master_addr_and_port",
            'master_addr = os.environ.get("MASTER_ADDR")',
        ),
        within(
            "_async_process_executor:_AsyncCheckpointProcess._checkpointing_subprocess",
            "if pg_init_info.use_prefix_store:",
            "gc.disable()",
            "del obj",
        ),
    ),
    because(
        "what is asked can have no other answer where it stands",
        within("_traverse:traverse_state_dict._traverse_obj", "elif isinstance(value, (list, tuple)):"),
        within("_traverse:traverse_state_dict_v_2_3._traverse_obj", "elif isinstance(value, list):"),
        within("api:_is_wrapped_exception", "return False"),
        within("api:CheckpointException.__str__", "if trace is not None:"),
        within(
            "default_planner:DefaultSavePlanner._create_global_plan_with_caching",
            "if self._cached_plans_key in self._cached_global_plan:",
        ),
        within(
            "hf_storage:HuggingFaceStorageReader.read_metadata", 'if getattr(metadata, "storage_meta", None) is None:'
        ),
        within("planner_helpers:_compare_save_plans", "return False", "if chunk and other_chunk:"),
        within("_state_dict_stager:StateDictStager._offload_tensor", 'if hasattr(x, "__dict__"):'),
        within("_state_dict_stager:StateDictStager._offload_tensor", "if hasattr(x, slot):"),
        within("_state_dict_stager:StateDictStager._reconstruct", "if deep:"),
        within(
            "_state_dict_stager:StateDictStager.deepcopy_with_tensor_offload",
            'reductor = getattr(x, "__reduce__", None)',
        ),
        within(
            "state_dict_saver:async_save.maybe_close_owned_async_stager",
            "if owned_async_stager is not None and not owned_async_stager_closed:",
        ),
        within("state_dict:_verify_options", "if not isinstance(param, _EXTRA_STATE):"),
        within("state_dict:_load_model_state_dict", "elif info.full_state_dict:"),
        within("state_dict:_get_optim_state_dict", "continue"),
        within("state_dict:_unflatten_optim_state_dict", "elif pg_state[-1][k] != value:", "for k in param_group:"),
        within("state_dict_loader:_load_state_dict", "local_plan: LoadPlan = local_step()"),
    ),
    because(
        "at the beginning of a row, as whoever calls it always is",
        within(
            "_consolidate_hf_safetensors:_calculate_max_contiguous_elements",
            "if indices[-1] == 0:  # At start of last dimension (column)",
        ),
    ),
    because(
        "a planner gives each item of a tensor its offset and the place of its shard",
        within("utils:_find_shard", "if index.index is not None:"),
        within("utils:find_tensor_shard", "return tensor"),
    ),
    because(
        "torch.load, which alone reads by it, seeks from the beginning or the end, and reads what is there",
        within("utils:_ReaderView.seek", "elif whence == os.SEEK_END:"),
        within("utils:_ReaderView.readinto", "return 0", "b = memoryview(b)[:max_size]"),
    ),
    because(
        "files of safetensors hold tensors alone, and scales are looked for among the names of the index",
        within(
            "quantized_hf_storage:QuantizedHuggingFaceStorageReader.read_metadata",
            "if isinstance(tensor_metadata, TensorStorageMetadata):",
        ),
        within(
            "quantized_hf_storage:QuantizedHuggingFaceStorageReader._read_quantized_tensor_with_block_alignment",
            'raise ValueError(f"Scale tensor {scale_fqn} not found in weight_map")',
            'raise ValueError(f"Could not find full tensor shape for {tensor_fqn}")',
        ),
    ),
    because(
        "a reader that has no metadata raises",
        within("state_dict_loader:_load_state_dict.local_step", "if global_metadata_exc is not None:"),
    ),
    because(
        "DynamicMetaLoadPlanner, with which alone it reads, refuses that before",
        within("format_utils:BroadcastingTorchSaveReader.read_data", "raise RuntimeError("),
    ),
    because(
        "copy.deepcopy refuses such an object as well (__reduce__ returns a tuple of six)",
        within("_state_dict_stager:StateDictStager.deepcopy_with_tensor_offload", "raise RuntimeError("),
    ),
    because(
        "DefaultStager asks for an accelerator before",
        within("_state_dict_stager:StateDictStager.__init__", "warnings.warn("),
    ),
    because(
        "what wraps a module makes its names longer, and nothing else",
        within(
            "state_dict:_get_model_state_dict",
            'raise RuntimeError(f"An unexpected key, {key}, exists. FQN is {fqn}")',
        ),
        within("state_dict:_get_model_state_dict.verify", "return False", "return True"),
    ),
    because(
        "a module that says that it has what it has not (dsd_fqn_modifiers)",
        within("state_dict:_get_fqns", "if hasattr(curr_obj, removed_fqn):"),
    ),
    because(
        "refused in one line: several groups without parameters, or one of several optimizers",
        within("state_dict:_split_optim_state_dict", "raise ValueError("),
    ),
    because(
        "no optimizer of torch's has it: states in states, groups without a learning rate",
        within("state_dict:_init_optim_state", 'if "lr" in param_group:'),
        within(
            "state_dict:_flatten_optim_state_dict._flatten_state_nested_dict",
            "flattened.update(_flatten_state_nested_dict(value, full_key))",
        ),
        within(
            "state_dict:_flatten_optim_state_dict._raise_if_type_not_supported",
            "raise NotImplementedError(",
        ),
        within("state_dict:_unflatten_optim_state_dict._reconstruct_nested_dict", "remaining_key = key[len(prefix) :]"),
    ),
    because(
        "the model's state is asked for by itself where the optimizer's alone is wanted",
        within("state_dict:_get_model_state_dict", "return {}"),
    ),
    because(
        "not on the loopback interface",
        within(
            "_async_process_executor:_ProcessGroupInitInfo.__init__.get_master_addr_and_port",
            "master_addr = _get_fq_hostname()",
        ),
    ),
)

REASONS = tuple(reason for reason in _REASONS if reason.places)
"""Functions and statements that are."""
