"""Scripts of quantized tensors: the files, what each element in them stands for, and the load that dequantizes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from properties.judge_quantized import QuantizedBreach
from properties.quantized_issues import find_quantized_issue
from worlds.quantized import Quantized
from worlds.quantized_files import EXPONENTS, FIRST, STEP

from .plan import Plan
from .text import Code, Items, indented, quoted, render
from .values import tensor_code
from .write import write_plan

__all__ = ["write_quantized_script"]

_OF_BLOCKS = '''\
def dequantized(weight, scales):
    """Each element times the scale of its block."""
    for dim, extent in enumerate(weight.shape):
        scales = scales.index_select(dim, torch.arange(extent) // {block})
    return weight.float() * scales'''
_OF_GROUPS = '''\
def dequantized(blocks, scales):
    """Of each byte the lower half and then the upper one, times two to the exponent of its group."""
    numbers = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    numbers = torch.tensor([*numbers, *(-number for number in numbers)])
    halves = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2)
    return (numbers[halves.long()] * 2.0 ** (scales.float() - 127).unsqueeze(-1)).flatten(-2)'''
_WRITE = """\
for file in sorted(set(files.values())):
    save_file({name: stored[name] for name in stored if files[name] == file}, f"{path}/{file}")
index = pathlib.Path(path, "model.safetensors.index.json")
index.write_text(json.dumps({"weight_map": files}))"""


@dataclass(frozen=True, kw_only=True)
class _QuantizedPlan(Plan):
    quantized: Quantized

    @property
    def written(self) -> list[str]:
        """The files, by the one process that writes them."""
        lines = [*_files(self.quantized), *_WRITE.splitlines()]
        if not self.compares_content:
            lines = [*_stored(self), *lines]
        return lines if self.ranks == 1 else ["if rank == 0:", *indented(lines), "dist.barrier()"]

    @property
    def contents(self) -> list[str]:
        """What is in the files, and what is to be loaded of it."""
        return [*_stored(self), "saved = dict(stored)", *_saved(self.quantized)]

    @property
    def helpers(self) -> list[str]:
        """What makes the one of the other."""
        if not self.compares_content:
            return []
        return [_OF_GROUPS if self.quantized.is_mxfp4 else _OF_BLOCKS.format(block=self.quantized.block)]

    @property
    def reads_with(self) -> Code:
        """The reader that dequantizes."""
        quantized = self.quantized
        options = [] if quantized.is_mxfp4 else [f"block_size={quantized.block}"]
        if quantized.target_dtype != "float32":
            options.append(f"target_dtype=torch.{quantized.target_dtype}")
        if quantized.thread_count != 1:
            options.append(f"thread_count={quantized.thread_count}")
        return Items("QuantizedHuggingFaceStorageReader(", (self.path, *options))


def write_quantized_script(breach: QuantizedBreach) -> str:
    """A Python file that needs torch and the package safetensors, and shows what is wrong with what was loaded.

    Raises :class:`CannotWrite`, with one line, for a violation that has no script yet.
    """
    return write_plan(_QuantizedPlan(breach.verdict, find_quantized_issue(breach), quantized=breach.quantized))


def _stored(plan: _QuantizedPlan) -> list[str]:
    quantized, beside = plan.quantized, plan.quantized.beside
    name = str(beside.key)
    head = f"{quoted(name)}: "
    other = tensor_code(name, beside, head=head) if plan.compares_content else f"{head}torch.zeros({beside.shape})"
    items = (
        f"{quoted(quantized.name)}: {_tensor(quantized)}",
        f"{quoted(quantized.scales)}: {_scales(quantized)}",
        other,
    )
    return [_bytes(quantized), *render(Items("stored = {", items)).splitlines()]


def _bytes(quantized: Quantized) -> str:
    return f"words = ((torch.arange({math.prod(_shape(quantized))}) * {STEP} + {FIRST}) % 256).to(torch.uint8)"


def _tensor(quantized: Quantized) -> str:
    words = "words"
    if quantized.stored.startswith("float8"):
        words = f"(words & 0xBF).view(torch.{quantized.stored})"
    elif not quantized.is_mxfp4:
        words = f"words.view(torch.int8).to(torch.{quantized.stored})"
    return f"{words}.reshape({_shape(quantized)})"


def _shape(quantized: Quantized) -> tuple[int, ...]:
    """That of the tensor in its file."""
    return (*quantized.shape, quantized.block) if quantized.is_mxfp4 else quantized.shape


def _scales(quantized: Quantized) -> str:
    count = math.prod(quantized.blocks)
    if not quantized.is_mxfp4:
        return f"torch.arange(2.0, {count + 2}.0).reshape({quantized.blocks})"
    least, step, some = EXPONENTS
    return f"({least} + {step} * torch.arange({count}) % {some}).to(torch.uint8).reshape({quantized.blocks})"


def _saved(quantized: Quantized) -> Iterator[str]:
    name, scales = quoted(quantized.name), quoted(quantized.scales)
    dtypes = dict.fromkeys((quantized.target_dtype, quantized.dtype))
    to = "".join(f".to(torch.{dtype})" for dtype in dtypes if [*dtypes] != ["float32"])
    yield f"exact = dequantized(stored[{name}], stored[{scales}])"
    yield f"saved[{name}] = exact{to}"


def _files(quantized: Quantized) -> Iterator[str]:
    yield 'files = dict.fromkeys(stored, "model-00001.safetensors")'
    if quantized.apart:
        yield f'files[{quoted(quantized.scales)}] = "model-00002.safetensors"'
