"""The state dict that the script saves, and the one that it loads into."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from properties.violations import ChangedOutside, WrongObject
from worlds.dtypes import DTYPES
from worlds.entries import Entry, Nested, ObjectEntry, Path, TensorEntry
from worlds.layouts import ChunkSharding, Plain
from worlds.state_tree import Leaf, children, ties

from .faults import stateful_class
from .known import CannotWrite
from .memory import layout_of
from .objects import change_lines, object_code, object_helpers
from .per_rank import only_where_it_is, per_rank_lines
from .places import key_literal, place_of
from .plan import Name, Plan
from .tensors import holds, takes_accelerator, tensor_checks, tensor_helpers, tensor_overwrite, tensor_value
from .text import Code, Items, quoted, render
from .values import from_bits, tensor_code

__all__ = [
    "content_block",
    "content_checks",
    "is_left",
    "is_same",
    "overwrite_lines",
    "placeholder",
    "state_block",
    "state_helpers",
    "state_name",
]

_AS_BYTES = '''\
def as_bytes(tensor):
    """The bytes of a tensor, in one more dim: bits are compared, since a NaN is unequal to itself."""
    return tensor.detach(){resolved}.unsqueeze(-1).view(torch.uint8)'''

_INVERTED = '''\
def inverted(tensor):
    """A tensor that differs from ``tensor`` everywhere, so that it shows what was not loaded."""
{body}'''
_INVERTED_BOOL = """\
    if tensor.dtype is torch.bool:
        return ~tensor
