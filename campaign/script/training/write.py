"""The whole script of a training: its parts in their order."""

from __future__ import annotations

from properties.training import TrainingBreach

from ..imports import import_block
from ..outcomes import STAY, watchdog_text
from ..processes import exit_helpers, set_up
from ..ranks import rank_condition, rank_list
from ..text import indented, joined
from .calls import get_lines, load_line, options_lines, save_line, set_lines
from .compare import compare_helpers, comparison, fill_lines, held_call, lost_lines
from .header import header
from .model import model_helpers, model_lines
from .optimizer import evaluation_lines, optimizer_lines, step_helper, step_lines
from .parallel import mesh_lines, parallel_lines
from .plan import SideName, TrainingPlan
from .wrapping import wrapper_lines

__all__ = ["write_training_script"]

_WATCH = ["seen = None", "threading.Thread(target=watchdog, daemon=True).start()"]


def write_training_script(breach: TrainingBreach) -> str:
    """A Python file that needs torch alone and shows what is wrong with a training that is saved, and loaded.

    Raises :class:`campaign.script.CannotWrite`, with one line, for a training that has no script yet.
    """
    plan = TrainingPlan(breach)
    plan.check()
    body = joined(
        [
            *model_helpers(plan.training),
            *step_helper(plan),
            *compare_helpers(plan),
            *([watchdog_text("waiting", plan.ranks)] if plan.hangs else []),
            *exit_helpers(plan),
            "\n".join(set_up(plan)),
            *("\n".join(lines) for name in plan.names for lines in _side(plan, name)),
        ]
    )
    return joined([header(plan), import_block(body), body]) + "\n"


def _side(plan: TrainingPlan, name: SideName) -> list[list[str]]:
    """The paragraphs of a side: the training, and what is done with it; by some of the ranks, if not by all."""
    side = plan.side(name)
    options = options_lines(plan, name)
    mesh = mesh_lines(side.parallelism)
    made = model_lines(plan.training, side, first=name == "save")
    ready = [
        *parallel_lines(plan.training, side.parallelism),
        *optimizer_lines(plan, name),
        *step_lines(plan, side),
    ]
    wrap = wrapper_lines(plan.training, side)
    calls = _save(plan) if name == "save" else _load(plan)
    if not plan.is_partial(name):
        return [[*made, *mesh, *ready, *wrap], [*options, *calls]]
    ranks = range(side.parallelism.world_size)
    shared = [*mesh, f"group = dist.new_group({rank_list(ranks)})", *options]
    part = [f"if {rank_condition('rank', ranks)}:", *indented([*made, *ready, *wrap, *calls])]
    return [[*shared, *part, *(_handed_over(plan, ranks) if name == "save" else [])]]


def _handed_over(plan: TrainingPlan, ranks: range) -> list[str]:
    """What all ranks have to know of a save that only some of them took part in: that it is done, if no more."""
    if not _keeps_saved(plan):
        return ["dist.barrier()"]
    held = f"{held_call(plan)} if {rank_condition('rank', ranks)} else None"
    return [f"everyone = [{held}]", "dist.broadcast_object_list(everyone)", "saved = everyone[0]"]


def _keeps_saved(plan: TrainingPlan) -> bool:
    """Whether it is kept what was held at the save."""
    return plan.compared is not None and not plan.is_left_out


def _save(plan: TrainingPlan) -> list[str]:
    changes = plan.changes
    watched = plan.hangs and plan.breach.side == "save"
    calls = [*get_lines(plan, "save"), save_line(plan)]
    lines = [
        *([f"before = {held_call(plan)}"] if changes else []),
        *evaluation_lines(plan, plan.training.saved),
        *(_watched(plan, calls) if watched else calls),
    ]
    if changes:
        return [*lines, f"after = {held_call(plan)}", comparison(plan)]
    keeps = _keeps_saved(plan) and not plan.is_partial("save")
    return [*lines, *([f"saved = {held_call(plan)}"] if keeps else [])]


def _load(plan: TrainingPlan) -> list[str]:
    if plan.stays_on_meta:
        return _load_on_meta(plan)
    get, calls = get_lines(plan, "load"), [load_line(plan), *set_lines(plan)]
    lines = evaluation_lines(plan, plan.training.loaded)
    if plan.hangs:
        return [*lines, *_watched(plan, [*get, *calls])]
    if plan.loses:
        names = 'names = set(state["model"])'
        return [*lines, *get, calls[0], names, *calls[1:], *lost_lines()]
    lines += [*get, *(fill_lines(plan) if plan.fills else [])]
    if plan.compared is None:
        return [*lines, *calls]
    before, after = ([f"before = {held_call(plan)}"], "after") if plan.is_left_out else ([], "loaded")
    return [*lines, *before, *calls, f"{after} = {held_call(plan)}", comparison(plan)]


def _load_on_meta(plan: TrainingPlan) -> list[str]:
    model = model_lines(plan.training, plan.training.loaded, first=False)
    return [
        *get_lines(plan, "load"),
        load_line(plan),
        "",
        *model,
        'model = model.to("meta")',
        *parallel_lines(plan.training, plan.training.loaded.parallelism),
        set_lines(plan)[0],
        "left = [name for name, tensor in model.named_parameters() if tensor.is_meta]",
        "if left:",
        '    sys.exit(f"these are on the meta device still: {left}")',
    ]


def _watched(plan: TrainingPlan, calls: list[str]) -> list[str]:
    """``calls``, of which one may not return."""
    return [*_WATCH, *calls, 'seen = "returned"', *([STAY] if plan.ranks > 1 else [])]
