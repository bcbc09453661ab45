"""How what is known of modules in a training shows itself; as :mod:`.symptoms`."""

from __future__ import annotations

import ast
import re

from properties.violations import ChangedInput, NotLoaded, WrongBits, WrongKeys, WrongObject, WrongTensor
from worlds.training import Again, Renamed, Scale, Side
from worlds.training.layers import leaf_layers
from worlds.training.wrapping import unwrapped_name

from .breach import TrainingBreach
from .facts import (
    GROUPS,
    STATE,
    STATE_DICT,
    has_again,
    names_of_module,
    of_second_name,
    raised,
    refused_parameters,
    saved_names,
    saved_scalars,
    saved_values,
)

__all__ = [
    "beside_what_is_broadcast",
    "frozen_and_renamed",
    "given_names_lost",
    "left_on_meta",
    "modifiers_not_asked_for",
    "optimizers_without_state",
    "renamed_for_the_load",
    "shared_module_full",
    "shared_module_wrapped",
]


_FSDP = "torch/distributed/fsdp/_fully_shard/_fsdp_param.py"
_UTILS = "torch/distributed/_state_dict_utils.py"


def renamed_for_the_load(breach: TrainingBreach) -> bool:
    """Whether the load looks for optimizer state by the name that a parameter has in the model's state dict alone.

    Then it raises, or goes on with none of it, and without the hyperparameters of a group of such parameters; with
    ``full_state_dict`` what it has not asked for is there too, as the state of a piece of text.
    """
    if breach.side != "load" or breach.training.modifiers != "_fqn_modifiers":
        return False
    if breach.failed is not None:
        return bool(refused_parameters(breach) & _renamed(breach)) or _unflattened_by_other_names(breach)
    if breach.name.startswith(GROUPS):
        group = GROUPS + breach.name.split(".")[2] + ".params"
        parameters = ast.literal_eval(saved_values(breach).get(group, "[]"))
        renamed = bool(parameters) and all(_is_renamed(breach, parameter) for parameter in parameters)
        # A learning rate in a tensor is the optimizer's own, where that is made after the tensors were poisoned.
        own = (WrongBits,) if breach.training.loaded.meta else ()
        return renamed and breach.kind in (WrongKeys, WrongObject, NotLoaded, *own)
    parameter = breach.name.removeprefix(STATE).rpartition(".")[0].strip("'")
    state = breach.name.startswith(STATE) and breach.kind in (WrongKeys, NotLoaded, WrongBits)
    return state and _is_renamed(breach, parameter)


def _unflattened_by_other_names(breach: TrainingBreach) -> bool:
    """Whether a flat state dict lacks hyperparameters by that name, or state of it is a dict without anything."""
    lacking = any(raised(breach, "set", "KeyError", f"'param_groups.{name}.") for name in _renamed(breach))
    return breach.training.flatten and (
        lacking or (bool(_renamed(breach)) and raised(breach, "set", "TypeError", "not 'dict'", "torch/optim/"))
    )


def _renamed(breach: TrainingBreach) -> set[str]:
    """The names in the model's state dict of the parameters that have others where they are."""
    held = (name.removeprefix("model.") for name in saved_names(breach) if name.startswith("model."))
    return {name.replace(".inner.", ".") for name in held if _is_renamed(breach, name)}


def _is_renamed(breach: TrainingBreach, parameter: str) -> bool:
    there = any(isinstance(layer, Renamed) for layer in leaf_layers(breach.training.layers))
    return there and parameter.endswith((".inner.weight", ".inner.bias"))


def modifiers_not_asked_for(breach: TrainingBreach) -> bool:
    """Whether the module is looked at for a parameter that it has by another name, as a method of it says."""
    other = breach.training.modifiers != "_fqn_modifiers"
    message = "RenamedModule' object has no attribute "
    return other and raised(breach, "get", "AttributeError", message, "torch/nn/modules/module.py:__getattr__")


def frozen_and_renamed(breach: TrainingBreach) -> bool:
    """Whether a frozen parameter is to be left out of the model's state dict by a name that it has not there."""
    failed = breach.failed
    if failed is None or not breach.training.ignore_frozen:
        return False
    origin = f"{STATE_DICT}:_get_model_state_dict"
    return raised(breach, "get", "KeyError", origin=origin) and _is_renamed(
        breach, failed.raised.error.message.strip("'")
    )


def shared_module_full(breach: TrainingBreach) -> bool:
    """Whether a full tensor is copied into a shard, for a parameter that is in the model by two names.

    Or takes its place, where that is on the meta device; or is not taken for one at all, where rank 0 alone has it; or
    is not sent, where it is 0-d, and other ranks lack it.
    """
    failed, side, layers = breach.failed, breach.training.loaded, breach.training.layers
    if breach.kind is WrongTensor and side.meta:
        name = "model." + breach.name.removeprefix("model.").removeprefix(STATE)
        return bool(names_of_module(layers, name)) and breach.seen.endswith(" Tensor")
    if failed is None or not side.full:
        return False
    error = failed.raised.error
    if side.meta and raised(breach, "set", "AttributeError", "'_local_tensor'", f"{_FSDP}:reset_sharded_param"):
        return has_again(layers)
    if side.broadcast and raised(breach, "set", "KeyError", "", f"{_UTILS}:_broadcast_state_dict"):
        return of_second_name(layers, error.message.strip("'"))
    if _lacks_scalars_by_second_names(breach):
        return True
    named = re.findall(r'the parameter named "(.+?)"', error.message)
    copied = raised(breach, "set", "RuntimeError", "aten.copy_", "torch/nn/modules/module.py:load_state_dict")
    return copied and bool(named) and all(of_second_name(layers, unwrapped_name(name)) for name in named)


