"""Bugs in how the state dicts of a training are made, and given back to it."""

from __future__ import annotations

from worlds.training import Mlp, Norm, Optimizer, Parallelism, Renamed, Side, Training

from ..bug import Bug, Change, Witness

__all__ = ["TRAININGS"]

TRAININGS = (
    Bug(
        "optimizer-state-of-parameter-dropped",
        "the optimizer state of a parameter dropped",
        (
            Change(
                "state_dict:_split_optim_state_dict",
                "if param.requires_grad:",
                'if param.requires_grad and not fqn.endswith("bias"):',
            ),
        ),
        Witness("training_state", Training(optimizer=Optimizer("Adam"))),
    ),
    Bug(
        "submodule-given-back-by-names-of-its-own",
        "a submodule given back by names of its own, which the whole has not",
        (Change("state_dict:_unflatten_model_state_dict", "{prefix + subfqn: value", "{subfqn: value"),),
        Witness(
            "training_state",
            Training(
                optimizer=Optimizer(variant=True),
                saved=Side(steps=1, submodules=(0,)),
                # So the load is into copies, and not into the parameters themselves.
                loaded=Side(parallelism=Parallelism(data=2), full=True, strict=False, submodules=(0,)),
                keep_prefixes=False,
            ),
        ),
    ),
    Bug(
        "renamed-parameter-looked-for-where-it-is-not",
        "a parameter that its module renames looked for where it is not",
        (Change("state_dict:_get_fqns", "curr_obj = getattr(curr_obj, removed_fqn)", "pass"),),
        Witness("training_state", Training((Renamed(),))),
    ),
    Bug(
        "renamed-parameter-without-its-shards",
        "a full tensor not cut for a parameter that its module renames",
        (Change("state_dict:_iterate_valid_model_state", "new_fqn = curr_fqn[:-1]", 'new_fqn = f"{curr_fqn}{name}"'),),
        Witness(
            "training_state",
            Training((Renamed(),), optimizer=None, loaded=Side(parallelism=Parallelism(data=2), full=True)),
        ),
    ),
    Bug(
        "names-of-compiled-module-in-checkpoint",
        "the names of what torch.compile makes of a module in the checkpoint",
        (Change("state_dict:_get_model_state_dict", "if fqn != key:", "if False:"),),
        Witness("training_state", Training(saved=Side(steps=1, whole="compiled"))),
    ),
    Bug(
        "wrapped-module-given-its-own-values",
        "a module that is wrapped given its own values, and not those that are loaded",
        (
            Change(
                "state_dict:_load_model_state_dict",
                "state_dict[fqn_with_prefix] = load_value",
                "state_dict[fqn_with_prefix] = value",
            ),
        ),
        Witness(
            "training_state",
            Training(optimizer=None, loaded=Side(Parallelism(data=2), whole="compiled", full=True)),
            known="given-names-lost",
        ),
    ),
    Bug(
        "what-is-on-the-meta-device-left-there",
        "what is on the meta device copied into, and not replaced",
        (Change("state_dict:_load_model_state_dict", "assign = True", "assign = False"),),
        Witness(
            "training_state",
            Training(loaded=Side(calls="model first", full=True, meta=True), optimizer=Optimizer(variant=True)),
        ),
    ),
    Bug(
        "full-state-of-flat-parameters-on-rank-0-alone",
        "the full state of an optimizer, under FSDP's first version, for rank 0 alone",
        (
            Change(
                "state_dict:_verify_options",
                "rank0_only=(options.cpu_offload or options.broadcast_from_rank0)",
                "rank0_only=True",
            ),
        ),
        Witness(
            "training_state",
            Training(optimizer=Optimizer("Adam"), saved=Side(Parallelism(data=2, flat=True), 1, full=True)),
        ),
    ),
    Bug(
        "state-of-last-optimizer-alone",
        "the state of the last of several optimizers alone",
        (
            Change(
                "state_dict:_get_optim_state_dict",
                "cast(DictValueType, optim_state_dict[_STATE]).update(osd[_STATE])",
                "optim_state_dict[_STATE] = osd[_STATE]",
            ),
        ),
        Witness(
            "training_state",
            Training((Norm(), Mlp()), optimizer=Optimizer("Adam", groups="matrices first", apart=True)),
        ),
    ),
    Bug(
        "optimizer-state-under-name-of-another-parameter",
        "optimizer state under the name of another parameter",
        (
            Change(
                "state_dict:_get_optim_state_dict",
                "param_pid_mapping = dict(zip(params, range(len(params))))",
                "param_pid_mapping = dict(zip(params, reversed(range(len(params)))))",
            ),
        ),
        Witness("training_state", Training(optimizer=Optimizer("Adam"))),
    ),
    Bug(
        "hyperparameter-not-restored",
        "a hyperparameter not restored",
        (
            Change(
                "state_dict:_split_optim_state_dict",
                "pg_state[pg_idx][key] = value",
                'pg_state[pg_idx][key] = optim.param_groups[pg_idx][key] if key == "weight_decay" else value',
            ),
        ),
        Witness("training_state", Training(width=2, optimizer=Optimizer("Adam", decay=True))),
    ),
    Bug(
        "step-counter-not-loaded",
        "the step counter not loaded",
        (
            Change(
                "state_dict:_split_optim_state_dict",
                "state[fqn] = cast(DictValueType, optim_state_dict[_STATE])[fqn]",
                (
                    "state[fqn] = cast(DictValueType, optim_state_dict[_STATE])[fqn]\n"
                    '                        state[fqn] = {k: v * 0 if k == "step" else v for k, v in '
                    "state[fqn].items()}"
                ),
            ),
        ),
        Witness("training_state", Training(optimizer=Optimizer("Adam"))),
    ),
    Bug(
        "what-rank-0-broadcasts-not-taken-over",
        "what rank 0 broadcasts not taken over",
        (
            Change(
                "torch.distributed._state_dict_utils:_distribute_tensors",
                "ret.to_local().copy_(full_tensor[tuple(slices)])",
                "pass",
            ),
        ),
        Witness(
            "training_state",
            Training(
                width=2,
                optimizer=Optimizer(variant=True),
                saved=Side(steps=1, full=True),
                loaded=Side(parallelism=Parallelism(data=2), full=True, broadcast=True),
            ),
        ),
    ),
    Bug(
        "what-rank-0-broadcasts-taken-for-float32",
        "what rank 0 broadcasts received as if it were float32",
        (
            Change(
                "torch.distributed._state_dict_utils:_broadcast_tensors",
                "dtype=tensor_info.dtype",
                "dtype=torch.float32",
            ),
        ),
        Witness(
            "training_state",
            Training(
                width=2,
                optimizer=Optimizer(variant=True),
                loaded=Side(parallelism=Parallelism(data=2), full=True, broadcast=True),
                dtype="bfloat16",
            ),
        ),
    ),
    Bug(
        "list-that-is-not-filled-up-to-place",
        "a list that is not filled up to a place",
        (Change("_traverse:set_element", "while len(lst) <= idx:", "while len(lst) < idx:"),),
        Witness("training_state", Training()),
    ),
    Bug(
        "dicts-without-tensors-whole",
        "dicts without a tensor taken as one object, of which one rank's is saved",
        (
            Change(
                "_nested_dict:flatten_state_dict",
                "        traverse_state_dict(state_dict, flat_copy)",
                "        traverse_state_dict_v_2_3(state_dict, flat_copy)",
            ),
        ),
        Witness("training_state", Training()),
        upstream="pytorch#125335",
    ),
    Bug(
        "path-of-first-key-alone",
        "paths of the first key alone",
        (Change("_nested_dict:flatten_state_dict", "mappings[new_fqn] = path", "mappings[new_fqn] = path[:1]"),),
        Witness("training_state", Training()),
    ),
    Bug(
        "list-made-a-dict",
        "a list that is made anew made a dict",
        (Change("_traverse:set_element", "{} if type(key) is str else []", "{}"),),
        Witness("training_state", Training()),
    ),
)
