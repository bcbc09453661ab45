"""How a script compares what the state dict holds after a save or a load."""

from __future__ import annotations

from properties.violations import ChangedInput, ChangedOutside, NotInPlace, WrongKeys, WrongTensor
from worlds.entries import ObjectEntry, TensorEntry

from .known import CannotWrite
from .memory import layout_of
from .objects import holds_files, tells_all
from .per_rank import is_everywhere
from .places import key_literal, place_of
from .plan import Plan
from .state import content_checks, is_left, state_name
from .tensors import holds
from .text import quoted

__all__ = ["after_call", "before_call", "content_helpers"]

_CHECK = '''\
def check(name, tensor, expected{at}):
    """End with status 1 if a bit is not as ``expected``, and show the first elements that differ."""
    tensor, expected = as_bytes(tensor), as_bytes(expected)
    wrong = (tensor != expected).any(dim=-1).nonzero().tolist()
    for index in map(tuple, wrong[:5]):
        want, got = (bytes(part[index].tolist()).hex() for part in (expected, tensor))
        print(f"{label}{{name}}{{list(index)}}{of}: saved {{want}}, {is_there} {{got}}")
    if wrong:
        sys.exit(f"{label}{{name}}: {{len(wrong)}} elements are not what was saved")'''
_CHECK_OBJECT = '''\
def check_object(name, value):
    """End with status 1 if ``value`` is not what was saved."""
    if {shown}(value) != {shown}(saved[name]):
        sys.exit(f"{label}{{name}}: saved {{{saved}}}, {is_there} {{{value}}}")'''
_SHOWN = '''\
def shown(value):
    """The text of an object: its ``repr``, or what it holds in memory if it is a file."""
    return f"BytesIO({value.getvalue()!r})" if isinstance(value, io.BytesIO) else repr(value)'''
_DESCRIBE = '''\
def describe(tensor):
    """What a load must not change of a tensor."""
    kind, shards = type(tensor).__name__, []
    if isinstance(tensor, ShardedTensor):
        shards = [(shard.metadata.shard_offsets, shard.metadata.shard_sizes) for shard in tensor.local_shards()]
    return kind, getattr(tensor, "dtype", None), list(getattr(tensor, "shape", [])), shards'''
_DESCRIBE_PLAIN = '''\
def describe(tensor):
    """What a load must not change of a tensor."""
    return type(tensor).__name__, getattr(tensor, "dtype", None), list(getattr(tensor, "shape", []))'''
_DESCRIBE_WITH_DEVICE = '''\
def describe(tensor):
    """What a load must not change of a tensor."""
    kind, dtype = type(tensor).__name__, getattr(tensor, "dtype", None)
    return kind, dtype, list(getattr(tensor, "shape", [])), str(tensor.device)'''
_KEYS = '''\
def keys_of(value):
    """What keys there are in the dicts in ``value``."""
    if isinstance(value, dict):
        return {key: keys_of(inner) for key, inner in value.items()}
    return [keys_of(inner) for inner in value] if isinstance(value, list) else None'''
_PLACE = '''\
def place(tensor):
    """Where a tensor lies in memory, on this rank."""
    parts = [shard.tensor for shard in tensor.local_shards()] if isinstance(tensor, ShardedTensor) else [tensor]
    return id(tensor), [part.data_ptr() for part in parts]'''
_PLACE_PLAIN = '''\
def place(tensor):
    """Where a tensor lies in memory."""
    return id(tensor), tensor.data_ptr()'''


def content_helpers(plan: Plan) -> list[str]:
    """The functions that the comparison calls."""
    leaves = plan.leaves(plan.last)
    label = "[rank {rank}] " if plan.ranks > 1 else ""
    is_there = "now" if plan.last == "save" else "loaded"
    helpers = []
    if plan.replaced is not None:
        if plan.kind is not NotInPlace:
            assert plan.kind is not None
            raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} of a container yet")
        return []
    if _has_keys_inside(plan):
        helpers.append(_KEYS)
    if plan.kind in (WrongTensor, NotInPlace):
        sharded = holds(plan, "ShardedTensor", plan.last)
        if plan.kind is WrongTensor:
            is_meta = any(layout_of(leaf, plan.last).memory == "meta" for leaf in leaves)
            plain = _DESCRIBE_WITH_DEVICE if is_meta else _DESCRIBE_PLAIN
            helpers.append(_DESCRIBE if sharded else plain)
        else:
            helpers.append(_PLACE if sharded else _PLACE_PLAIN)
    elif plan.compares_content and plan.kind is not ChangedOutside:
        in_parts = ("ShardedTensor", "Checkpointable", "CheckpointableTensor")
        sharded = any(holds(plan, kind, plan.last) for kind in in_parts)
        at = ", at=None" if sharded else ""
        of = " in the shard at {at}" if sharded else ""
        if any(isinstance(leaf.entry, TensorEntry) for leaf in leaves):
            helpers.append(_CHECK.format(label=label, at=at, of=of, is_there=is_there))
        if any(isinstance(leaf.entry, ObjectEntry) and not is_left(plan, leaf) for leaf in leaves):
            helpers += _check_object(plan, label, is_there)
    return helpers


