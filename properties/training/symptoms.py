"""How the known issues of a training show themselves: each names the failure, so that anything else is new."""

from __future__ import annotations

import re

from properties.violations import (
    ChangedInput,
    Deadlock,
    NotLoaded,
    UnexpectedFailure,
    WrongBits,
    WrongKeys,
    WrongObject,
    WrongTensor,
)
from worlds.layouts import MeshSharding, Shard, StridedShard
from worlds.outcome import Deadlocked
from worlds.parts import Part, chunk_runs
from worlds.training import Block, Counter, Embedding, Loaded, Mlp, Parallelism, Renamed, Saved, Training
from worlds.training.layers import leaf_layers

from .breach import TrainingBreach
from .facts import (
    GROUPS,
    STATE,
    STATE_DICT,
    empty_groups,
    names_of_module,
    parameters_with_state,
    raised,
    refused_parameters,
    saved_names,
    saved_scalars,
)
from .whole import is_elsewhere, places, put_together

__all__ = [
    "closure_not_given",
    "cut_otherwise",
    "empty_group_lost",
    "empty_part_refused",
    "empty_state_made",
    "flat_and_full",
    "flat_empty_group",
    "frozen_beside_submodules",
    "frozen_by_another_name",
    "frozen_state_dropped",
    "full_without_state",
    "hidden_by_evaluation",
    "marker_for_extra_state",
    "rank_0_broadcasts_alone",
    "state_in_another_dtype",
    "state_never_made",
    "state_not_asked_for",
    "strictly_refused",
    "strided_shards_uneven",
    "took_a_step",
    "tuple_as_list",
]


def took_a_step(breach: TrainingBreach) -> bool:
    """Whether there is optimizer state after the save of an optimizer that had none."""
    if _stepped_alone(breach):
        return True
    new = breach.kind is ChangedInput and breach.name.startswith(STATE) and breach.expected == "nothing"
    return new and (breach.training.saved.steps == 0 or _had_no_state(breach) or _had_no_element(breach))


def _stepped_alone(breach: TrainingBreach) -> bool:
    """Whether ranks of FSDP's first version took a step alone, after which they have state that others have not.

    The first one, for want of gradients that others had; or one for want of any state, as of a rank that holds padding
    alone, which makes state of what is never used, too.
    """
    side = breach.training.saved if breach.side == "save" else breach.training.loaded
    if not side.parallelism.flat or not raised(breach, "get", "AssertionError", "_sharded_numel_padded is incorrect"):
        return False
    leaves = leaf_layers(breach.training.layers)
    unused = any(not isinstance(layer, Counter) and layer.use == "unused" for layer in leaves)
    first = breach.side == "save" and side.backward and side.steps == 0
    return first or (unused and side.parallelism.wrapped and side.steps > 0)


def _had_no_element(breach: TrainingBreach) -> bool:
    """Whether FSDP's first version has left the rank no element of what is trained, and so no state of it."""
    seen = breach.outcome.saved[breach.rank]
    if not breach.training.saved.parallelism.flat or not isinstance(seen, Saved):
        return False
    before = dict(seen.before.tensors)
    return is_elsewhere(breach.name, before) and not any(name.startswith(STATE) for name in before)


def _had_no_state(breach: TrainingBreach) -> bool:
    """Whether it is one of two optimizers, and no parameter of it had a gradient in any step."""
    asked, seen = breach.training.optimizer, breach.outcome.saved[breach.rank]
    if asked is None or not asked.apart or not isinstance(seen, Saved):
        return False
    before = dict(seen.before.tensors)
    parameters = {name.removeprefix(STATE).rpartition(".")[0] for name in before if name.startswith(STATE)}
    matrices = {len(before[f"model.{parameter}"].shape) > 1 for parameter in parameters}
    parameter = breach.name.removeprefix(STATE).rpartition(".")[0]
    return (len(before[f"model.{parameter}"].shape) > 1) not in matrices


