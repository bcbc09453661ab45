"""The docstring of a script: what breaks, what is expected, what was seen, and how to run it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

import torch

from properties.ledger import LedgerEntry
from properties.reach import REFUSAL
from properties.verdict import describe_ranks
from properties.violations import (
    BadChunks,
    BadStorageIndex,
    ChangedInput,
    ChangedOutside,
    Deadlock,
    Disagreement,
    LostFailure,
    MetadataUnreadable,
    MetadataWrong,
    NotInPlace,
    NotLoaded,
    NotRefused,
    PassedFailure,
    RankDied,
    UnexpectedFailure,
    UnprotectedFailure,
    UnseenDamage,
    Violation,
    WrongBits,
    WrongException,
    WrongKeys,
    WrongObject,
    WrongPhase,
    WrongRanks,
    WrongTensor,
)
from worlds.outcome import Deadlocked, Died, Raised, RankOutcome, Returned

from .calls import function_name
from .errors import fault_message
from .faults import hook_text
from .known import CannotWrite
from .metadata import checks_metadata
from .plan import Plan
from .text import WIDTH, docstring

__all__ = ["described", "header", "said", "titled", "wrapped"]

# ``{call}`` is the function that is called, ``{when}`` says which rank fails where, if one does.
_TITLES: dict[type[Violation] | None, str] = {
    Deadlock: "{call} never returns{when}",
    RankDied: "a rank dies in {call}{when}",
    UnexpectedFailure: "{call} fails, although it should not{when}",
    LostFailure: "{call} loses a failure{when}",
    NotRefused: "{call} takes without a word what does not fit what it is given{when}",
    WrongRanks: "{call} blames a rank that did not fail{when}",
    WrongPhase: "{call} reports a failure for another phase than its own{when}",
    WrongException: "{call} reports another exception than the one that was raised{when}",
    Disagreement: "{call} does not raise the same on all ranks{when}",
    UnprotectedFailure: "{call} raises an exception that does not say which rank failed{when}",
    PassedFailure: "{call} goes on after a failure{when}",
    ChangedInput: "{call} changes what it is given to save",
    WrongKeys: "{call} changes the keys of the state dict",
    WrongTensor: "{call} puts another kind of tensor into the state dict",
    NotLoaded: "{call} returns, and has not loaded all elements",
    WrongBits: "{call} loads other bits than were saved",
    WrongObject: "{call} loads another object than was saved",
    UnseenDamage: "{call} does not see that a file was damaged",
    NotInPlace: "{call} puts a new tensor where it should fill the one that it was given",
    ChangedOutside: "{call} writes to memory beside the tensor to load into",
    MetadataUnreadable: "the metadata cannot be read after {call}",
    MetadataWrong: "the metadata names other tensors than {call} was given",
    BadChunks: "the chunks in the metadata do not tile the tensor",
    BadStorageIndex: "the metadata does not say where everything is",
    None: "what is saved is loaded",
}

_WAITS_FOR = re.compile(r" with root \d+$")


def titled(issue: LedgerEntry | None, otherwise: str = "") -> str:
    """What the ledger calls it, and upstream; what is new is as it is said ``otherwise``."""
    if issue is None:
        return otherwise
    return issue.title if issue.upstream is None else f"{issue.title} ({issue.upstream})"


def described(title: str, expected: Iterable[str], seen: Iterable[str], *, ranks: int = 1, at: str = "") -> str:
    """The docstring of a script about that, which so many ranks run; ``at`` says where in the script it is seen."""
    lines = dict.fromkeys(wrapped(" ".join(text.split())) for text in seen)
    return docstring(
        [
            f"torch.distributed.checkpoint: {title}.",
            *dict.fromkeys(f"Expected: {text}." for text in expected),
            "\n".join([f"Seen with torch {torch.__version__}{at}:", *lines]),
            f"    {_launcher(ranks)} reproduce.py",
            "The exit status is 1 while the bug is there, and 0 when it is gone.",
        ]
    )


def _launcher(ranks: int) -> str:
    return "python" if ranks == 1 else f"torchrun --standalone --nproc-per-node={ranks}"


def header(plan: Plan) -> str:
    """The docstring of the script of a scenario."""
    if plan.kind is not None and plan.kind not in _TITLES:
        raise CannotWrite(f"there is no script for a violation of the kind {plan.kind.__name__} yet")
    status = "while the bug is there, and 0 when it is gone" if plan.kind is not None else "if anything else happens"
    paragraphs = [
        f"{_title(plan)}.",
        f"Expected: {_expected(plan)}.",
        *_seen(plan),
        *_numbering(plan),
        f"    {_launcher(plan.ranks)} reproduce.py",
        f"The exit status is 1 {status}.",
    ]
    return docstring(paragraphs)


def _title(plan: Plan) -> str:
    if plan.issue is not None:
        return f"torch.distributed.checkpoint: {titled(plan.issue)}"
    if plan.kind is None and plan.stage is not None:
        return f"torch.distributed.checkpoint: {_call(plan)} says who failed{_when(plan)}"
    return (
        f"torch.distributed.checkpoint: {_TITLES[plan.kind].format(call=_call(plan), when=_when(plan))}{_after(plan)}"
    )


def _call(plan: Plan) -> str:
    return f"{function_name(plan.operation, plan.last)}()"


def _after(plan: Plan) -> str:
    return ", in processes that have saved before" if plan.before else ""


def _when(plan: Plan) -> str:
    """Who fails where, as ``" when rank 1 fails in FileSystemWriter.finish"``."""
    failing: dict[str, list[int]] = {}
    for faults in plan.failing.values():
        for index in faults:
            if index == REFUSAL:
                continue
            fault = plan.scenario.all_faults[index]
            failing.setdefault(hook_text(plan, fault), []).append(fault.rank)
    if not failing:
        return ""
    return " when " + " and ".join(f"{_ranks(sorted(ranks))} in {hook}" for hook, ranks in failing.items())


def _ranks(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]} fails"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]} fail"


def _expected(plan: Plan) -> str:
    if plan.stage is not None:
        phase = f" in {plan.stage.phase!r}" if plan.stage.phase is not None else ""
        named = list(plan.failing)
        whom = f"rank {named[0]}" if len(named) == 1 else f"ranks {', '.join(map(str, named))}"
        whom = whom if named else "a rank that failed"
        return f"{_call(plan)} raises CheckpointException{phase} on every rank, and names {whom}"
    if checks_metadata(plan):
        return "the metadata tells the truth of what was saved"
    if plan.scenario.damages:
        return f"{_call(plan)} raises CheckpointException, or the state dict holds what was saved"
    if plan.compares_content or plan.last == "load":
        return f"{_call(plan)} returns, and the state dict holds what was saved"
    return f"{_call(plan)} returns on every rank"


def _seen(plan: Plan) -> list[str]:
    if plan.kind is None:
        return []
    seen_with = f"Seen with torch {torch.__version__}:"
    breach = plan.verdict.breach
    if breach is not None and not plan.compares_outcome and plan.kind is not UnexpectedFailure:
        shown = [breach.headline.split(": ", 1)[1], *breach.detail]
    else:
        shown = [f"{ranks} {text}" for ranks, text in describe_ranks(plan.outcome.ranks, said)]
    lines = [wrapped(" ".join(_as_in_script(plan, text).split())) for text in shown]
    return ["\n".join([seen_with, *lines])]


def _numbering(plan: Plan) -> list[str]:
    """Which ranks are meant, where those that are named are not numbered as in the job."""
    if not plan.renumbers(plan.last) or (plan.kind is None and plan.stage is None):
        return []
    members = plan.members(plan.last)
    if len(members) == 1:
        return [f"Only rank {members[0]} of the job takes part, as rank 0 of a group of its own."]
    of_job = f"{', '.join(map(str, members[:-1]))} and {members[-1]}"
    return [f"Ranks are counted within a group that has ranks {of_job} of the job."]


def said(seen: RankOutcome) -> str:
    """What a rank saw, in words."""
    match seen:
        case Returned():
            return "returned"
        case Deadlocked(waiting):
            return f"waits for ever in {_WAITS_FOR.sub('', waiting.what)}"
        case Died(reason):
            return f"died: {reason}"
        case Raised(error, None, None):
            return f"raised {_plain(error.type)}: {error.message}"
        case Raised(_, phase, failures):
            named = [f"rank {rank} for {_plain(error.type)}: {error.message}" for rank, error in failures or ()]
            return f"raised CheckpointException in {phase!r} naming {'; '.join(named) or 'nobody'}"
    raise TypeError(f"no outcome of a rank: {seen!r}")


def _plain(kind: str) -> str:
    """The name of an exception's class as the script has it, where it is one of those that are made to fail."""
    return kind.removeprefix("worlds.errors.").removeprefix("builtins.")


def _as_in_script(plan: Plan, text: str) -> str:
    """``text`` with the messages that the script's own exceptions have."""
    messages = [fault_message(fault) for fault in plan.scenario.all_faults]
    return re.sub(r"injected fault (\d+)", lambda found: messages[int(found[1])], text)


def wrapped(text: str, limit: int = 400) -> str:
    """``text`` as an indented paragraph of a few lines."""
    text = text if len(text) <= limit else f"{text[:limit].rstrip()} …"
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False)
