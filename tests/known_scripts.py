"""What the scripts of the known issues print, and how torch could be changed so that they print it no more."""

from __future__ import annotations

from tests.script_runs import Plant

__all__ = ["REPAIRS", "SAYS"]

SAYS = {
    "chunk-behind-the-end": ["CheckpointException", "has out of bounds chunk"],
    "bits-dtypes": ["CheckpointException", "torch.iinfo() requires an integer input type"],
    "unpicklable-exception": [
        "[rank 1] save() raised TypeError(\"cannot pickle '_thread.lock' object\")",
        "[rank 0] still in save():",
        "in gather_object",
    ],
    "reset-unprotected": [
        "[rank 1] save() raised OSError(5, 'reset failed')",
        "[rank 0] still in save():",
        "in gather_object",
    ],
    "stateful-unprotected": ["[rank 1] save() raised OSError(5, 'state_dict failed')", "[rank 0] still in save():"],
    "dtype-cast": ["load() returned", "expected: raised CheckpointException in 'plan' naming ranks [0]"],
    "object-into-tensor": ["load() returned", "expected: raised CheckpointException in 'plan' naming ranks [0]"],
    "unflattened-objects": ["a: saved None, loaded 'not loaded'"],
    "falls-back-to-older-metadata": ["[rank 0] still in load():", "[rank 1] still in load():"],
    "older-metadata-preferred": ["b: 1 elements are not what was saved"],
    "metadata-synced-before-written": ["EOFError: Ran out of input"],
    "uncoordinated-no-shard": ["RuntimeError: Missing key in checkpoint state_dict: a."],
    "uncoordinated-unprotected": [
        "[rank 1] save() raised OSError(5, 'write_data failed')",
        "[rank 0] still in save():",
    ],
    "objects-erased": ['a: was not saved, was Instance("not loaded"), and is None'],
    "meta-without-group": ["ValueError: Default process group has not been initialized"],
    "meta-scalar-beside-its-mesh": [
        "ValueError: Size mismatch between saved torch.Size([]) and current: torch.Size([0]) for a"
    ],
    "meta-left-arbitrary": ["'cpu'", "and was", "'meta'"],
    "consolidated-names-not-saved": ["invalid JSON in header"],
    "int-keys": ["the keys are {'a': {0: None, '0': None}}, and were {'a': {0: None}}"],
    "list-replaced": ["a is another object than the one to load into"],
    "empty-dict-in-list": ["RuntimeError: Missing key in checkpoint state_dict: a.0."],
    "strided-shard-in-pieces": ["has overlapping chunks"],
    "staging-ordered-dict": ["a.0: saved an OrderedDict, loaded a dict"],
    "staging-named-tuple": ["a: saved Pair(first=None, second=1), loaded (None, 1)"],
    "staging-held-twice": [
        "a: saved (Instance(value=None), Instance again), loaded (Instance(value=None), Instance(value=None))"
    ],
    "staging-file-in-memory": ["a: saved BytesIO(b''), loaded BytesIO(b'changed')"],
    "staging-parameter": ["a: saved Instance(value=Parameter containing:", "loaded Instance(value=tensor([]))"],
    "safetensors-tied": ["Some tensors share memory"],
    "staging-sparse": ["RuntimeError: Cannot access data pointer of Tensor that doesn't have storage"],
    "empty-dict-beside-objects": ["RuntimeError: Missing key in checkpoint state_dict: a."],
    "mistaken-for-2.3": ["RuntimeError: Missing key in checkpoint state_dict: b."],
    "staging-lazy-bits": ["a[]: saved c2cd503c, loaded c2cd50bc"],
    "staging-scalar-dtensor": ["a[]: saved c2cd503c, loaded eeeeeeee"],
    "staging-sharded-tensor": ["RuntimeError: torch function 'data_ptr'"],
    "staging-dtensor-view": ["RuntimeError: Attempted to call copy_() on an invalid python storage"],
    "staging-forgets-the-whole": ["[1])} was saved, and the metadata says {'a': (torch.float32, [2])}"],
    "staging-exotic-dtype": ["RuntimeError: store_scalar: invalid type"],
    "empty-chunk-in-the-way": ["CheckpointException", "invalid fill tensor-volume: 1 chunks-volume: 0"],
    "staging-checkpointable": ["NotImplementedError: aten.copy_.default of a checkpointable tensor"],
    "uncoordinated-overwrite": [
        "[rank 1] save() raised RuntimeError('Checkpoint already exists and self.overwrite=False.')",
        "[rank 0] still in save():",
        "distW.barrier()",
    ],
    "cached-plans-of-failed-save": ["[1])} was saved, and the metadata says {'a': (torch.float32, [2])}"],
    "cached-plan-dtype": ["{'a': (torch.float64, [])} was saved, and the metadata says {'a': (torch.float32, [])}"],
    "staged-over-an-upload": [
        "the save of step 1 holds {'a': tensor(2.)}",
        "has written other files than in new processes",
    ],
    "safetensors-missing-file": ["a[0]: saved c2cd503c, loaded 3d32afc3"],
    "extensions-undone-in-wrong-order": ["zlib.error: Error -3 while decompressing data: incorrect header check"],
    "fsspec-reader-without-extensions": ["ValueError: Unknown extension name='stream.inverted'"],
    "consolidated-part-as-whole": ["a[0]: saved c2cd503c, loaded 3d32afc3"],
    "safetensors-flipped-bit-in-header": ["a[1]: saved d7499bbb, loaded c2cd503c"],
    "safetensors-flipped-bit": ["a[]: saved c2cd503c, loaded c3cd503c"],
    "mixed-after-death": ["with what was saved at the steps {0.0, 1.0}", "in part of one save, in part of another"],
    "consolidated-below-until-told": [
        "has written other files than in new processes: ['model-00001-of-00001.safetensors', "
    ],
    "broadcast-forgets-path": ["AssertionError: checkpoint_id must be set before setting up storage reader"],
    "broadcast-without-group": ["ValueError: Default process group has not been initialized"],
    "broadcast-in-sub-group": ["[rank 1] still in load():", "dist.broadcast(tensor, src=self.coordinator_rank"],
    "broadcast-of-other-keys": ["[rank 0] still in load():"],
    "broadcast-into-shards": ["[rank 0] still in load():", "dist.broadcast(tensor, src=self.coordinator_rank"],
    "broadcast-of-local-size": ["ValueError: Size mismatch between saved torch.Size([2]) and current: torch.Size([1])"],
    "broadcast-first-part": ["a[0] in the shard at [1]: saved d7499bbb, loaded c2cd503c"],
    "broadcast-of-memory": ["[rank 1] a[0, 1]: saved d7499bbb, loaded ecc5e53a"],
    "broadcast-of-conjugate": ["[rank 1] still in load():"],
    "broadcast-fails-alone": ["[rank 1] still in load():"],
    "broadcast-of-dtype": ["RuntimeError: Invalid scalar type"],
    "mxfp4-first-elements-alone": ["a_blocks[0, 0, 1]: saved 0000003b, loaded ffffffc4"],
    "mxfp4-by-name-alone": ["global metadata read failed: not enough values to unpack (expected at least 2, got 1)"],
    "scales-named-twice": ["AssertionError: req MetadataIndex(fqn='a_scales_blocks'", "mismatch sizes"],
    "weight-of-no-module": ["weight[0, 0]: saved 0000503e, loaded 0000d03d"],
    "half-into-negated": ["a.weight[0, 0]: saved 0000503e, loaded 000050be"],
    "quantized-other-dims": ["ValueError: Unsupported quantization types"],
    "consolidated-without-distributed": ["RuntimeError: Missing key in checkpoint state_dict: a."],
    "safetensors-reader-threads": ["AssertionError", "Not all files were processed: 0 out of 2"],
    "safetensors-left-over": ["load() returned", "expected: raised CheckpointException in 'plan' naming ranks [0]"],
    "safetensors-unfinished": [
        "as it must, a save fails",
        "at the steps {0.0, 1.0}",
        "is not what was saved at step 1",
    ],
    "consolidated-over-itself": ["ValueError: No DCP custom metadata found in safetensors file."],
    "consolidated-into-the-first": ["what was there has changed: ['a/model-00001-of-00001.safetensors']"],
    "safetensors-one-shard-a-rank": ["a[0]: saved c2cd503c, loaded 3d32afc3"],
    "file-system-safetensors": ["UnpicklingError", "Weights only load failed"],
    "safetensors-not-contiguous": ["ValueError: You are trying to save a non contiguous tensor: `a`"],
    "safetensors-lazy-bits": ["a[]: saved c2cd503c, loaded c2cd50bc"],
    "safetensors-with-objects": ["global metadata read failed: Error while deserializing header"],
    "consolidated-integers": ["TypeError: torch.finfo() requires a floating point input type"],
    "consolidated-complex": ["global metadata read failed: Error while deserializing header: invalid"],
    "safetensors-size-by-shards": ["Size mismatch between saved torch.Size([0, 0]) and current: torch.Size([1, 0])"],
    "consolidated-scalars": ["a[]: saved c2cd503c, loaded 00000000"],
    "consolidated-nothing": ["ValueError: max() "],
    "consolidated-beside-its-parts": ["AssertionError: req MetadataIndex(fqn='a'", "mismatch sizes"],
    "refused-alone": ["[rank 1] save() raised RuntimeError('`checkpoint_id` must be", "[rank 0] still in save():"],
    "types-unchecked": ["AttributeError", "what was raised does not say which argument is wrong"],
    "save-planner-in-load": ["Incorrect input list size 2", "[rank 1] still in load():"],
    "no-threads": ["ZeroDivisionError", "what was raised does not say which argument is wrong"],
    "format-by-its-name": ["what was saved cannot be loaded", "EOFError"],
    "returns-outside-the-group": [
        "[rank 1] load_state_dict() returned",
        "it is not in the group, and was not told so",
    ],
    "misfit-refused-alone": [
        "[rank 0] set_optimizer_state_dict() raised RuntimeError(\"Missing optimizer state for parameter '0.weight'",
        "[rank 1] still in set_optimizer_state_dict():",
    ],
    "misfit-types-unchecked": ["AttributeError", "what was raised does not say what is wrong"],
    "misfit-optimizer-parts": ["KeyError('param_groups')", "what was raised does not say what is wrong"],
    "misfit-optimizer-of-another-model": ["set_optimizer_state_dict() returned", "it was taken without a word"],
    "misfit-state-unchecked": ["set_optimizer_state_dict() returned", "it was taken without a word"],
    "misfit-all-state-missing": ["set_optimizer_state_dict() returned", "it was taken without a word"],
    "misfit-groups-unchecked": ["set_optimizer_state_dict() returned", "it was taken without a word"],
    "misfit-another-optimizer": ["set_optimizer_state_dict() returned", "it was taken without a word"],
    "misfit-numbers-taken": ["set_optimizer_state_dict() returned", "it was taken without a word"],
    "misfit-full-misses-nothing": ["set_state_dict() returned", "it was taken without a word"],
    "misfit-no-model": ["set_state_dict() returned", "it was taken without a word"],
    "misfit-too-many-for-rank-0": ["[rank 1] set_model_state_dict() returned", "some ranks raised, and others did not"],
    "misfit-broadcast-sizes": ["set_model_state_dict() returned", "it was taken without a word"],
    "misfit-told-to-some": ["KeyError('step')"],
    "misfit-left-unsharded": ["what fits cannot be loaded any more: AssertionError"],
    "options-that-differ": ["[rank 0] still in save():", "[rank 1] still in save():"],
    "rebuilt-text-keys": [
        """expected {'a': "{0: 'None'}"}, and it is {'a': "{'0': 'None'}"}""",
    ],
    "rebuilt-without-empty-dicts": ["expected {'a': '{}'}, and it is {}"],
    "rebuilt-own-part": ["expected {'a': 'torch.float32[] [194, 205, 80, 60]'}, and it is {}"],
    "rebuilt-places-before": ["expected {'a': \"['None', 'torch.float32[]", "and it is {'a': \"['1', 'torch.float32[]"],
    "rebuilt-list-with-hole": ["RuntimeError: Missing key in checkpoint state_dict: a.0."],
    "keys-of-unflattened": ["AttributeError: 'NoneType' object has no attribute 'get'"],
    "uploads-over-one-group": ["[rank 0] still in async_save():", "[rank 1] still in async_save():"],
    "caching-across-saves": ["[rank 0] save() raised", "[rank 1] still in save():"],
    "mixed-after-failure": ["as it must, a save fails", "with what was saved at the steps {1.0, 2.0}"],
    "names-mixed-after-failure": ["as it must, a save fails", "with what was saved at the steps {2.0}"],
    "places-mixed-after-failure": ["what was saved, by step and rank, as {2.0}"],
    "cached-plans-of-another-coordinator": ["TypeError: 'NoneType' object is not iterable"],
    "cached-plans-after-failure": ["KeyError: 'DefaultSavePlanner'"],
    "flipped-bit": ["a[]: saved c2cd503c, loaded c3cd503c"],
    "flipped-bit-beside-elements": ["a: 1 elements are not what was saved"],
    "flipped-bit-in-metadata": ["[rank 0] a[0]: saved c2cd503c, loaded d7499bbb"],
    "stale-file": ["a[]: saved c2cd503c, loaded 00000000"],
    "swapped-files": ["[rank 0] a[1]: saved d7499bbb, loaded c2cd503c"],
    "second-writer-thread": ["save() returned", "expected: raised CheckpointException in 'write' naming ranks [0]"],
    "save-takes-a-step": ["optim.state.0.bias.step: was nothing, is now tensor(1.0)"],
    "empty-group-first": ["optim.param_groups.0.lr: saved 0.25, loaded nothing"],
    "flat-empty-group": ["in _unflatten_optim_state_dict", "IndexError: list index out of range"],
    "flat-and-full": ["in _unflatten_state_dict", "KeyError: 'param_groups"],
    "full-without-state": ["AssertionError: Expected device to be set"],
    "betas-become-list": ["optim.param_groups.0.betas: saved (0.5, 0.75), loaded [0.5, 0.75]"],
    "no-step-without-closure": ["in _init_optim_state", "TypeError: 'NoneType' object is not callable"],
    "state-in-another-dtype": [
        "optim.state.0.weight.mu_product: saved tensor(",
        ", torch.float32), loaded tensor(",
        ", torch.bfloat16)",
    ],
    "state-never-made": ["RuntimeError: Missing key in checkpoint state_dict: optim.state.1.weight.step."],
    "state-not-asked-for": ["RuntimeError: Missing optimizer state for parameter '1.weight' in checkpoint."],
    "frozen-state-dropped": ["optim.state.1.weight.sum: saved tensor(0.0), loaded nothing"],
    "hidden-by-evaluation": ["in get_optimizer_state_dict", "KeyError: 0"],
    "rank-0-broadcasts-alone": ["[rank 0] still waiting:", "in set_state_dict"],
    "strided-shards-uneven": ["in _shard_tensor", "AssertionError"],
    "rows-cut-twice": ["CheckpointException", "mismatch sizes torch.Size([1, 1]) vs torch.Size([0, 1])"],
    "strict-wants-state": ["RuntimeError: Missing optimizer state for parameter '1.weight' in checkpoint."],
    "frozen-by-another-name": ["model.1.head.weight: was tensor([[-1.0]]), is now tensor([[1.5409960746765137]])"],
    "frozen-beside-submodules": ["in _get_model_state_dict", "KeyError: '1.weight'"],
    "empty-part-refused": ["RuntimeError: Optimizers are not passed in but optim_only is set to True."],
    "marker-for-extra-state": ["in set_extra_state", "TypeError: '_EXTRA_STATE' object is not subscriptable"],
    "renamed-for-the-load-alone": ["RuntimeError: Missing optimizer state for parameter '0.weight' in checkpoint."],
    "modifiers-of-another-name": ["in _get_fqns", "AttributeError: 'Renamed' object has no attribute 'weight'"],
    "frozen-and-renamed": ["in _get_model_state_dict", "KeyError: '1.inner.weight'"],
    "shared-module-full": ['While copying the parameter named "1.weight"', "aten.copy_.default"],
    "optimizers-without-state": ["ValueError: loaded state dict has a different number of parameter groups"],
    "given-names-lost": ["these names have gone from what was given to be loaded: {'0."],
    "beside-what-is-broadcast": ['Unexpected key(s) in state_dict: "0.weight", "0.bias"'],
    "shared-module-wrapped": ['Missing key(s) in state_dict: "_orig_mod.1.weight", "_orig_mod.1.bias"'],
    "scalars-left-on-meta": ["these are on the meta device still: ['0.weight']"],
    "flat-empty-groups-saved": ["optim.param_groups.0.lr: saved 0.25, loaded nothing"],
    "flat-empty-groups-loaded": ["RuntimeError: Missing key in checkpoint state_dict: optim.param_groups."],
    "flat-state-mixed-up": ["optim.state.0.0.weight.exp_avg: saved tensor([", "what was loaded is not what was saved"],
    "flat-sharded-without-state": ["in _unflatten_optim_state_dict", "KeyError: 'param_groups.0.weight."],
    "flat-sharded-beside-extra-state": ["in _get_state_dict_2d_layout", "object has no attribute 'size'"],
    "flat-sharded-for-all-ranks": [
        "[rank 2] optim.state.0.weight.exp_avg: saved tensor([0.3",
        "loaded tensor([0.0, 0.0])",
    ],
    "flat-empty-state": ["optim.state.0.weight: saved nothing, loaded []"],
}
"""What the script of each known issue prints that says what broke."""

