"""What goes wrong in released torch with the state dicts of trainings for what their modules are."""

from __future__ import annotations

from worlds.training import Norm, Optimizer, Renamed, Side, Training

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
)