def empty_group_lost(breach: TrainingBreach) -> bool:
    """Whether hyperparameters of a group without parameters, that is not the last, are not restored."""
    # A learning rate that is a tensor is loaded into in any case, but where the optimizer is made after that.
    # Or where rank 0 alone has it.
    side = breach.training.loaded
    # Or where it gets that of the next group, of which no parameter is found by its name.
    of_tensor = side.meta or (side.broadcast and side.offload and breach.rank > 0) or _is_of_another_group(breach)
    kinds = (WrongKeys, WrongObject, *((WrongBits, NotLoaded) if of_tensor else ()))
    if breach.side != "load" or breach.kind not in kinds or not breach.name.startswith(GROUPS):
        return False
    return breach.name.split(".")[2] == "0" and 0 in empty_groups(breach)


def _is_of_another_group(breach: TrainingBreach) -> bool:
    """Whether a hyperparameter that is a tensor, as a learning rate, has what was saved of another group."""
    target = breach.target()
    held = None if target is None else dict(target.after.tensors).get(breach.name)
    renames = any(isinstance(layer, Renamed) for layer in leaf_layers(breach.training.layers))
    if held is None or not renames or not breach.name.startswith(GROUPS):
        return False
    ranks = [rank.after for rank in breach.outcome.saved if isinstance(rank, Saved)]
    key = breach.name.split(".")[3]
    others = {
        tensor.elements
        for name, tensor in put_together(ranks).tensors.items()
        if name.startswith(GROUPS) and name.endswith(f".{key}") and name != breach.name
    }
    return tuple(element for chunk in held.chunks for _, element in places(chunk, held.shape)) in others


def flat_empty_group(breach: TrainingBreach) -> bool:
    flat = breach.training.flatten and bool(empty_groups(breach))
    return flat and raised(breach, "set", "IndexError", origin=f"{STATE_DICT}:_unflatten_optim_state_dict")


def flat_and_full(breach: TrainingBreach) -> bool:
    both = breach.training.flatten and breach.training.loaded.full and breach.side == "load"
    keys = ("'state'", "'param_groups'", "'param_groups.")
    return both and any(raised(breach, "set", "KeyError", key) for key in keys)


def full_without_state(breach: TrainingBreach) -> bool:
    return breach.training.loaded.full and raised(
        breach, "set", "AssertionError", "Expected device to be set", f"{STATE_DICT}:_load_optim_state_dict"
    )


def tuple_as_list(breach: TrainingBreach) -> bool:
    """Whether a hyperparameter is a list of what was in a tuple, as betas are."""
    of_group = breach.kind is WrongObject and breach.name.startswith(GROUPS) and breach.training.loaded.full
    is_tuple = breach.expected.startswith("(") and breach.expected.endswith(")")
    return of_group and is_tuple and breach.seen == f"[{breach.expected[1:-1]}]"


def closure_not_given(breach: TrainingBreach) -> bool:
    """Whether an optimizer that calls what it is given was to take a step with nothing."""
    asked = breach.training.optimizer
    none = raised(breach, "get", "TypeError", "'NoneType' object is not callable")
    return asked is not None and asked.kind == "LBFGS" and none


def state_never_made(breach: TrainingBreach) -> bool:
    """Whether the load misses optimizer state that the optimizer that was saved did not have either."""
    failed, prefix = breach.failed, "Missing key in checkpoint state_dict: "
    if breach.kind is not UnexpectedFailure or failed is None or failed.call != "load" or not failed.raised.failures:
        return False
    messages = [error.message for _, error in failed.raised.failures]
    named = {message.removeprefix(prefix).removesuffix(".") for message in messages}
    missing = all(message.startswith(f"{prefix}{STATE}") for message in messages)
    return missing and not named & saved_names(breach)


def frozen_state_dropped(breach: TrainingBreach) -> bool:
    """Whether optimizer state of a frozen parameter was saved, and was not loaded: it has gone, or is the target's."""
    if not breach.name.startswith(STATE):
        return False
    parameter = "model." + breach.name.removeprefix(STATE).rpartition(".")[0]
    ranks = [rank for rank in breach.outcome.saved if isinstance(rank, Saved)]
    frozen = any(name == parameter and tensor.frozen for rank in ranks for name, tensor in rank.after.tensors)
    gone = breach.kind is WrongKeys and breach.missing
    return frozen and (gone or (breach.kind is NotLoaded and breach.training.loaded.full))


def hidden_by_evaluation(breach: TrainingBreach) -> bool:
    side = breach.training.saved if breach.side == "save" else breach.training.loaded
    hidden = side.evaluated and side.parallelism.data > 0 and side.calls == "optimizer first"
    return hidden and raised(breach, "get", "KeyError", origin=STATE_DICT)