_STATE_DICT = "torch.distributed.checkpoint.state_dict"
_UNCACHED = Plant(
    "torch.distributed.checkpoint.default_planner:DefaultSavePlanner",
    "__init__",
    "self._enable_plan_caching = enable_plan_caching",
    "self._enable_plan_caching = False",
)
_QUANTIZED = "torch.distributed.checkpoint.quantized_hf_storage:QuantizedHuggingFaceStorageReader"
REPAIRS = {
    "misfit-full-misses-nothing": Plant(
        "torch.distributed._state_dict_utils",
        "_distribute_state_dict",
        "for key, value in full_state_dict.items():",
        "for key in local_state_dict.keys() - full_state_dict.keys():\n        del local_state_dict[key]\n"
        "    for key, value in full_state_dict.items():",
    ),
    "mxfp4-first-elements-alone": Plant(
        _QUANTIZED,
        "read_metadata",
        "tensor_metadata.size = dequantized_size",
        "tensor_metadata.size = dequantized_size\n"
        "                (index,) = (index for index in metadata.storage_data if index.fqn == fqn)\n"
        "                first = torch.Size([0] * len(dequantized_size))\n"
        "                whole = type(tensor_metadata.chunks[0])(first, dequantized_size)\n"
        "                tensor_metadata.chunks = [whole]\n"
        "                metadata.storage_data[type(index)(fqn, first)] = metadata.storage_data.pop(index)",
    ),
    "mxfp4-by-name-alone": Plant(
        _QUANTIZED,
        "read_metadata",
        'if fqn.endswith("_blocks"):',
        'if fqn.endswith("_blocks") and fqn in self._weight_scale_mapping:',
    ),
    "scales-named-twice": Plant(
        _QUANTIZED,
        "_build_weight_scale_mapping",
        'tensor_name.replace("_scales", "_blocks")',
        'tensor_name.removesuffix("_scales") + "_blocks"',
    ),
    "weight-of-no-module": Plant(
        _QUANTIZED,
        "_build_weight_scale_mapping",
        'endswith(".weight_scale_inv"):\n            weight_name = tensor_name.replace(".weight_scale_inv", ".weight")',
        'endswith("weight_scale_inv"):\n            weight_name = tensor_name.removesuffix("_scale_inv")',
    ),
    "metadata-synced-before-written": Plant(
        "torch.distributed.checkpoint.filesystem:_FileSystemWriter",
        "finish",
        "pickle.dump(metadata, metadata_file)",
        "pickle.dump(metadata, metadata_file); metadata_file.flush()",
    ),
    "cached-plan-dtype": Plant(
        "torch.distributed.checkpoint.planner_helpers",
        "_compare_save_plans",
        "tensor_data.size != other_tensor_data.size",
        "(tensor_data.size, tensor_data.properties) != (other_tensor_data.size, other_tensor_data.properties)",
    ),
    "broadcast-forgets-path": Plant(
        "torch.distributed.checkpoint.format_utils:BroadcastingTorchSaveReader",
        "reset",
        "self.checkpoint_id = checkpoint_id",
        "self.checkpoint_id = checkpoint_id or self.checkpoint_id",
    ),
    "keys-of-unflattened": Plant(
        "torch.distributed.checkpoint.default_planner:_EmptyStateDictLoadPlanner",
        "_should_include_key",
        "metadata.planner_data.get(key)",
        "(metadata.planner_data or {}).get(key, ())",
    ),
    "consolidated-integers": Plant(
        "torch.distributed.checkpoint._consolidate_hf_safetensors",
        "_parse_input_metadata",
        "torch.finfo(_getdtype(dtype_str)).bits",
        "8 * _getdtype(dtype_str).itemsize",
    ),
    "consolidated-complex": Plant(
        "torch.distributed.checkpoint._consolidate_hf_safetensors",
        "_parse_input_metadata",
        "torch.finfo(_getdtype(dtype_str)).bits",
        "8 * _getdtype(dtype_str).itemsize",
    ),
    "cached-plans-of-failed-save": _UNCACHED,
    "cached-plans-after-failure": _UNCACHED,
    "caching-across-saves": _UNCACHED,
    "staged-over-an-upload": Plant(
        "torch.distributed.checkpoint._state_dict_stager:StateDictStager",
        "_stage_untyped_storage",
        "if storage in self._cached_storage_mapping:",
        "if False:",
    ),
    # A checkpoint that is written over is not there until all is written.
    "mixed-after-death": Plant(
        "torch.distributed.checkpoint.filesystem:_FileSystemWriter",
        "prepare_local_plan",
        "self.fs.mkdir(self.path)",
        "self.fs.mkdir(self.path)\n"
        "    self.rank or not self._metadata_exists() or self.fs.rm_file(self._get_metadata_path())",
    ),
    "places-mixed-after-failure": Plant(
        "torch.distributed._shard._utils",
        "narrow_tensor_by_index",
        "if size < tensor.size(idx):",
        "if offset or size < tensor.size(idx):",
    ),
    "save-takes-a-step": Plant(_STATE_DICT, "_init_optim_state", "if optim.state:", "if True:"),
    "empty-group-first": Plant(
        _STATE_DICT,
        "_split_optim_state_dict",
        "if len(optim_state_dict[_PG]) != ",
        "pg_mapping[id(ret[0])] = len(pg_state) - 1\n            if len(optim_state_dict[_PG]) != ",
    ),
    "flat-empty-group": Plant(
        _STATE_DICT,
        "_unflatten_optim_state_dict",
        "first_param_fqn = ",
        "if not param_group[_PARAMS]:\n            continue\n        first_param_fqn = ",
    ),
    "full-without-state": Plant(
        _STATE_DICT,
        "_load_optim_state_dict",
        "elif info.full_state_dict:",
        "elif info.full_state_dict and state_dict[_STATE]:",
    ),
    "betas-become-list": Plant(
        _STATE_DICT,
        "_load_optim_state_dict",
        "for pg in optim_state_dict[_PG]:",
        'for pg in optim_state_dict[_PG]:\n                pg["betas"] = tuple(pg["betas"])',
    ),
    "no-step-without-closure": Plant(
        _STATE_DICT,
        "_init_optim_state",
        "optim.step(closure=None)",
        "optim.step(closure=lambda: torch.zeros(()))",
    ),
    "state-in-another-dtype": Plant(
        "torch.optim.optimizer:Optimizer",
        "_process_value_according_to_param_policy",
        'if key == "step":',
        'if key in ("step", "mu_product"):',
    ),
    "frozen-state-dropped": Plant(
        _STATE_DICT,
        "_split_optim_state_dict",
        "if param.requires_grad:",
        "if param.requires_grad or fqn in optim_state_dict[_STATE]:",
    ),
    "rank-0-broadcasts-alone": Plant(
        _STATE_DICT,
        "set_state_dict",
        "optim_only=not model_state_dict",
        "optim_only=not model_state_dict and not options.broadcast_from_rank0",
    ),
    "empty-part-refused": Plant(
        _STATE_DICT, "set_state_dict", "optim_only=not model_state_dict", "optim_only=bool(optim_state_dict)"
    ),
    "strict-wants-state": Plant(_STATE_DICT, "_split_optim_state_dict", "elif info.strict:", "elif False:"),
    "frozen-beside-submodules": Plant(
        _STATE_DICT, "_get_model_state_dict", "state_dict.pop(fqn)\n\n", "state_dict.pop(fqn, None)\n\n"
    ),
    "marker-for-extra-state": Plant(
        _STATE_DICT,
        "_load_model_state_dict",
        "state_dict.update(local_state_dict)",
        "state_dict.update((k, v) for k, v in local_state_dict.items() if not isinstance(v, _EXTRA_STATE))",
    ),
    "renamed-for-the-load-alone": Plant(
        _STATE_DICT, "_verify_options", "_iterate_valid_model_state(model)", '_iterate_valid_model_state(model, "no")'
    ),
    "modifiers-of-another-name": Plant(
        _STATE_DICT, "_get_model_state_dict", "_get_fqns(model, key)", "_get_fqns(model, key, info.dsd_fqn_modifiers)"
    ),
    "frozen-and-renamed": Plant(
        _STATE_DICT, "_get_model_state_dict", "state_dict.pop(fqn)\n\n", "state_dict.pop(fqn, None)\n\n"
    ),
    "given-names-lost": Plant(
        _STATE_DICT,
        "_load_model_state_dict",
        "local_state_dict = {}",
        "local_state_dict, state_dict = {}, {**state_dict}",
    ),
    "scalars-left-on-meta": Plant(
        _STATE_DICT, "_load_model_state_dict", "torch.is_tensor(value) and value.dim() > 0", "torch.is_tensor(value)"
    ),
    "flat-empty-state": Plant(
        _STATE_DICT,
        "_unflatten_optim_state_dict",
        "state[fqn] = {}",
        "if not optim.state.get(param):\n                    continue\n                state[fqn] = {}",
    ),
    "bits-dtypes": Plant(
        "torch._utils", "_element_size", "return torch.iinfo(dtype).bits >> 3", "return dtype.itemsize"
    ),
    "unpicklable-exception": Plant(
        "torch.distributed.checkpoint.api",
        "_wrap_exception",
        "summary =",
        "exc = RuntimeError(repr(exc)).with_traceback(exc.__traceback__); summary =",
    ),
}
"""How torch could be changed so that an issue is gone."""
