"""What goes wrong in released torch with the state dicts of trainings for what their modules and optimizers are."""

from __future__ import annotations

from worlds.training import Again, Mlp, Norm, Optimizer, Parallelism, Renamed, Scale, Side, Training

from . import module_symptoms
from .issue import TrainingIssue

__all__ = ["MODULE_ISSUES"]

MODULE_ISSUES: tuple[TrainingIssue, ...] = (
    TrainingIssue(
        id="renamed-for-the-load-alone",
        title="set_optimizer_state_dict() asks for names by _fqn_modifiers, which get_… does not give",
        loses="a training with a module that renames its parameters, as torchtune's do, cannot be resumed, "
        "or goes on without their moments",
        training=Training((Renamed(),), optimizer=Optimizer("Adam")),
        matches=module_symptoms.renamed_for_the_load,
    ),
    TrainingIssue(
        id="modifiers-of-another-name",
        title="with dsd_fqn_modifiers, get_model_state_dict() asks modules for _fqn_modifiers all the same",
        loses="the option cannot be used: to save a module that it is for raises AttributeError",
        training=Training((Renamed(),), modifiers="names_in_state_dict"),
        matches=module_symptoms.modifiers_not_asked_for,
    ),
    TrainingIssue(
        id="frozen-and-renamed",
        title="with ignore_frozen_params, a frozen parameter that _fqn_modifiers renames raises KeyError",
        loses="a model with such a module that is frozen cannot be saved by that option",
        training=Training((Norm(), Renamed("frozen")), loaded=Side(strict=False), ignore_frozen=True),
        matches=module_symptoms.frozen_and_renamed,
    ),
    TrainingIssue(
        id="shared-module-full",
        title="with full_state_dict, a sharded module that a model has by two names cannot be loaded",
        loses="a training that uses one module twice cannot be resumed by that option",
        training=Training(
            (Norm(), Again()), optimizer=Optimizer(variant=True), loaded=Side(Parallelism(data=2), full=True)
        ),
        matches=module_symptoms.shared_module_full,
    ),
    TrainingIssue(
        id="optimizers-without-state",
        title="set_state_dict() gives each of several optimizers the parameter groups of all, where none has state",
        loses="a training with two optimizers that are plain SGD cannot be resumed",
        training=Training((Norm(), Mlp()), optimizer=Optimizer(groups="matrices first", apart=True)),
        matches=module_symptoms.optimizers_without_state,
    ),
    TrainingIssue(
        id="given-names-lost",
        title="set_model_state_dict() puts the names of DDP, or of torch.compile, into the state dict that it is given",
        loses="the second model that is given one state dict, as an average of it, raises: Missing key",
        upstream="pytorch/pytorch#158519",  # where the names that are put in are taken for such as get has left
        training=Training(loaded=Side(whole="compiled")),
        matches=module_symptoms.given_names_lost,
    ),
    TrainingIssue(
        id="beside-what-is-broadcast",
        title="with broadcast_from_rank0, other ranks that have the state dict too cannot load it into what is wrapped",
        loses="where each rank has read the file, a module under DDP or torch.compile raises: Unexpected key(s)",
        training=Training(optimizer=None, loaded=Side(Parallelism(2), full=True, broadcast=True, whole="DDP")),
        matches=module_symptoms.beside_what_is_broadcast,
    ),
    TrainingIssue(
        id="shared-module-wrapped",
        title="under DDP or torch.compile, a module that a model has by two names cannot be loaded",
        loses="a training that uses one module twice cannot be resumed under them",
        training=Training((Norm(), Again()), loaded=Side(whole="compiled")),
        matches=module_symptoms.shared_module_wrapped,
    ),
    TrainingIssue(
        id="scalars-left-on-meta",
        title="with full_state_dict, a module on the meta device of which every tensor is 0-d is left there",
        loses="such a module has no values after a load that reports success",
        training=Training((Scale(),), optimizer=None, loaded=Side(calls="model first", full=True, meta=True)),
        matches=module_symptoms.left_on_meta,
    ),
)
