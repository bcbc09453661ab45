"""Scripts of a training that is given what does not fit it: what is given, by whom, and what each rank says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from properties.training import find_misfit_issue
from properties.training.breach import TrainingBreach
from properties.training.judge_misfit import FROM_WITHIN, WORDS, MisfitBreach, seen_of
from properties.verdict import describe_ranks, ranks_text
from properties.violations import Deadlock, LostFailure, NotRefused, UnclearRefusal, UnexpectedFailure
from worlds.outcome import Returned
from worlds.training import TrainingOutcome
from worlds.training.misfit import Misfit
from worlds.training.misfit_outcome import Took

from ..header import described, said, titled
from ..imports import import_block
from ..known import CannotWrite
from ..outcomes import STAY, watchdog_text
from ..processes import exit_helpers, set_up
from ..ranks import rank_condition
from ..text import Items, indented, joined, quoted, render
from .header import as_in_script
from .model import model_helpers, model_lines
from .optimizer import optimizer_lines, step_lines
from .parallel import mesh_lines, parallel_lines
from .plan import TrainingPlan
from .spoiled import spoil_lines
from .wrapping import wrapper_lines

__all__ = ["write_misfit_script"]


@dataclass(frozen=True)
class _Job:
    """How the processes of the script begin and end."""

    misfit: Misfit
    leaves_group: bool = False
    compares_outcome: bool = True
    raises: bool = True
    holds_group: bool = False

    @property
    def ranks(self) -> int:
        return self.misfit.side.parallelism.world_size

    @property
    def has_group(self) -> bool:
        side = self.misfit.side
        shared = side.parallelism.data or side.parallelism.tensor or "DDP" in side.whole
        return self.ranks > 1 or side.broadcast or bool(shared)

    @property
    def hangs(self) -> bool:
        return self.ranks > 1


def write_misfit_script(breach: MisfitBreach) -> str:
    """A Python file that needs torch alone and shows how a call ends that gives a training what does not fit it.

    Raises :class:`CannotWrite`, with one line, for a violation that has no script yet.
    """
    misfit, job = breach.misfit, _Job(breach.misfit)
    check = _check(breach)
    watch = [watchdog_text(f"in {_function(misfit)}()", job.ranks)] if job.hangs else []
    # Nothing is saved here.
    start = [line for line in set_up(job) if "path" not in line]
    body = joined(
        [
            *model_helpers(misfit.training),
            *watch,
            *exit_helpers(job),
            *(["\n".join(start)] if start else []),
            "\n".join(_training(misfit)),
            "\n".join([*_states(misfit), *_kept(breach), *_given(breach)]),
            "\n".join([*_call(misfit, job), *check]),
        ]
    )
    return joined([_header(breach, job), import_block(body), body]) + "\n"


def _function(misfit: Misfit) -> str:
    if misfit.side.calls == "together":
        return "set_state_dict"
    return "set_model_state_dict" if misfit.part == "model" else "set_optimizer_state_dict"


def _training(misfit: Misfit) -> list[str]:
    """The statements that make ``model`` and ``optimizer``, and take a step."""
    training = replace(misfit.training, saved=replace(misfit.training.saved, steps=1))
    plan = TrainingPlan(TrainingBreach(UnexpectedFailure, "", training, TrainingOutcome(()), "save"))
    parallelism = misfit.side.parallelism
    return [
        *model_lines(training, misfit.side, first=True),
        *mesh_lines(parallelism),
        *parallel_lines(training, parallelism),
        *optimizer_lines(plan, "save"),
        *step_lines(plan, training.saved),
        *wrapper_lines(training, training.saved),
    ]


def _options(misfit: Misfit) -> tuple[str, ...]:
    side = misfit.side
    on = {
        "full_state_dict": side.full,
        "broadcast_from_rank0": side.broadcast,
        "flatten_optimizer_state_dict": misfit.flatten,
    }
    return (*(f"{name}=True" for name, there in on.items() if there), *(() if side.strict else ("strict=False",)))


def _with_options(misfit: Misfit, head: str, *arguments: str) -> str:
    options = ("options=options",) if _options(misfit) or _has_wrong_options(misfit) else ()
    return render(Items(head, (*arguments, *options)))


def _has_wrong_options(misfit: Misfit) -> bool:
    return misfit.kind in _WRONG_OPTIONS


_WRONG_OPTIONS = {
    "broadcast without full": "options = StateDictOptions(broadcast_from_rank0=True)",
    "modifiers that are no method": 'options = StateDictOptions(dsd_fqn_modifiers="training")',
    "dict for options": 'options = {"strict": True}',
}


def _states(misfit: Misfit) -> Iterator[str]:
    """The statements that make the state dicts that fit."""
    options = _options(misfit) or (("strict=True",) if _has_wrong_options(misfit) else ())
    if options:
        yield render(Items("options = StateDictOptions(", options))
    if misfit.side.calls == "together" or misfit.part == "model":
        yield _with_options(misfit, "model_state = get_model_state_dict(", "model")
    taken = misfit.side.calls == "together" or misfit.part == "optim"
    if misfit.optimizer is not None and taken and misfit.kind != "state of another optimizer":
        yield _with_options(misfit, "optim_state = get_optimizer_state_dict(", "model", "optimizer")


def _given(breach: MisfitBreach) -> list[str]:
    """The statements that make what does not fit, on the ranks that give it."""
    misfit = breach.misfit
    wrong = _WRONG_OPTIONS.get(misfit.kind)
    lines = [wrong] if wrong is not None else spoil_lines(misfit, as_in_script(breach.outcome.name, alone=False))
    if misfit.ranks:
        lines = [f"if {rank_condition('rank', misfit.ranks)}:", *indented(lines)]
    if misfit.side.broadcast and misfit.side.calls != "together" and misfit.side.parallelism.world_size > 1:
        name = "model_state" if misfit.part == "model" else "optim_state"
        lines += ["if rank > 0:", f"    {name} = {{}}  # since rank 0 broadcasts its own"]
    return lines


def _kept(breach: MisfitBreach) -> list[str]:
    """The statement that keeps what fits, where that is given after it."""
    misfit = breach.misfit
    if breach.when == "in the call":
        return []
    others = " if rank == 0 else {}" if misfit.side.broadcast and misfit.side.parallelism.world_size > 1 else ""
    return [f"right = dict(model_state){others}"]


def _call(misfit: Misfit, job: _Job) -> Iterator[str]:
    function = _function(misfit)
    optimizer = "()" if misfit.optimizer is None else "optimizer"
    arguments = ["model"] if misfit.part == "model" else ["model", optimizer]
    arguments.append("model_state" if misfit.part == "model" else "optim_state")
    if function == "set_state_dict":
        optim = "{}" if misfit.optimizer is None else "optim_state"
        arguments = ["model", optimizer, "model_state_dict=model_state", f"optim_state_dict={optim}"]
    call = _with_options(misfit, f"{function}(", *arguments)
    if job.hangs:
        yield "seen = None"
        yield "threading.Thread(target=watchdog, daemon=True).start()"
    yield "error = None"
    yield "try:"
    yield from indented([call, 'seen = "returned"'])
    yield "except Exception as raised:"
    yield '    error, seen = raised, f"raised {raised!r}"'
    yield f'print(f"{"[rank {rank}] " if job.ranks > 1 else ""}{function}() {{seen}}", flush=True)'
    if job.hangs:
        yield from STAY.splitlines()


def _check(breach: MisfitBreach) -> list[str]:
    """The statements that end with status 1 while it is wrong; where ranks hang, it is they who say so."""
    misfit = breach.misfit
    if breach.when == "after it":
        return _check_after(breach)
    if breach.kind is NotRefused and not misfit.side.strict and misfit.kind == "model key missing":
        raise CannotWrite("there is no script for a missing key that is not reported yet")
    if breach.kind is Deadlock:
        return []
    if breach.kind is NotRefused:
        whose = f" and {rank_condition('rank', misfit.ranks)}" if misfit.ranks else ""
        return [f'if seen == "returned"{whose}:', '    sys.exit("it was taken without a word")']
    if breach.kind is LostFailure:
        return [
            "everyone = [None] * dist.get_world_size()",
            "dist.all_gather_object(everyone, seen)",
            'if len({each == "returned" for each in everyone}) > 1:',
            '    sys.exit("some ranks raised, and others did not")',
        ]
    if breach.kind is UnclearRefusal and breach.error is not None:
        if breach.error.type in FROM_WITHIN:
            test = ["from_within = (AttributeError, LookupError, NameError)", "if isinstance(error, from_within):"]
        else:
            words = WORDS.get(misfit.kind, (as_in_script(breach.outcome.name, alone=False),))
            tests = " and ".join(f"{quoted(word)} not in seen" for word in words)
            test = [f"if error is not None and {tests}:"]
        return [*test, '    sys.exit("what was raised does not say what is wrong")']
    raise CannotWrite(f"there is no script for what does not fit and ends in {breach.kind.__name__} yet")


def _check_after(breach: MisfitBreach) -> list[str]:
    """The statements that give what fits, and end with status 1 where that is refused now."""
    misfit = breach.misfit
    alone = misfit.part == "model" and misfit.side.calls != "together" and not misfit.ranks
    if breach.kind is not UnexpectedFailure or not alone or _has_wrong_options(misfit):
        raise CannotWrite("there is no script for what such a training comes to after it yet")
    return [
        "try:",
        *indented([_with_options(misfit, "set_model_state_dict(", "model", "right")]),
        "except Exception as raised:",
        '    sys.exit(f"what fits cannot be loaded any more: {raised!r}")',
    ]


def _header(breach: MisfitBreach, job: _Job) -> str:
    misfit, issue = breach.misfit, find_misfit_issue(breach)
    function = _function(misfit)
    title = titled(issue, f"{function}() is given what does not fit, and does not say so")
    ranks = tuple(Returned(()) if isinstance(seen, Took) else seen for seen in seen_of(breach.outcome))
    seen = [as_in_script(f"{which} {text}", alone=False) for which, text in describe_ranks(ranks, said)]
    whose = f"where {ranks_text(misfit.wrong)} of {job.ranks} gave what does not fit, " if job.ranks > 1 else ""
    those = f"{ranks_text(misfit.alike)} raise{'' if len(misfit.alike) > 1 else 's'}"
    told = those if misfit.ranks else "every rank raises"
    then = ", and what fits is loaded after that" if breach.when == "after it" else ", and nobody waits for ever"
    return described(title, [f"{whose}{told} an error that says what is wrong{then}"], seen, ranks=job.ranks)
