"""The module of a training as source: the classes that its layers need, and the expression that makes it."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.training import Again, Block, Counter, Embedding, Mlp, Norm, Renamed, Scale, Side, Training
from worlds.training.layers import Layer, leaf_layers

from ..known import CannotWrite
from ..text import Code, Items, headed, render

__all__ = ["batch", "layer_places", "model_helpers", "model_lines"]

_SCALE = '''\
class Scale(nn.Module):
    """Multiplies by one number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.weight'''
_TOKENS = '''\
class Tokens(nn.Module):
    """An embedding, and {head}."""

    def __init__(self, rows, width):
        super().__init__()
        self.tokens = nn.Embedding(rows, width)
        self.head = nn.Linear(width, rows, bias=False)
{tie}
    def forward(self, x):
        x = x + self.tokens(torch.arange(len(x)) % self.tokens.num_embeddings)
        return x + self.head(x).mean(-1, keepdim=True)'''
_TIE = "        self.head.weight = self.tokens.weight\n"
_COUNTER = '''\
class Counter(nn.Module):
    """Has no parameters, and keeps a mean of what it sees."""

    def __init__(self, width):
        super().__init__()
{count}        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scratch", torch.zeros(width), persistent=False)

    def forward(self, x):
        if self.training:
{counts}            self.mean.mul_(0.5).add_(x.detach().mean(0))
        return x{extra}'''
_EXTRA = """


    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]"""
_RENAMED = '''\
class Renamed(nn.Module):
    """A layer norm whose state dict does not say that it is in here; {modifiers}() tells of it."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.LayerNorm(width)
        self._register_state_dict_hook(self.leave_out)
        self.register_load_state_dict_pre_hook(self.put_back)

    def forward(self, x):
        return self.inner(x)

    def {modifiers}(self):
        return {{"weight": "inner", "bias": "inner"}}

    @staticmethod
    def leave_out(module, state, prefix, metadata):
        for name in ("weight", "bias"):
            state[f"{{prefix}}{{name}}"] = state.pop(f"{{prefix}}inner.{{name}}")

    @staticmethod
    def put_back(module, state, prefix, *others):
        for name in ("weight", "bias"):
            if f"{{prefix}}{{name}}" in state:
                state[f"{{prefix}}inner.{{name}}"] = state.pop(f"{{prefix}}{{name}}")'''
_SHIFTED = '''\
class Shifted(nn.Sequential):
    """Modules one after the other, and a parameter that is in none of them."""

    def __init__(self, *modules, width):
        super().__init__(*modules)
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return super().forward(x) + self.shift'''
_UNUSED = '''\
def unused(layer):
    """``layer``, without a part in the forward pass, so that its parameters have no gradients."""
    layer.forward = lambda x: x
    return layer'''


def model_helpers(training: Training) -> list[str]:
    """The definitions that the layers need, each once."""
    leaves = list(leaf_layers(training.layers))
    helpers = [_SCALE] if any(isinstance(layer, Scale) for layer in leaves) else []
    if any(isinstance(layer, Renamed) for layer in leaves):
        helpers.append(_RENAMED.format(modifiers=training.modifiers))
    tied = {layer.tied for layer in leaves if isinstance(layer, Embedding)}
    if len(tied) > 1:
        raise CannotWrite("there is no script for embeddings of which only some share their weight yet")
    if tied:
        head = "a head that shares its weight" if True in tied else "a head back to the tokens"
        helpers.append(_TOKENS.format(head=head, tie=_TIE if True in tied else ""))
    extra = {layer.extra for layer in leaves if isinstance(layer, Counter)}
    if len(extra) > 1:
        raise CannotWrite("there is no script for counters of which only some have an extra state yet")
    if extra:
        counts = ("        self.count = 0\n", "            self.count += 1\n", _EXTRA.replace("\n\n\n", "\n\n"))
        count, plus, methods = counts if True in extra else ("", "", "")
        helpers.append(_COUNTER.format(count=count, counts=plus, extra=methods))
    if any(not isinstance(layer, Counter) and layer.use == "unused" for layer in leaves):
        helpers.append(_UNUSED)
    return [*helpers, _SHIFTED] if training.own else helpers


def model_lines(training: Training, side: Side, *, first: bool) -> list[str]:
    """The statements that make ``model``; where it is the ``first``, from a seed if its layers draw their values."""
    drawn = any(isinstance(layer, Mlp | Embedding) for layer in leaf_layers(training.layers))
    seed = ["torch.manual_seed(0)"] if first and drawn else []
    _check_again(training)
    layers = list(_layers(training.layers, training.width))
    shared: list[str] = []
    for place in sorted({layer.place for layer in training.layers if isinstance(layer, Again)}):
        shared.append(render(headed(f"shared_{place} = ", layers[place])))
        layers[place] = f"shared_{place}"
    if training.own:
        layers.append(f"width={training.width}")
    head = "model = Shifted(" if training.own else "model = nn.Sequential("
    cast = [] if training.dtype == "float32" else [f"model = model.to(torch.{training.dtype})"]
    return [*seed, *shared, render(Items(head, tuple(layers))), *cast, *_stage_lines(training, side)]


def _stage_lines(training: Training, side: Side) -> list[str]:
    """The statements that leave the rank the layers of its stage, where there is more than one."""
    stages, world = side.parallelism.stages, side.parallelism.world_size
    if stages == 1:
        return []
    firsts = (training.places_of(side, stage * world // stages) for stage in range(stages))
    places = ", ".join(str([*each]) for each in firsts)
    ranks = world // stages
    stage = "dist.get_rank()" if ranks == 1 else f"dist.get_rank() // {ranks}"
    return [
        f"stage = [{places}][{stage}]",
        "for place in range(len(model)):\n    if place not in stage:\n        delattr(model, str(place))",
    ]


def _check_again(training: Training) -> None:
    for block in training.layers:
        if isinstance(block, Block) and any(isinstance(layer, Again) for layer in block.layers):
            raise CannotWrite("there is no script for a block in which a layer comes again yet")


def layer_places(layers: tuple[Layer, ...], path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Layer]]:
    """Each layer that is no block, with the indices that lead to it."""
    for index, layer in enumerate(layers):
        if isinstance(layer, Block):
            yield from layer_places(layer.layers, (*path, index))
        elif not isinstance(layer, Again):
            yield (*path, index), layer


def batch(training: Training) -> str:
    """Two samples for the model, which are the same on each rank."""
    cast = "" if training.dtype == "float32" else f".to(torch.{training.dtype})"
    return f"torch.linspace(-1, 1, {2 * training.width}).reshape(2, {training.width}){cast}"


def _layers(layers: tuple[Layer, ...], width: int) -> tuple[Code, ...]:
    return tuple(_layer(layer, width) for layer in layers)


def _layer(layer: Layer, width: int) -> Code:
    if isinstance(layer, Again):
        shared = f"shared_{layer.place}"
        return Items("nn.Sequential(", (shared,)) if layer.inside else shared
    frozen = ".requires_grad_(False)" if not isinstance(layer, Block | Counter) and layer.use == "frozen" else ""
    made: Items
    match layer:
        case Block(layers):
            made = Items("nn.Sequential(", _layers(layers, width))
        case Counter():
            made = Items("Counter(", (str(width),))
        case Norm():
            made = Items("nn.LayerNorm(", (str(width),), frozen)
        case Renamed():
            made = Items("Renamed(", (str(width),), frozen)
        case Scale():
            made = Items("Scale(", (), frozen)
        case Embedding(rows):
            made = Items("Tokens(", (str(rows), str(width)), frozen)
        case Mlp(hidden, bias):
            option = "" if bias else ", bias=False"
            ends = ((width, hidden), (hidden, width))
            made = Items("nn.Sequential(", tuple(f"nn.Linear({i}, {o}{option})" for i, o in ends), frozen)
    is_unused = not isinstance(layer, Block | Counter) and layer.use == "unused"
    return Items("unused(", (made,)) if is_unused else made
