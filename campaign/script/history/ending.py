"""What is asked of the last step of a history, where it is no matter of what the call does on each rank."""

from __future__ import annotations

from collections.abc import Iterator

from properties.history_model import Sight
from properties.judge_history import AtAnotherPlace, HistoryBreach, MemoryShows, UnderAnotherName
from properties.judge_killed import EarlierChanged, MixedCheckpoint, NeitherOldNorNew
from properties.judge_side_by_side import differing_ranks
from properties.violations import NotLoaded, NotRefused, WrongBits, WrongObject
from worlds.entries import ObjectEntry, TensorEntry
from worlds.histories import Load, Save
from worlds.layouts import Plain
from worlds.state_tree import Leaf
from worlds.storages import SAFETENSORS, limits_of

from ..calls import call_code
from ..known import CannotWrite
from ..memory import layout_of
from ..places import key_literal
from ..processes import on_its_ranks
from ..state import placeholder, state_block
from ..steps import target_of
from ..storage import storage_class
from ..text import Items, indented, render
from .body import Body, may_fail
from .step import StepPlan, plan_alone

__all__ = ["ending_blocks", "ending_lines"]

_NUMBERS = '''\
def numbers(tensor):
    """What is to be seen in the part of a tensor that this rank has."""
    parts = [shard.tensor for shard in tensor.local_shards()]
    return [number for part in parts for number in part.flatten().tolist()]'''
_FILES = '''\
def files(path):
    """What is in the files of a checkpoint{but}."""
    found = {{}}
    for file in pathlib.Path(path).glob("**/*"):
        if file.is_file(){condition}:
            found[str(file.relative_to(path))] = {content}
    return found'''

_OTHERS = """\
alone, here = files(f"{{path}}/alone"), files({place})
names = {{**alone, **here}}  # what was there before may stay
wrong = sorted(name for name in names if here.get(name) != alone.get(name, before.get(name)))
if wrong:
    sys.exit(f"the last save has written other files than in new processes: {{wrong}}")"""
_METADATA = """\
alone = {reader}(f"{{path}}/alone").read_metadata()
here = {reader}({place}).read_metadata()
for part in {parts}:
    if getattr(alone, part) != getattr(here, part):
        sys.exit(f"the {{part}} is not as of a save in new processes: {{getattr(here, part)}}")"""
_CHANGED = """\
after = files(path)
names = [name for name in {{**before, **after}}{where}]
changed = sorted(name for name in names if before.get(name) != after.get(name))
if changed:
    sys.exit(f"what was there has changed: {{changed}}")"""
_OF_LOADS = (
    AtAnotherPlace,
    MixedCheckpoint,
    NeitherOldNorNew,
    NotLoaded,
    NotRefused,
    UnderAnotherName,
    WrongBits,
    WrongObject,
)


def ending_blocks(breach: HistoryBreach, end: StepPlan) -> list[str]:
    """The functions that the end calls."""
    if breach.kind in (EarlierChanged, MemoryShows):
        every = breach.kind is EarlierChanged
        sort = breach.history.storage in SAFETENSORS and not every  # whose headers are in any order
        return [
            _FILES.format(
                but="" if every else ", but for its metadata" + "; the bytes in order" * sort,
                condition="" if every else ' and ".metadata" not in file.name',
                content="sorted(file.read_bytes())" if sort else "file.read_bytes()",
            )
        ]
    kinds = {layout_of(leaf, "load").kind for leaf in end.leaves("load")} if end.name == "load" else set()
    return [_NUMBERS] if "ShardedTensor" in kinds else []


def ending_lines(breach: HistoryBreach, body: Body, plans: list[StepPlan], sight: Sight) -> list[str]:
    """The last step of those, with what is compared; behind it is the one by which it is overtaken, if it is."""
    step, end, following = breach.history.steps[breach.step], plans[breach.step], plans[breach.step + 1 :]
    if breach.kind is EarlierChanged:
        done = _done(body, end, following, _of_rank_0(end, ["before = files(path)"]))
        return [*done, *_of_rank_0(end, [_changed(breach)], last=True)]
    if isinstance(step, Save) and breach.kind is MemoryShows:
        return _memory(breach, body, end, following)
    if isinstance(step, Save) and breach.kind is NotRefused and breach.verdict is None and not end.is_overtaken:
        return [*body.before(end), *on_its_ranks(end, "save", _must_be_refused(end))]
    if isinstance(step, Load) and breach.kind in _OF_LOADS:
        return [*body.before(end), *on_its_ranks(end, "load", _load(breach, step, plans, sight))]
    raise CannotWrite(f"there is no script yet for a {step.name} after others that ends in {breach.kind.__name__}")


