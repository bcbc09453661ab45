"""Scripts of saves that are overtaken: an upload that begins when the next save was staged, with the same stager."""

from __future__ import annotations

import torch

from properties.history_issues import find_history_issue
from properties.judge_history import HistoryBreach
from worlds.entries import TensorEntry
from worlds.histories import Save
from worlds.layouts import Plain

from .imports import import_block
from .known import CannotWrite
from .places import key_literal
from .steps import can_count
from .text import Items, docstring, joined, render
from .values import dtype_arguments, shape_literal

__all__ = ["write_overtaken_script"]

_LATE = '''\
class LateWriter(dcp.FileSystemWriter):
    """A storage that is slower than the training: it begins when the next save was staged."""

    def reset(self, checkpoint_id=None):
        staged.wait(timeout=60)
        super().reset(checkpoint_id)'''

_SAVES = """\
path = tempfile.mkdtemp()
staged = threading.Event()
options = StagingOptions(
    use_pinned_memory=False,
    use_shared_memory={shared},
    use_async_staging=False,
    use_non_blocking_copy=False,
)
stager = DefaultStager(options)
{state}
first = dcp.async_save(
    state_dict,
    checkpoint_id=f"{{path}}/1",
    storage_writer=LateWriter(f"{{path}}/1"),
    async_stager=stager,
)
for tensor in state_dict.values():
    tensor.fill_(1)  # the next step of the training
second = dcp.async_save(
    state_dict,
    checkpoint_id=f"{{path}}/2",
    storage_writer=LateWriter(f"{{path}}/2"),
    async_stager=stager,
)
staged.set()
first.result()
second.result()
stager.close()

{loaded}
dcp.load(loaded, checkpoint_id=f"{{path}}/1")
print(f"both saves returned, and the first one holds {{loaded}}")
if any(tensor.any() for tensor in loaded.values()):
    sys.exit("the first save has written what the tensors were at the second one: they were 0")"""


def write_overtaken_script(breach: HistoryBreach) -> str:
    """A Python file that needs torch alone, of a save whose memory is staged over before it is written.

    Raises :class:`CannotWrite`, with one line, for all but two saves of plain tensors by one rank.
    """
    steps, entries = breach.history.steps, breach.history.entries
    two = [step for step in steps if isinstance(step, Save) and step.operation.stager in ("default", "shared")]
    plain = all(
        isinstance(entry, TensorEntry) and entry.saved == Plain() and can_count(entry.dtype) for entry in entries
    )
    alone = all(step.operation.world_size == 1 and not step.all_faults and not step.without for step in steps)
    again = [set(step.again) for step in steps]
    if len(steps) != 2 or len(two) != 2 or not plain or not alone or again != [set(), {"stager", "tensors"}]:
        raise CannotWrite("there is no script yet for a save that is overtaken, but by one of the same plain tensors")
    body = joined(
        [
            _LATE,
            _SAVES.format(
                shared=two[0].operation.stager == "shared",
                state=_tensors("state_dict", "zeros", breach),
                loaded=_tensors("loaded", "ones", breach),
            ),
        ]
    )
    return joined([_header(breach), import_block(body), body]) + "\n"


def _tensors(name: str, function: str, breach: HistoryBreach) -> str:
    tensors = tuple(
        Items(f"{key_literal(entry.key)}: torch.{function}(", (shape_literal(entry), *dtype_arguments(entry)))
        for entry in breach.history.entries
        if isinstance(entry, TensorEntry)
    )
    return render(Items(f"{name} = {{", tensors))


def _header(breach: HistoryBreach) -> str:
    issue = find_history_issue(breach)
    title = "a save that is overtaken does not come to what it does alone" if issue is None else issue.title
    return docstring(
        [
            f"torch.distributed.checkpoint: {title}.",
            "Expected: each checkpoint holds what the tensors were when its async_save() was called.",
            f"Seen with torch {torch.__version__}:\n    {breach.headline}",
            "    python reproduce.py",
            "The exit status is 1 while the bug is there, and 0 when it is gone.",
        ]
    )
