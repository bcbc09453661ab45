"""The ledger of what goes wrong in released torch where a training is given what does not fit it."""

from __future__ import annotations

from properties.ledger import first_match
from worlds.training import Counter, Norm, Optimizer, Parallelism, Scale, Side
from worlds.training.misfit import Misfit

from . import misfit_symptoms as symptoms
from .issue import MisfitIssue
from .judge_misfit import MisfitBreach

__all__ = ["MISFIT_ISSUES", "find_misfit_issue"]


def find_misfit_issue(breach: MisfitBreach) -> MisfitIssue | None:
    """The entry for the breach, if it is known for the installed torch."""
    return first_match(MISFIT_ISSUES.values(), lambda issue: issue.matches(breach))


_FLAT = Parallelism(data=2, flat=True)
_ISSUES = (
    MisfitIssue(
        id="misfit-refused-alone",
        title="a rank that gives set_…_state_dict() what does not fit is refused before it takes part, and others wait",
        loses="with broadcast_from_rank0, what rank 0 is told, as that state is missing, nobody reads: the others hang",
        misfit=Misfit(
            "state of a parameter missing",
            optimizer=Optimizer(variant=True),
            side=Side(parallelism=Parallelism(2), calls="model first", full=True, broadcast=True),
        ),
        matches=symptoms.is_told_alone,
    ),
    MisfitIssue(
        id="misfit-types-unchecked",
        title="a state dict, or options, of another type are refused by what something within lacks",
        loses="who gives a dict for StateDictOptions, or a list for a state dict, is told of 'keys', and not of that",
        misfit=Misfit("dict for options"),
        matches=symptoms.says(symptoms.SAID_OF_TYPES),
    ),
    MisfitIssue(
        id="misfit-optimizer-parts",
        title='an optimizer\'s state dict without "state", or without "param_groups", raises a KeyError of a name',
        loses="the state dict of Optimizer.state_dict(), or half of one, is refused by a KeyError that names neither",
        misfit=Misfit("no param_groups", optimizer=Optimizer(), side=Side(calls="model first")),
        matches=lambda breach: symptoms.says(symptoms.SAID_OF_PARTS)(breach) or symptoms.says_without_shared(breach),
    ),
    MisfitIssue(
        id="misfit-optimizer-of-another-model",
        title="an optimizer whose parameters are not the model's raises a KeyError of a tensor, or is loaded by itself",
        loses="an optimizer made before the model was wrapped is told of by KeyError, and all values of a parameter",
        misfit=Misfit("optimizer of another model", optimizer=Optimizer(), side=Side(calls="model first", whole="DDP")),
        matches=lambda breach: (
            symptoms.says(symptoms.SAID_OF_ANOTHER_MODEL)(breach)
            or symptoms.takes("optimizer of another model")(breach)
        ),
    ),
    MisfitIssue(
        id="misfit-state-unchecked",
        title="set_optimizer_state_dict() looks at neither sizes, types nor names of a parameter's state",
        # What it says of state that is missing from a flattened state dict is pytorch/pytorch#192224.
        loses="Adam's moments of another model are taken without a word, and the next step fails, or is wrong",
        misfit=Misfit("state of more rows", optimizer=Optimizer(variant=True), side=Side(calls="model first")),
        matches=lambda breach: symptoms.says(symptoms.SAID_OF_CONTENTS)(breach) or symptoms.takes_contents(breach),
    ),
    MisfitIssue(
        id="misfit-all-state-missing",
        title="a strict set_optimizer_state_dict() takes a state dict without any state for one of numbers",
        loses="a checkpoint that was saved before the first step is loaded strictly, and Adam starts anew in silence",
        misfit=Misfit(
            "state of a parameter missing", (Scale(),), Optimizer(variant=True), side=Side(calls="model first")
        ),
        matches=symptoms.has_no_state_at_all,
    ),
    MisfitIssue(
        id="misfit-groups-unchecked",
        title="set_optimizer_state_dict() drops the hyperparameters of a group that the state dict has not",
        loses="an optimizer is left without a learning rate, and the next step raises KeyError: 'lr'",
        misfit=Misfit("no groups", optimizer=Optimizer(variant=True), side=Side(calls="model first")),
        matches=symptoms.takes(*symptoms.OF_GROUPS),
    ),
    MisfitIssue(
        id="misfit-another-optimizer",
        title="set_optimizer_state_dict() takes the state dict of another kind of optimizer, and then no right one",
        loses="Adam is left with SGD's hyperparameters, and to load its own raises KeyError: 'betas'",
        misfit=Misfit("state of another optimizer", optimizer=Optimizer("Adam"), side=Side(calls="model first")),
        matches=symptoms.takes("state of another optimizer"),
    ),
    MisfitIssue(
        id="misfit-numbers-taken",
        title="with broadcast_from_rank0, the numbers of parameters are taken for names of others, and stay",
        loses="what Optimizer.state_dict() gives is loaded beside the rest, and the next load raises KeyError: '0'",
        misfit=Misfit(
            "parameter ids for names",
            optimizer=Optimizer(variant=True),
            side=Side(calls="model first", full=True, broadcast=True),
        ),
        matches=symptoms.takes("parameter ids for names"),
    ),
    MisfitIssue(
        id="misfit-full-misses-nothing",
        title="with full_state_dict, a strict set_model_state_dict() takes a state dict of which keys are missing",
        upstream="pytorch/pytorch#126285",  # which is closed, and mended where rank 0 broadcasts
        loses="a parameter that is not in the checkpoint keeps its random values, and nobody is told",
        misfit=Misfit(side=Side(full=True)),
        matches=symptoms.is_missed_in_full,
    ),
    MisfitIssue(
        id="misfit-no-model",
        title="set_…_state_dict() takes the model's state dict of a module that is not in it, and loads nothing",
        loses="what is given by a module that was replaced since is not loaded, and nobody is told, by strict neither",
        misfit=Misfit("model's state of another module", optimizer=Optimizer()),
        matches=symptoms.is_no_model,
    ),
    MisfitIssue(
        id="misfit-too-many-for-rank-0",
        title="with broadcast_from_rank0, rank 0 alone is told of a key too many, and the other ranks go on",
        loses="rank 0 raises and the others train on, until they wait for it for ever",
        misfit=Misfit(
            "model key too many", side=Side(parallelism=Parallelism(2), calls="model first", full=True, broadcast=True)
        ),
        matches=symptoms.is_too_many_for_rank_0,
    ),
    MisfitIssue(
        id="misfit-broadcast-sizes",
        title="with broadcast_from_rank0, a tensor of another size is copied into a DTensor as broadcasting has it",
        loses="a bias of one element fills the whole one, in silence, and others are refused without their name",
        misfit=Misfit(
            "model tensor of one row",
            side=Side(parallelism=Parallelism(data=1), calls="model first", full=True, broadcast=True),
            width=2,
        ),
        matches=symptoms.is_copied_as_it_is,
    ),
    MisfitIssue(
        id="misfit-told-to-some",
        title="with FSDP's first version, ranks without an element of a parameter are not told that its state is wrong",
        loses="some ranks raise KeyError: 'step', and the others train on, or wait for them",
        misfit=Misfit("state of a parameter in part", optimizer=Optimizer("Adam"), side=Side(parallelism=_FLAT)),
        matches=symptoms.is_told_to_some,
    ),
    MisfitIssue(
        id="misfit-left-unsharded",
        title="FSDP's first version stays gathered where a load has raised, and takes no load any more",
        loses="once a load was refused, the one that fits raises an AssertionError, and so does any other",
        misfit=Misfit(
            layers=(Norm(), Counter(extra=True)),
            side=Side(parallelism=_FLAT, calls="model first", full=True, broadcast=True, strict=False),
            last=True,
        ),
        matches=symptoms.is_left_unsharded,
    ),
)
MISFIT_ISSUES = {issue.id: issue for issue in _ISSUES}
"""The entries by their id."""