def _of_rank_0(end: StepPlan, lines: list[str], *, last: bool = False) -> list[str]:
    """What one rank looks at on the disk, when the others have come so far as well; which go on after that."""
    if end.ranks == 1:
        return lines
    return ["dist.barrier()", "if rank == 0:", *indented(lines), *([] if last else ["dist.barrier()"])]


def _done(body: Body, end: StepPlan, following: list[StepPlan], before: list[str]) -> list[str]:
    """The last step, with what is looked at right ``before`` it writes anything."""
    if not end.is_overtaken:
        return [*before, *body.step(end)]
    overtaking = (line for plan in following for line in body.step(plan))
    return [*body.step(end), *overtaking, *before, *body.ended(end)]


def _changed(breach: HistoryBreach) -> str:
    step, seen = breach.history.steps[breach.step], breach.outcome.steps[breach.step]
    elsewhere = isinstance(step, Save) and any(not name.startswith(f"{step.at}/") for name in seen.changed)
    return _CHANGED.format(where=f' if not name.startswith("{step.at}/")' if elsewhere else "")


def _must_be_refused(end: StepPlan) -> list[str]:
    return [
        *state_block(end, "save"),
        "try:",
        *indented([call_code(end, "save")]),
        "except dcp.CheckpointException as error:",
        '    print(f"as it must, the save fails, naming ranks {sorted(error.failures)}", flush=True)',
        "else:",
        '    sys.exit("the save has overwritten what is there, in spite of overwrite=False")',
    ]


def _memory(breach: HistoryBreach, body: Body, end: StepPlan, following: list[StepPlan]) -> list[str]:
    """The save, the same at a path where nothing is, and what differs."""
    seen = breach.outcome.steps[breach.step]
    if seen.alone is None or any(differing_ranks(seen.alone.outcome.save, seen.operation)):
        raise CannotWrite("there is no script yet for a save that ends in another way than alone, and as it must")
    history = breach.history
    compared = _told(end) if end.is_overtaken and seen.operation.returned else []
    by_place = history.writer.thread_count == 1
    if by_place:
        compared.append(_OTHERS.format(place=end.path))
    if limits_of(history.storage).metadata and seen.operation.returned:
        parts = ("state_dict_metadata", "planner_data", *(["storage_data"] if by_place else []))
        reader = storage_class(history.storage, "reader").name
        compared.append(_METADATA.format(reader=reader, place=end.path, parts=str(parts).replace("'", '"')))
    if not compared:
        raise CannotWrite("there is no script yet for a save that writes by several threads what cannot be compared")
    before = _of_rank_0(end, [f"before = files({end.path})"]) if by_place else []
    saved = _done(body, end, following, before)
    alone = plan_alone(end)
    call = [*state_block(alone, "save"), *may_fail(alone, [call_code(alone, "save")])]
    again = on_its_ranks(alone, "save", call)
    return [*saved, "# The same, as in new processes", *again, *_of_rank_0(end, compared, last=True)]


def _told(end: StepPlan) -> list[str]:
    """What the save has written, as a load by one rank shows it."""
    leaves, reader = end.leaves("save"), storage_class(end.scenario.storage, "reader").name
    alone = ("no_dist=True",) if end.has_group else ()
    return [
        render(Items("loaded = {", tuple(map(target_of, leaves)))),
        render(Items("dcp.load(", ("loaded", f"storage_reader={reader}({end.path})", *alone))),
        f'print(f"the save of step {end.number} holds {{loaded}}")',
    ]


def _load(breach: HistoryBreach, step: Load, plans: list[StepPlan], sight: Sight) -> list[str]:
    """The load, and the steps whose numbers are to be seen then."""
    end = plans[breach.step]
    call = call_code(end, "load")
    lines = [*state_block(end, "load")]
    if breach.kind is AtAnotherPlace:
        compared = _places(plans, end, [number for number, _ in _whole(breach, sight)])
    else:
        compared = _partly(breach, end, sight) if step.partial else _steps(breach, end, sight)
    if not sight.may_fail:
        return [*lines, call, *compared]
    return [
        *lines,
        "try:",
        *indented([call]),
        "except dcp.CheckpointException as error:",
        '    print(f"as it may, load() fails, naming ranks {sorted(error.failures)}", flush=True)',
        "else:",
        *indented(compared),
    ]