def _check_object(plan: Plan, label: str, is_there: str) -> list[str]:
    if tells_all(plan):
        texts = {"shown": "shown", "saved": "shown(saved[name])", "value": "shown(value)"}
        return [_CHECK_OBJECT.format(label=label, is_there=is_there, **texts)]
    if not holds_files(plan):
        texts = {"shown": "repr", "saved": "saved[name]!r", "value": "value!r"}
        return [_CHECK_OBJECT.format(label=label, is_there=is_there, **texts)]
    texts = {"shown": "shown", "saved": "shown(saved[name])", "value": "shown(value)"}
    return [_SHOWN, _CHECK_OBJECT.format(label=label, is_there=is_there, **texts)]


def _has_keys_inside(plan: Plan) -> bool:
    """Whether keys matter, and there are some further inside; raises :class:`CannotWrite` if a load may change them."""
    if plan.kind is WrongKeys and not plan.scenario.planner.flatten_state_dict:
        raise CannotWrite("there is no script for the keys after a load without flatten_state_dict yet")
    partial = not all(is_everywhere(plan, leaf, plan.last) for leaf in plan.leaves(plan.last))
    if plan.kind in (WrongKeys, ChangedInput) and partial and plan.scenario.container == "module":
        raise CannotWrite("there is no script for the keys of a module whose tensors are on some ranks yet")
    if plan.kind in (WrongKeys, ChangedInput) and plan.has_stateful(plan.last):
        raise CannotWrite("there is no script for the keys of a Stateful object yet")
    return plan.kind in (WrongKeys, ChangedInput) and plan.has_containers(plan.last)


def _keys(plan: Plan, variable: str) -> str:
    return f"str(keys_of({variable}))" if _has_keys_inside(plan) else f"list({variable})"


def _now(keys: str) -> str:
    return keys.removeprefix("str(").removesuffix(")") if keys.startswith("str(") else keys


def before_call(plan: Plan) -> list[str]:
    """What has to be kept of the state dict before it is loaded into."""
    variable = state_name(plan, plan.last)
    if plan.replaced is not None:
        return [f"before = {place_of(plan, variable, plan.replaced)}"]
    if plan.kind is WrongTensor:
        return [f"before = {{name: describe(value) for name, value in {variable}.items()}}"]
    if plan.kind is NotInPlace:
        return [f"before = {{name: place({variable}[name]) for name in {_tensor_names(plan)}}}"]
    if plan.kind in (WrongKeys, ChangedInput):
        return [f"keys = {_keys(plan, variable)}"]
    return []


def after_call(plan: Plan) -> list[str]:
    """The comparison, which ends the script with status 1 where something is wrong."""
    variable = state_name(plan, plan.last)
    scenario = plan.scenario
    if plan.replaced is not None:
        place = place_of(plan, variable, plan.replaced)
        message = quoted(f"{'.'.join(map(str, plan.replaced))} is another object than the one to load into")
        return [f"if {place} is not before:\n    sys.exit({message})"]
    lines = []
    if scenario.container == "module" and plan.kind not in (None, NotInPlace):
        module = "module" if plan.last == "save" else "target"
        lines.append(f"{variable} = {module}.state_dict()")
    if plan.kind is WrongTensor:
        lines.append(
            f"for name in {_tensor_names(plan)}:\n"
            f"    if describe({variable}[name]) != before[name]:\n"
            f'        sys.exit(f"{{name}} is {{describe({variable}[name])}}, and was {{before[name]}}")'
        )
    elif plan.kind is NotInPlace:
        lines.append(
            f"for name in before:\n"
            f"    if place({variable}[name]) != before[name]:\n"
            f'        sys.exit(f"{{name}} is another tensor than the one to load into")'
        )
    elif plan.kind is ChangedOutside:
        lines.append(
            "for frame in frames:\n"
            "    if not (frame[:64] == 0xA5).all() or not (frame[-64:] == 0xA5).all():\n"
            '        sys.exit("memory beside a tensor was written")'
        )
    else:
        if plan.kind in (WrongKeys, ChangedInput):
            now = _keys(plan, variable)
            lines.append(f'if {now} != keys:\n    sys.exit(f"the keys are {{{_now(now)}}}, and were {{keys}}")')
        if plan.compares_content:
            lines += content_checks(plan, plan.last, variable)
    return lines


def _tensor_names(plan: Plan) -> str:
    names = [key_literal(leaf.path[0]) for leaf in plan.leaves(plan.last) if isinstance(leaf.entry, TensorEntry)]
    return f"[{', '.join(names)}]"
