"""Known issues of histories on files of safetensors, of which no metadata say what belongs to a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from worlds.entries import TensorEntry
from worlds.faults import Fault
from worlds.histories import History, Load, Save
from worlds.layouts import ChunkSharding
from worlds.operations import Operation
from worlds.outcome import ErrorRecord, Raised
from worlds.safetensors_files import SUFFIX
from worlds.scenario import Scenario
from worlds.state import POISON_OBJECT
from worlds.state_tree import path_text
from worlds.storages import SAFETENSORS

from .history_entry import HistoryIssue
from .history_states import saves_seen
from .judge_history import HistoryBreach, MemoryShows
from .judge_killed import EarlierChanged, NeitherOldNorNew
from .known_issues.safetensors import has_several_shards
from .oracle import names_fault, names_refusal
from .reach import refusals
from .violations import LostFailure, NotLoaded, NotRefused, UnexpectedFailure, WrongBits, WrongObject

__all__ = ["STORED_HISTORY_ISSUES"]


def _saves_there(breach: HistoryBreach) -> Iterator[int]:
    """The places of the saves to the checkpoint of that step that had ended before, in their order."""
    history = breach.history
    for index in history.order[: history.order.index(breach.step)]:
        step = history.steps[index]
        if isinstance(step, Save) and step.at == history.steps[breach.step].at:
            yield index


def _left_over(breach: HistoryBreach) -> dict[str, int]:
    """The files that are there from a save before the last one, by their names, each with the place of that save."""
    steps, at = breach.outcome.steps, breach.history.steps[breach.step].at
    saves = list(_saves_there(breach))
    if isinstance(breach.history.steps[breach.step], Save):
        saves.append(breach.step)
    written = {name: index for index in saves for name in steps[index].changed}
    there = (name for name, _ in steps[breach.step].contents if name.endswith(SUFFIX))
    left = {name: written.get(f"{at}/{name}", saves[-1]) for name in there} if saves else {}
    return {name: save for name, save in left.items() if save != saves[-1]}


def _is_unreadable(breach: HistoryBreach, save: int) -> bool:
    """Whether it has saved what is no tensor, of which nothing can read the file, or has failed, and be that lost."""
    outcome = breach.outcome.steps[save].operation
    objects = any(unit.tensor is None for unit in breach.history.scenario(save).units("save"))
    return objects or not outcome.returned or bool(outcome.hits)


def _is_all_of_some_save(breach: HistoryBreach, *, or_left: bool = False) -> bool:
    """Whether each element of what is wrong, or of all if that is not said, was saved there by some save.

    With ``or_left``, or is as it was before the load.
    """
    history, saves = breach.history, list(_saves_there(breach))
    # What is staged over is saved there, too.
    saves += [save + 1 for save in saves if history.is_staged_over(save) and save + 1 not in saves]
    candidates = {save: history.read_of(breach.step, save) for save in saves}
    load, zero = breach.outcome.steps[breach.step].operation, _zero_in_one_file(breach)
    found = saves_seen(candidates, load, or_left=or_left, zero=zero)
    wrong = None if breach.verdict is None else breach.verdict.breach
    name = path_text(wrong.path) if wrong is not None and wrong.path else None
    return all(frozenset() not in counted for (there, _), counted in found.items() if name in (None, there))


def _zero_in_one_file(breach: HistoryBreach) -> set[str]:
    """The tensors in which the file that is made of all parts has zeros, as is known of one save by itself.

    Those without dims, and those of which a rank has several shards.
    """
    saves = _saves_there(breach) if breach.history.storage == "consolidated" else ()
    leaves = (leaf for save in saves for leaf in breach.history.scenario(save).leaves("save"))
    tensors = ((leaf.fqn, leaf.entry) for leaf in leaves if isinstance(leaf.entry, TensorEntry))
    return {name for name, entry in tensors if not entry.shape or has_several_shards(entry)}


def _shows_what_was_left(breach: HistoryBreach) -> bool:
    """Whether such files are read: at a load, or as one file is made of all, which may also fail on them."""
    left = _left_over(breach) if breach.history.storage in SAFETENSORS else {}
    if not left:
        return False
    if isinstance(breach.history.steps[breach.step], Save):
        # A part that a failed save has left has no end, or no header.
        unreadable = _fails(breach, "write", r"unpack requires a buffer|MemoryError")
        made_one = breach.outcome.steps[breach.step].operation.returned or unreadable
        return breach.kind is MemoryShows and breach.history.storage == "consolidated" and made_one
    saves = set(left.values())
    if breach.kind is WrongBits:
        return _is_all_of_some_save(breach)
    if breach.kind is NotRefused and breach.verdict is not None:
        lacking = _lacking_in_silence(breach, breach.verdict.scenario)
        return bool(lacking) and lacking <= {name for save in saves for name in _names(breach.history, "save", save)}
    fails = breach.kind is UnexpectedFailure or breach.kind.law == "blame"
    return fails and _fails_on_what_was_left(breach, saves)


def _lacking_in_silence(breach: HistoryBreach, scenario: Scenario) -> set[str]:
    """The names that are not in what is to be seen, of the ranks that ask for some and are not blamed for it."""
    blamed = [each for errors in _blamed(breach).values() for each in errors.items()]
    refused = {rank for rank, error in blamed if names_refusal(scenario, "load", rank, error)}
    return {name for rank, names in refusals(scenario, "load").items() if rank not in refused for name in names}


def _names(history: History, name: Literal["save", "load"], step: int) -> set[str]:
    """The names of what is saved, or asked for, at that step."""
    return {leaf.fqn for leaf in history.scenario(step).leaves(name)}


def _fails_on_what_was_left(breach: HistoryBreach, saves: set[int]) -> bool:
    """Whether a load fails on a file that those saves have left: unreadable, of a part of what is there, or not there.

    A part that is left of a tensor ends before the tensor does, or begins where the whole of it does, in another file.
    A load that is of what is there alone then has something to read, at which a rank of it fails that was to fail.
    """
    header = "Error while deserializing header"
    sizes = {file.name: file.size for file in breach.outcome.steps[breach.step].files or ()}
    # A thread that fails in silence, as at what a cached plan asks it for, leaves one without a byte.
    empty = any(sizes.get(name) == 0 for name in _left_over(breach))
    if (empty or any(_is_unreadable(breach, save) for save in saves)) and _fails(breach, "plan", header):
        return True
    there = {name for save in saves for name in _names(breach.history, "save", save)}
    names, written = ("|".join(re.escape(form(name)) for name in there) for form in (str, repr))
    if _fails(breach, "plan", rf"^ValueError: Size mismatch between saved .* for ({names})$"):
        return True
    if _fails(breach, "read", rf"^AssertionError: req MetadataIndex\(fqn=({written}), .* mismatch sizes "):
        return True
    step = breach.history.steps[breach.step]
    return isinstance(step, Load) and step.partial and breach.kind is UnexpectedFailure and _fails_as_made(breach)


def _blamed(breach: HistoryBreach) -> dict[str, dict[int, ErrorRecord]]:
    """Whom ranks blame in which phase, if each rank of the step blames some."""
    found: dict[str, dict[int, ErrorRecord]] = {}
    for rank in breach.outcome.steps[breach.step].operation.ranks:
        if not isinstance(rank, Raised) or rank.phase is None or not rank.failures:
            return {}
        found.setdefault(rank.phase, {}).update(rank.failures)
    return found


def _not_made(breach: HistoryBreach, named: Mapping[int, ErrorRecord]) -> list[ErrorRecord]:
    """Those of the errors that no rank was made to raise."""
    scenario = breach.history.scenario(breach.step)
    hits = breach.outcome.steps[breach.step].operation.hits
    faults = [(index, scenario.all_faults[index]) for index in {hit.index for hit in hits}]
    return [
        error
        for rank, error in named.items()
        if not any(fault.rank == rank and names_fault(scenario, index, error) for index, fault in faults)
    ]


def _fails(breach: HistoryBreach, phase: str, says: str) -> bool:
    """Whether every rank says that some failed in that phase, each of them so but for those that were made to."""
    named = _blamed(breach)
    errors = _not_made(breach, named[phase]) if set(named) == {phase} else []
    return bool(errors) and all(re.search(says, f"{error.type}: {error.message}", re.DOTALL) for error in errors)


def _fails_as_made(breach: HistoryBreach) -> bool:
    """Whether every rank blames ranks that were made to fail, and those alone."""
    named = _blamed(breach)
    return bool(named) and not any(_not_made(breach, errors) for errors in named.values())


def _takes_for_a_checkpoint(breach: HistoryBreach) -> bool:
    """Whether what a failed save has left is loaded in part: some of what was to be saved, or nothing at all."""
    saves = list(_saves_there(breach))
    if breach.history.storage not in SAFETENSORS or isinstance(breach.history.steps[breach.step], Save):
        return False
    if not saves or breach.outcome.steps[saves[-1]].operation.returned:
        return False
    seen = breach.outcome.steps[breach.step]
    # Of several saves that have failed it may be any that is seen in part.
    others = breach.others if breach.verdict is not None else ()
    kinds = {breach.kind, *(verdict.breach.kind for verdict in others if verdict.breach is not None)}
    if NotLoaded in kinds or (breach.kind is LostFailure and not seen.operation.hits) or _lacks_object(breach):
        return True
    if breach.kind is WrongBits and _left_over(breach) and _is_all_of_some_save(breach, or_left=True):
        return True
    nothing = not any(name.endswith(SUFFIX) and "/" not in name for name, _ in seen.contents)
    return nothing and breach.kind in (NeitherOldNorNew, WrongObject)


def _lacks_object(breach: HistoryBreach) -> bool:
    """Whether an object is as it was before a load of what is there alone."""
    step, wrong = breach.history.steps[breach.step], None if breach.verdict is None else breach.verdict.breach
    partial = isinstance(step, Load) and step.partial and breach.kind is WrongObject
    return partial and wrong is not None and any(POISON_OBJECT in line for line in wrong.detail)


def _takes_its_whole_for_a_part(breach: HistoryBreach) -> bool:
    """Whether the coordinator fails to make one file, since one that was made before lies beside the parts."""
    step = breach.history.steps[breach.step]
    if breach.history.storage != "consolidated" or isinstance(step, Load) or not list(_saves_there(breach)):
        return False
    if not any(used.operation.tells_path for used in _uses_of_writer(breach.history, breach.step)):
        return False
    alone = set(_blamed(breach).get("write", {})) == {step.operation.coordinator}
    return alone and _fails(breach, "write", "^ValueError: No DCP custom metadata found")


def _is_put_elsewhere(breach: HistoryBreach) -> bool:
    """Whether the one file goes, or fails to go, to where the writer that is used again has saved first."""
    history, step = breach.history, breach.history.steps[breach.step]
    if history.storage != "consolidated" or not isinstance(step, Save):
        return False
    *_, save = _uses_of_writer(history, breach.step)
    first = save.at
    if first == step.at:
        return False
    seen = breach.outcome.steps[breach.step]
    if breach.kind is EarlierChanged:
        return all(name.startswith((f"{step.at}/", f"{first}/model")) for name in seen.changed)
    return breach.kind is MemoryShows and not any(name.startswith("model-") for name, _ in seen.contents)


def _uses_of_writer(history: History, number: int) -> Iterator[Save]:
    """That save, and those before it with its writer; one that is not told another path is used again for its own."""
    last: Save | None = None
    for index in range(number, -1, -1):
        step = history.steps[index]
        if isinstance(step, Save):
            if last is not None and not last.operation.tells_path and step.at != last.at:
                return
            yield step
            last = step
            if "writer" not in step.again:
                return
        if history.begins_job(index):
            return


def _is_not_put_below(breach: HistoryBreach) -> bool:
    """Whether all is as it is alone, but for the directory below the path, of a save by a writer that is used again.

    A save by several threads is not compared with itself alone: a load then takes a part for the whole.
    """
    step, seen = breach.history.steps[breach.step], breach.outcome.steps[breach.step]
    if breach.history.storage not in _MAKE_ONE:
        return False
    if isinstance(step, Load):
        saves = list(_saves_there(breach))
        beside = bool(saves) and _was_told_before(breach.history, saves[-1])
        return beside and breach.kind is UnexpectedFailure and _fails(breach, "read", _OF_A_PART)
    if breach.kind is not MemoryShows or seen.alone is None:
        return False
    alone, here = dict(seen.alone.contents), dict(seen.contents)
    below = any(name.startswith(_BELOW) for name in alone)
    moved = all(here.get(name.removeprefix(_BELOW)) == digest for name, digest in alone.items())
    return below and moved and "writer" in step.again


def _was_told_before(history: History, number: int) -> bool:
    """Whether the save of that number is not told where to, and its writer has been, by one before."""
    (save, *before) = _uses_of_writer(history, number)
    return not save.operation.tells_path and any(one.operation.tells_path for one in before)


_OF_A_PART = r"^AssertionError: req MetadataIndex\(.* mismatch sizes "
_MAKE_ONE = ("consolidated", "whole_consolidated")
_BELOW = "sharded/"
_HALVES = ChunkSharding(0, (0, 1))
STORED_HISTORY_ISSUES = (
    HistoryIssue(
        id="safetensors-left-over",
        title="HuggingFaceStorageReader reads files that a save over an earlier checkpoint has not written",
        loses="after a save by fewer ranks, or of fewer tensors, to the same path, weights of another step are loaded",
        history=History((TensorEntry("a"),), (Save(), Save(without=("a",)), Load()), storage="safetensors"),
        matches=_shows_what_was_left,
    ),
    HistoryIssue(
        id="safetensors-unfinished",
        title="HuggingFaceStorageReader takes what a failed save has left for a checkpoint, whatever is missing",
        loses="a load of it reports success with a part of the weights, or with allow_partial_load with none",
        history=History(
            (TensorEntry("a", (2,), saved=_HALVES),),
            (Save(operation=Operation(2), faults=(Fault("save", 0, "writer.write_data"),)), Load()),
            storage="safetensors",
        ),
        matches=_takes_for_a_checkpoint,
    ),
    HistoryIssue(
        id="consolidated-over-itself",
        title="with enable_consolidation and checkpoint_id, a save over an earlier one takes its whole for a part",
        loses="the second save to one path fails, when all is written, and so does every later one",
        history=History((TensorEntry("a", (1,)),), (Save(), Save()), storage="consolidated"),
        matches=_takes_its_whole_for_a_part,
    ),
    HistoryIssue(
        id="consolidated-into-the-first",
        title="with enable_consolidation, a writer that is used again puts the one file where it has saved first",
        loses="the second checkpoint lacks its file, and that of the first silently holds the second's weights",
        history=History((TensorEntry("a", (1,)),), (Save(), Save("b", again=("writer",))), storage="consolidated"),
        matches=_is_put_elsewhere,
    ),
    HistoryIssue(
        id="consolidated-below-until-told",
        title="with enable_consolidation, a writer that was given a checkpoint_id once no longer writes to a directory "
        "below its path",
        loses="where a checkpoint lies depends on the calls that its writer was used in before",
        history=History(
            (TensorEntry("a"),),
            (Save(), Save(operation=Operation(named_by="storage"), again=("writer",))),
            storage="whole_consolidated",
        ),
        matches=_is_not_put_below,
    ),
)
"""The entries of this module."""