def rank_0_broadcasts_alone(breach: TrainingBreach) -> bool:
    """Whether rank 0 waits for ranks that took nothing for there being no model to load.

    Or that raise, since there is no optimizer either. Rank 0 does not wait where all that it has is 0-d, which is not
    broadcast; then either they raise, or they have not loaded it.
    """
    side = breach.training.loaded
    if breach.side != "load" or side.calls != "together":
        return False
    first, others = breach.outcome.loaded[:1], breach.outcome.loaded[1:]
    took = all(isinstance(other, Loaded) for other in others) and breach.kind is Deadlock
    nothing = raised(breach, "set", "RuntimeError", "optim_only is set to True", f"{STATE_DICT}:_verify_options")
    waits = bool(first) and isinstance(first[0], Deadlocked)
    sends_none = bool(first) and isinstance(first[0], Loaded)
    refused = nothing and breach.training.optimizer is None and (waits or sends_none)
    of_model = breach.kind is NotLoaded and breach.name.startswith("model.") and breach.rank != 0
    unsent = of_model and breach.name in saved_scalars(breach)
    alone = (waits and took) or refused or (sends_none and unsent)
    return alone and side.full and side.offload and side.broadcast


def empty_part_refused(breach: TrainingBreach) -> bool:
    """Whether what was got of a part of which all is frozen, and ignored, is taken for there being no model."""
    training = breach.training
    asked = [training.layers[place] for place in training.asked_for(training.loaded)]
    if training.nested:
        asked = [layer.layers[0] if isinstance(layer, Block) else layer for layer in asked]
    parts = leaf_layers(tuple(asked))
    frozen = all(not isinstance(layer, Counter) and layer.use == "frozen" for layer in parts)
    alone = training.optimizer is None and training.loaded.calls == "together"
    refused = raised(breach, "set", "RuntimeError", "optim_only is set to True", f"{STATE_DICT}:_verify_options")
    return training.ignore_frozen and frozen and alone and refused


def state_in_another_dtype(breach: TrainingBreach) -> bool:
    """Whether a 0-d state of an optimizer has the parameters' dtype, and not float32."""
    dtype, number = breach.training.dtype, breach.name.rpartition(".")[2] in ("eta", "mu", "mu_product")
    cast = (breach.expected, breach.seen) == ("float32 () Tensor", f"{dtype} () Tensor")
    return number and cast and breach.kind is WrongTensor and dtype != "float32"


def strided_shards_uneven(breach: TrainingBreach) -> bool:
    side = breach.training.loaded
    both = side.full and not side.broadcast and side.parallelism.data > 0 and side.parallelism.tensor > 0
    origin = "torch/distributed/tensor/placement_types.py:_shard_tensor"
    return both and breach.side == "load" and raised(breach, "set", "AssertionError", origin=origin)


def strictly_refused(breach: TrainingBreach) -> bool:
    """Whether a strict load refuses a parameter that needs gradients, of which no optimizer state was saved."""
    refused = refused_parameters(breach)
    there = {f"model.{parameter}" for parameter in refused} <= saved_names(breach)
    return bool(refused) and there and not refused & parameters_with_state(breach)


def state_not_asked_for(breach: TrainingBreach) -> bool:
    """Whether a load misses optimizer state that was saved, and that the optimizer to load into does not have yet."""
    if breach.training.loaded.steps == 0:
        return False
    refused = refused_parameters(breach)
    if refused:
        return refused <= parameters_with_state(breach)
    target = breach.target()
    gone = breach.kind is WrongKeys and breach.missing and breach.name.startswith(STATE)
    return gone and target is not None and breach.name not in dict(target.before.tensors)


def frozen_by_another_name(breach: TrainingBreach) -> bool:
    """Whether a frozen parameter with two names was loaded, by the second, though frozen ones were to be left out."""
    target = breach.target()
    if breach.kind is not WrongBits or target is None or not breach.training.ignore_frozen:
        return False
    saved = put_together([rank.after for rank in breach.outcome.saved if isinstance(rank, Saved)]).tensors
    twins = [name for name, tensor in saved.items() if tensor == saved.get(breach.name) and name != breach.name]
    held = dict(target.after.tensors).get(breach.name)
    others = {_twin(breach.name), *names_of_module(breach.training.layers, breach.name)}
    if held is None or not held.frozen or not others.intersection(twins):
        return False
    elements = saved[breach.name].elements
    return all(elements[index] == element for chunk in held.chunks for index, element in places(chunk, held.shape))


