"""The docstring of a training's script: what breaks, what is expected, what was seen, and how to run it."""

from __future__ import annotations

import re

from properties.verdict import describe_ranks
from worlds.outcome import RankOutcome, Returned
from worlds.training import Failed, Loaded, Saved

from ..header import described, said, titled
from .calls import called
from .plan import TrainingPlan

__all__ = ["as_in_script", "header"]


def header(plan: TrainingPlan) -> str:
    """The docstring."""
    return described(_title(plan), [_expected(plan)], _seen(plan), ranks=plan.ranks)


def _title(plan: TrainingPlan) -> str:
    issue = plan.issue
    if issue is not None:
        return titled(issue)
    if plan.stays_on_meta:
        return "a training is loaded into a module that stays on the meta device"
    if plan.loses:
        return "to load a training changes the state dict that is given"
    if plan.compared is None:
        return f"to {plan.breach.side} a training {'hangs' if plan.hangs else 'fails'}"
    if plan.changes:
        return "to save a training changes it"
    return "a training that is loaded is not the one that was saved"


def _expected(plan: TrainingPlan) -> str:
    if plan.stays_on_meta:
        return "nothing of the module that was loaded into is on the meta device"
    if plan.loses:
        return "the state dict that is loaded has the names that it had"
    if plan.compared is None:
        return f"{_calls(plan)} return{' on every rank' if plan.ranks > 1 else ''}"
    if plan.changes:
        return "the training is what it was before it was saved"
    if plan.is_left_out:
        return "what is not in the checkpoint stays as it is"
    return "the training that is loaded into holds what was held when the other one was saved"


def _calls(plan: TrainingPlan) -> str:
    *others, last = (f"{function}()" for function in called(plan, plan.breach.side))
    return f"{', '.join(others)} and {last}"


def _seen(plan: TrainingPlan) -> list[str]:
    breach = plan.breach
    if plan.compared is not None or plan.loses or plan.stays_on_meta:
        seen = [breach.headline.split(": ", 1)[1]]
        # Other values than those of hyperparameters are not the same in the script.
        told = (plan.compared == "groups" and breach.expected) or plan.is_cast
        seen += [f"expected {breach.expected}, seen {breach.seen}"] if told else []
    else:
        ranks = breach.outcome.saved if breach.side == "save" else breach.outcome.loaded
        seen = [f"{which} {text}" for which, text in describe_ranks(tuple(map(_rank, ranks)), said)]
    alone = plan.side(breach.side).parallelism.world_size < plan.ranks and not plan.is_partial(breach.side)
    return [as_in_script(" ".join(text.split()), alone=alone) for text in seen]


def _rank(seen: RankOutcome | Failed | Saved | Loaded) -> RankOutcome:
    if isinstance(seen, Failed):
        return seen.raised
    return Returned(()) if isinstance(seen, Saved | Loaded) else seen


def as_in_script(text: str, *, alone: bool) -> str:
    """``text`` with the script's names for the two parts of an MLP; a rank that was ``alone`` is each of them there."""
    text = re.sub(r"(?<=\d)\.(up|down)\b", lambda found: ".0" if found[1] == "up" else ".1", text)
    return re.sub(r"(^|\bon |\bnaming )rank 0\b", r"\1each rank", text) if alone else text