def _lacks_scalars_by_second_names(breach: TrainingBreach) -> bool:
    side, names = breach.training.loaded, set(map(unwrapped_name, _refused_names(breach, "Missing")))
    if not (side.broadcast and side.offload and breach.rank > 0) or _refused_names(breach, "Unexpected"):
        return False
    seconds = bool(names) and all(of_second_name(breach.training.layers, name) for name in names)
    return seconds and {f"model.{name}" for name in names} <= saved_scalars(breach)


def optimizers_without_state(breach: TrainingBreach) -> bool:
    """Whether each of two optimizers without state is given the groups of both."""
    message, origin = "has a different number of parameter groups", "torch/optim/optimizer.py:load_state_dict"
    asked = breach.training.optimizer
    stateless = asked is not None and asked.apart and not any(name.startswith(STATE) for name in saved_names(breach))
    return stateless and not breach.training.flatten and raised(breach, "set", "ValueError", message, origin)


def _is_wrapped(side: Side) -> bool:
    return side.whole != "bare" or side.each == "compiled"


def given_names_lost(breach: TrainingBreach) -> bool:
    """Whether names have gone from the state dict that was loaded into a module that is wrapped."""
    lost = breach.kind is ChangedInput and breach.side == "load" and breach.name.startswith("given.")
    return lost and _is_wrapped(breach.training.loaded)


def beside_what_is_broadcast(breach: TrainingBreach) -> bool:
    """Whether another rank than 0 refuses names that it was given, and that rank 0 alone has put the wrapper's into."""
    side, failed = breach.training.loaded, breach.failed
    if failed is None or breach.rank == 0 or not (side.full and side.broadcast and _is_wrapped(side)):
        return False
    named = _refused_names(breach, "Unexpected")
    return bool(named) and not _refused_names(breach, "Missing") and not any(map(_has_wrapper, named))


def shared_module_wrapped(breach: TrainingBreach) -> bool:
    """Whether a module that is wrapped lacks, by its second name, a parameter of one that it has by two names.

    On a rank that gets what rank 0 broadcasts, what it has been given itself is unexpected too. A load that is not
    strict leaves out what has that name alone, as where the second parent is asked for.
    """
    if not _is_wrapped(breach.training.loaded):
        return False
    if breach.failed is None:
        return breach.kind is NotLoaded and _is_asked_for_by_second_name(breach)
    missing = _refused_names(breach, "Missing")
    unexpected = _refused_names(breach, "Unexpected")
    there = {unwrapped_name(name.removeprefix("module.").replace("_orig_mod.module.", "")) for name in missing}
    if breach.training.loaded.broadcast and breach.rank > 0:
        unexpected = set(filter(_has_wrapper, unexpected))
    return bool(missing) and all(of_second_name(breach.training.layers, name) for name in there | unexpected)


def _is_asked_for_by_second_name(breach: TrainingBreach) -> bool:
    layers, side = breach.training.layers, breach.training.loaded
    parents = [layers[place] for place in side.submodules]
    again = bool(parents) and all(isinstance(parent, Again) and parent.inside for parent in parents)
    return again and not side.strict and bool(names_of_module(layers, breach.name))


def _refused_names(breach: TrainingBreach, what: str) -> set[str]:
    """The names that a strict load of the model misses, or does not expect."""
    if breach.failed is None or not raised(
        breach, "set", "RuntimeError", "", "torch/nn/modules/module.py:load_state_dict"
    ):
        return set()
    found = re.search(what + r" key\(s\) in state_dict: (.+?)\. ?$", breach.failed.raised.error.message, re.MULTILINE)
    return set() if found is None else set(re.findall(r'"(.+?)"', found[1]))


def _has_wrapper(name: str) -> bool:
    return name.startswith("module.") or "_orig_mod." in name


def left_on_meta(breach: TrainingBreach) -> bool:
    """Whether what is 0-d stays on the meta device, as nothing of the model has a dim.

    Or it is to be copied from there, with ``cpu_offload``; or an optimizer that is made of it takes a step with it.
    """
    if breach.failed is not None:
        side = breach.training.loaded
        copied = side.offload and raised(
            breach, "set", "NotImplementedError", "Cannot copy out of meta tensor", f"{_UTILS}:_iterate_state_dict"
        )
        stepped = raised(breach, "set", "RuntimeError", "Tensor.item() cannot be called on meta tensors")
        scalars = all(isinstance(layer, Scale) for layer in leaf_layers(breach.training.layers))
        return (copied or stepped) and scalars and not breach.training.own and side.meta
    scalar = breach.kind is WrongTensor and breach.seen.endswith("() on the meta device")
    names = [name for name in saved_names(breach) if name.startswith("model.")]
    target = breach.target()
    held = {} if target is None else dict(target.before.tensors)
    return (
        scalar and breach.training.loaded.meta and not any(held[name].shape for name in names if not held[name].scratch)
    )