def frozen_beside_submodules(breach: TrainingBreach) -> bool:
    """Whether a frozen parameter was to be left out that is not there, as it is of no submodule that was asked for.

    Or is there by another name, that which it has in the submodule.
    """
    training, failed = breach.training, breach.failed
    side = training.saved if breach.side == "save" else training.loaded
    origin = f"{STATE_DICT}:_get_model_state_dict"
    if failed is None or not side.submodules or not raised(breach, "get", "KeyError", origin=origin):
        return False
    place = int(failed.raised.error.message.strip("'").partition(".")[0])
    layers = leaf_layers((training.layers[place],))
    frozen = any(not isinstance(layer, Counter) and layer.use == "frozen" for layer in layers)
    return (
        training.ignore_frozen
        and frozen
        and (place not in side.submodules or training.nested or not training.keep_prefixes)
    )


def marker_for_extra_state(breach: TrainingBreach) -> bool:
    """Whether a module whose extra state was not asked for is given the object that stands for it among the names."""
    side = breach.training.loaded
    part = side.full and bool(side.submodules) and breach.side == "load"
    return part and raised(breach, "set", "TypeError", "'_EXTRA_STATE' object is not subscriptable")


def cut_otherwise(breach: TrainingBreach) -> bool:
    """Whether rows are lost, or refused, that FSDP on top of tensor parallelism cuts otherwise than it says."""
    training, failed = breach.training, breach.failed
    sides = (training.saved,) if breach.side == "save" else (training.saved, training.loaded)
    if not any(_cuts_otherwise(rows, side.parallelism) for rows in _rows(training) for side in sides):
        return False
    if failed is None:
        return breach.kind in (NotLoaded, WrongBits) and bool(_TWICE_CUT.search(breach.name))
    origin = "torch/distributed/_state_dict_utils.py:_distribute_tensors"
    if raised(breach, "set", "RuntimeError", "doesn't match the broadcast shape", origin):
        return True
    messages = [error.message for _, error in failed.raised.failures or ()]
    refused = bool(messages) and all(_REFUSED.search(message) for message in messages)
    return breach.kind is UnexpectedFailure and refused


_TWICE_CUT = re.compile(r"\.(up\.weight|up\.bias|tokens\.weight|head\.weight)(\.\w+)?$")
_REFUSED = re.compile(
    r"Failed to validate global plan: key:\S+\.(up|tokens|head)\.\S+ has|"
    r"req MetadataIndex\(fqn='\S+\.(up|tokens|head)\.\S+', .*\) mismatch sizes"
)


def _rows(training: Training) -> set[int]:
    """The rows of the parameters that tensor parallelism cuts by rows, as ``fully_shard`` does."""
    layers = list(leaf_layers(training.layers))
    hidden = {layer.hidden for layer in layers if isinstance(layer, Mlp)}
    return hidden | {layer.rows for layer in layers if isinstance(layer, Embedding)}


def _cuts_otherwise(rows: int, parallelism: Parallelism) -> bool:
    """Whether to cut for tensor parallelism and then each piece for FSDP is not what the placements stand for."""
    data, tensor = parallelism.data, parallelism.tensor
    if not data or not tensor:
        return False
    said = MeshSharding((data, tensor), (StridedShard(0, tensor), Shard(0)))
    pieces = chunk_runs([(0, rows)], tensor)
    return any(
        said.parts((rows,), rank)[0].sizes != Part((chunk_runs(pieces[rank % tensor], data)[rank // tensor],)).sizes
        for rank in range(data * tensor)
    )


def _twin(name: str) -> str:
    """The other name of a parameter, if it is that of a tied embedding."""
    module, _, inner = name.removesuffix(".weight").rpartition(".")
    return f"{module}.{'head' if inner == 'tokens' else 'tokens'}.weight"


def empty_state_made(breach: TrainingBreach) -> bool:
    made = breach.kind is WrongKeys and breach.name.startswith(STATE) and not breach.missing and breach.seen == "{}"
    return made and breach.training.flatten