"""
_INVERTED_ANY = "    return (~as_bytes(tensor)).view(tensor.dtype).squeeze(-1)"
_FRAMED = '''\
def framed(tensor):
    """A copy of ``tensor`` with 64 bytes on either side of it, which ``frames`` keeps."""
    memory = torch.full((tensor.nbytes + 128,), 0xA5, dtype=torch.uint8)
    frames.append(memory)
    copy = memory[64:-64].view(*tensor.shape, -1) if tensor.numel() else as_bytes(tensor)
    return copy.copy_(as_bytes(tensor)).view(tensor.dtype).squeeze(-1)'''
_MODULE = """\
{name} = torch.nn.Module()
{name}._register_state_dict_hook(sharded_tensor.state_dict_hook)
{name}._register_load_state_dict_pre_hook(sharded_tensor.pre_load_state_dict_hook, True)"""
_PLAIN_MODULE = "{name} = torch.nn.Module()"

_PLACEHOLDER = 'Instance("not loaded")'
_CONTAINERS = ("dict", "module")

Value = Callable[[Leaf, str], Code]
"""The value of an entry in the state dict, behind a head."""


def state_name(plan: Plan, name: Name) -> str:
    """The variable that holds the state dict."""
    if is_same(plan) and name == "save":
        return "saved"
    return "state_dict" if name == "save" else "loaded"


def is_same(plan: Plan) -> bool:
    """Whether what is saved is the plain tensors themselves, so that one dict serves for both."""
    plain = all(layout_of(leaf, "save") == Plain() for leaf in plan.leaves("save"))
    plain = plain and not any(
        isinstance(entry, Nested) or entry.key != str(entry.key) for entry in plan.scenario.entries
    )
    is_input = plan.compares_content and plan.last == "load"
    same = plain and plan.scenario.container == "dict" and not plan.scenario.save.rotated
    return is_input and same and not plan.overwrites


def state_helpers(plan: Plan) -> list[str]:
    """The definitions that the state dicts need."""
    scenario = plan.scenario
    if scenario.container not in _CONTAINERS:
        raise CannotWrite(f"there is no script for a state dict held in a {scenario.container!r} yet")
    if not plan.compares_content:
        return [*object_helpers(plan), *tensor_helpers(plan)]
    _check_content(plan)
    tensors = plan.tensors("save")
    helpers = object_helpers(plan)
    if any(math.prod(entry.shape) for entry in tensors):
        helpers.append(from_bits(plan.leaves("save")))
    if tensors:
        layouts = [layout_of(leaf, name) for name in plan.names for leaf in plan.leaves(name)]
        lazy = any(layout.memory in ("conjugated", "negated") for layout in layouts)
        resolved = ".resolve_conj().resolve_neg()" if lazy else ""
        on_cpu = ".cpu()" if takes_accelerator(plan) else ""
        helpers.append(_AS_BYTES.format(resolved=resolved + on_cpu))
    if tensors and plan.last == "load":
        has_bool = any(entry.dtype == "bool" for entry in tensors)
        helpers.append(_INVERTED.format(body=(_INVERTED_BOOL if has_bool else "") + _INVERTED_ANY))
        if plan.kind is ChangedOutside:
            helpers += ["frames = []", _FRAMED]
    return [*helpers, *tensor_helpers(plan)]


def _check_content(plan: Plan) -> None:
    """Raise :class:`CannotWrite` if what a load makes of its target is not simply what was saved under that name."""
    saved = {leaf.fqn: _kind(leaf) for leaf in plan.leaves("save")}
    for leaf in plan.leaves("load"):
        if not is_left(plan, leaf) and saved.get(leaf.fqn) != _kind(leaf):
            raise CannotWrite(f"there is no script yet that loads what was not saved: {leaf.fqn!r}")
    if plan.has_containers(plan.last) and not plan.scenario.planner.flatten_state_dict:
        raise CannotWrite("there is no script for what a load without flatten_state_dict makes of a container yet")


def is_left(plan: Plan, leaf: Leaf) -> bool:
    """Whether it is an object in what is loaded into that is not in the checkpoint, and so is to stay as it is."""
    is_object = isinstance(leaf.entry, ObjectEntry) and plan.scenario.planner.allow_partial_load
    return is_object and plan.last == "load" and leaf.fqn not in {saved.fqn for saved in plan.leaves("save")}


def _kind(leaf: Leaf) -> object:
    entry = leaf.entry
    if isinstance(entry, TensorEntry):
        return entry.shape, entry.dtype, entry.fill
    return entry.value, entry.form


def content_block(plan: Plan) -> list[str]:
    """The global tensors and the objects, as ``saved``; nothing where it does not matter what they hold."""
    if not plan.compares_content:
        return []
    if plan.contents is not None:
        return plan.contents
    items = [_global(leaf) for leaf in plan.leaves("save")]
    return [render(Items("saved = {", tuple(items)))]


def _global(leaf: Leaf) -> Code:
    key, entry = f"{quoted(leaf.fqn)}: ", leaf.entry
    return tensor_code(leaf.fqn, entry, head=key) if isinstance(entry, TensorEntry) else object_code(entry, head=key)


def state_block(plan: Plan, name: Name) -> list[str]:
    """The statements that make the state dict of an operation."""
    variable = state_name(plan, name)
    tied = _tie_lines(plan, variable) if name == "save" else []
    if name == "save" and is_same(plan):
        return tied

    def value(leaf: Leaf, head: str) -> Code:
        entry = leaf.entry
        return (
            _object(plan, leaf, entry, name, head)
            if isinstance(entry, ObjectEntry)
            else tensor_value(plan, leaf, name, head=head)
        )

    if plan.scenario.container == "module":
        lines = [*_module(plan, name, value), f"{variable} = {_module_name(name)}.state_dict()"]
    else:
        items = _items(plan, children(plan.scenario.entries, name), name, value)
        lines = [render(Items(f"{variable} = {{", items))]
    return [*_comments(plan, name), *lines, *per_rank_lines(plan, name, variable), *tied]


def _tie_lines(plan: Plan, variable: str) -> list[str]:
    """Statements that let tensors have one memory."""
    tied = list(ties(plan.leaves("save")))
    if any(layout_of(leaf, "save") != Plain() for each in tied for leaf in each):
        raise CannotWrite("there is no script for tied tensors that are on some ranks yet")
    return [f"{place_of(plan, variable, one.path)} = {place_of(plan, variable, other.path)}" for one, other in tied]


def _items(
    plan: Plan, placed: Iterable[tuple[Path, Entry]], name: Name, value: Value, *, sequence: bool = False
) -> tuple[Code, ...]:
    """What is between the brackets of a container."""
    items = []
    for path, entry in placed:
        head = "" if sequence else f"{key_literal(path[-1])}: "
        items.append(
            _container(plan, path, entry, name, value, head)
            if isinstance(entry, Nested)
            else value(Leaf(path, entry), head)
        )
    return tuple(items)


def _container(plan: Plan, path: Path, nested: Nested, name: Name, value: Value, head: str) -> Code:
    placed = children(nested.entries, name, path=path, sequence=nested.is_sequence)
    items = _items(plan, placed, name, value, sequence=nested.is_sequence)
    match nested.container:
        case "list":
            return Items(f"{head}[", items)
        case "tuple":
            return Items(f"{head}(", items)
        case "ordered":
            return Items(f"{head}collections.OrderedDict(", (Items("{", items),))
        case "stateful":
            return Items(f"{head}{stateful_class(plan, name)}(", (Items("{", items),))
    return Items(f"{head}{{", items)


def _comments(plan: Plan, name: Name) -> list[str]:
    """A line for each tensor that has chunks without elements, which is easily overlooked."""
    lines = []
    for leaf in plan.leaves(name):
        entry, sharding = leaf.entry, layout_of(leaf, name)
        if isinstance(entry, TensorEntry) and isinstance(sharding, ChunkSharding) and math.prod(entry.shape) > 0:
            sizes = [box.sizes[sharding.dim] for _, box in sharding.chunks(entry.shape)]
            if 0 in sizes and len(sizes) <= 16:
                listed = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
                what = f"have {listed} rows" if sharding.dim % len(entry.shape) == 0 else f"are {listed} wide"
                lines.append(f"# The chunks of {quoted(leaf.fqn)} {what}.")
    return lines


def _module_name(name: Name) -> str:
    return "module" if name == "save" else "target"


def _module(plan: Plan, name: Name, value: Value) -> list[str]:
    module = _module_name(name)
    lines = [(_MODULE if holds(plan, "ShardedTensor", name) else _PLAIN_MODULE).format(name=module)]
    for leaf in plan.leaves(name):
        entry = leaf.entry
        assert isinstance(entry, TensorEntry)
        if layout_of(leaf, name).kind == "ShardedTensor":
            lines.append(render(value(leaf, f"{module}.{leaf.fqn} = ")))
        elif DTYPES[entry.dtype].is_floating_point or DTYPES[entry.dtype].is_complex:
            parameter = Items("torch.nn.Parameter(", (value(leaf, ""),))
            lines.append(render(Items(f"{module}.register_parameter(", (quoted(leaf.fqn), parameter))))
        else:
            lines.append(render(Items(f"{module}.register_buffer(", (quoted(leaf.fqn), value(leaf, "")))))
    return lines


def _object(plan: Plan, leaf: Leaf, entry: ObjectEntry, name: Name, head: str) -> Code:
    if name == "load":
        return head + placeholder(entry)
    if plan.fill is not None:
        return head + plan.fill
    # What the caller goes on to change is none of what was saved, which it is compared with.
    is_saved = plan.compares_content and not (plan.overwrites and plan.kind is WrongObject)
    return f"{head}saved[{quoted(leaf.fqn)}]" if is_saved else object_code(entry, head=head)


def placeholder(entry: ObjectEntry) -> str:
    """What an object is loaded in the place of."""
    if entry.form == "instance":
        return _PLACEHOLDER
    return "None" if entry.value is not None else '"not loaded"'


def overwrite_lines(plan: Plan) -> list[str]:
    """Statements that overwrite the tensors, and change the objects, that an asynchronous save was given."""
    if not plan.overwrites:
        return []
    variable = state_name(plan, "save")
    lines = []
    for leaf in plan.leaves("save"):
        place = place_of(plan, variable, leaf.path)
        if isinstance(leaf.entry, TensorEntry):
            overwrite = tensor_overwrite(leaf, place)
        else:
            replaceable = not _is_in_tuple(children(plan.scenario.entries, "save"), leaf.path)
            overwrite = change_lines(plan, leaf.entry, place, replaceable=replaceable)
        lines += only_where_it_is(plan, leaf, "save", overwrite) if overwrite else []
    return lines


def _is_in_tuple(placed: Iterable[tuple[Path, Entry]], path: Path) -> bool:
    """Whether a tuple is on the way to what is there."""
    for place, entry in placed:
        if isinstance(entry, Nested) and path[: len(place)] == place:
            within = children(entry.entries, "save", path=place, sequence=entry.is_sequence)
            return entry.container == "tuple" or _is_in_tuple(within, path)
    return False


def content_checks(plan: Plan, name: Name, variable: str) -> list[str]:
    """Statements that call ``check`` for each tensor, and compare each object."""
    lines = []
    for leaf in plan.leaves(name):
        place = place_of(plan, variable, leaf.path)
        if isinstance(leaf.entry, ObjectEntry) and is_left(plan, leaf):
            was = placeholder(leaf.entry)
            said = quoted(f"{leaf.fqn}: was not saved, was {was}, and is ")
            checks = [f"if repr({place}) != repr({was}):\n    sys.exit({said} + repr({place}))"]
        elif isinstance(leaf.entry, ObjectEntry):
            checks = [render(Items("check_object(", (quoted(leaf.fqn), place)))]
        else:
            checks = tensor_checks(plan, leaf, name, place)
        lines += only_where_it_is(plan, leaf, name, checks)
    return [*lines, *_class_checks(plan, name, variable)] if plan.kind is WrongObject else lines


def _class_checks(plan: Plan, name: Name, variable: str) -> list[str]:
    """Statements that look whether what was an ``OrderedDict`` in a tuple is one; a load makes tuples anew."""
    lines = []
    for path in _ordered_in_tuples(children(plan.scenario.entries, name), name, inside=False):
        said = quoted(f"{'.'.join(map(str, path))}: saved an OrderedDict, loaded a ")
        lines.append(f"kind = type({place_of(plan, variable, path)}).__name__")
        lines.append(f'if kind != "OrderedDict":\n    sys.exit({said} + kind)')
    return lines


def _ordered_in_tuples(placed: Iterable[tuple[Path, Entry]], name: Name, *, inside: bool) -> Iterator[Path]:
    for path, entry in placed:
        if isinstance(entry, Nested):
            if inside and entry.container == "ordered":
                yield path
            within = children(entry.entries, name, path=path, sequence=entry.is_sequence)
            yield from _ordered_in_tuples(within, name, inside=inside or entry.container == "tuple")