def _whole(breach: HistoryBreach, sight: Sight) -> Iterator[tuple[int, dict[str, str]]]:
    """What may be seen: the numbers of saves, and by the source of its key what each entry is then, as source too."""
    step = breach.history.steps[breach.step]
    assert isinstance(step, Load)
    for save in sorted(sight.saves):
        saved = {leaf.entry.key for leaf in breach.history.scenario(save).leaves("save")}
        loaded = breach.history.scenario(breach.step).leaves("load")
        if step.partial or all(leaf.entry.key in saved for leaf in loaded):
            number = str(save + 1)
            yield (
                save + 1,
                {
                    key_literal(leaf.entry.key): number if leaf.entry.key in saved else _as_it_was(leaf)
                    for leaf in loaded
                },
            )


def _as_it_was(leaf: Leaf) -> str:
    return placeholder(leaf.entry) if isinstance(leaf.entry, ObjectEntry) else "0"


def _steps(breach: HistoryBreach, end: StepPlan, sight: Sight) -> list[str]:
    whole = [number for number, _ in _whole(breach, sight)]
    lines = _all_found(end)
    lines.append('print(f"load() returned, with what was saved at the steps {steps}")')
    message = f"sys.exit({_message(breach, whole)})"
    if not whole:
        return [*lines, message]
    numbers = f"{{{', '.join(map(str, whole))}}}"
    condition = f"not steps <= {numbers}" if len(whole) == 1 else f"len(steps) > 1 or not steps <= {numbers}"
    return [*lines, f"if {condition}:\n    {message}"]


def _all_found(end: StepPlan) -> list[str]:
    leaves = end.leaves("load")
    found = render(Items("steps = {", tuple(_found(leaf) for leaf in leaves))) if leaves else "steps = set()"
    return [found, *_together(end, "steps", "set().union(*everyone)")]


def _places(plans: list[StepPlan], end: StepPlan, whole: list[int]) -> list[str]:
    """As above, by what each rank has saved at those steps, all of which is to be seen."""
    numbers = [plan.numbers for plan in plans if plan.number in whole]
    rows = tuple(f"{{{', '.join(f'{number:g}' for number in row)}}}" for row in numbers)
    return [
        *_all_found(end),
        'print(f"load() returned, with what was saved, by step and rank, as {steps}")',
        f"if steps not in [{', '.join(rows)}]:",
        '    sys.exit("what was loaded is in part at another place than it was saved")',
    ]


def _partly(breach: HistoryBreach, end: StepPlan, sight: Sight) -> list[str]:
    """As above, by the names of the entries, of which some stay as they are."""
    items = tuple(f"{key_literal(leaf.path[0])}: {{{_found(leaf)}}}" for leaf in end.leaves("load"))
    whole = list(_whole(breach, sight))
    lines = [render(Items("found = {", items))]
    lines.append('print(f"load() returned, with what was saved at the steps {found}")')
    message = f"sys.exit({_message(breach, [number for number, _ in whole])})"
    if not whole:
        return [*lines, message]
    rows = tuple(Items("{", tuple(f"{key}: {number}" for key, number in saved.items())) for _, saved in whole)
    lines.append(render(Items("whole = [", rows)))
    condition = "any(all(found[name] <= {saved[name]} for name in saved) for saved in whole)"
    return [*lines, f"if not {condition}:\n    {message}"]


def _together(end: StepPlan, variable: str, joined: str) -> list[str]:
    """What all ranks of the load have found."""
    if len(end.members("load")) == 1:
        return []
    group = ", group=group" if end.has_subgroup("load") else ""
    return [
        f"everyone = [None] * {len(end.members('load'))}",
        f"dist.all_gather_object(everyone, {variable}{group})",
        f"{variable} = {joined}",
    ]


def _found(leaf: Leaf) -> str:
    """The numbers that are to be seen in an entry, as items of a set."""
    value, layout = f"loaded[{key_literal(leaf.path[0])}]", layout_of(leaf, "load")
    if not isinstance(leaf.entry, TensorEntry):
        return value
    if layout.kind == "ShardedTensor":
        return f"*numbers({value})"
    local = "" if isinstance(layout, Plain) else ".to_local()"
    return f"*{value}{local}.flatten().tolist()"


def _message(breach: HistoryBreach, whole: list[int]) -> str:
    if breach.kind is MixedCheckpoint:
        return '"what was loaded is in part of one save, in part of another"'
    if breach.kind is UnderAnotherName:
        return '"what was loaded was saved under another name, at a step that has not saved it"'
    if not whole:
        return '"load() returned, and no save has left what it asks for"'
    return f'"what was loaded is not what was saved at step {" or ".join(map(str, whole))}"'
