"""Bugs in how ``async_save`` copies what is in a state dict."""

from __future__ import annotations

from worlds import ObjectEntry, Operation, Scenario, TensorEntry
from worlds.entries import Form

from ..bug import Bug, Change, Witness

__all__ = ["STAGING"]

_STAGER = "_state_dict_stager:StateDictStager"


def _staged(form: Form) -> Witness:
    return Witness("round_trip", Scenario((ObjectEntry("a", 1, form),), Operation(api="async", stager="default")))


STAGING = (
    Bug(
        "staged-without-slots",
        "objects staged without what is in their slots",
        (Change(f"{_STAGER}._reconstruct", "setattr(y, key, value)", "pass"),),
        _staged("slots"),
    ),
    Bug(
        "staged-slots-alone",
        "objects with slots staged without their dict",
        (Change(f"{_STAGER}._reconstruct", "state, slotstate = state", "state, slotstate = None, state[1]"),),
        _staged("slots and dict"),
    ),
    Bug(
        "staged-once-for-each-holder",
        "an object staged once for each that holds it",
        (Change(f"{_STAGER}.deepcopy_with_tensor_offload", "y = memo.get(d, _nil)", "y = _nil"),),
        _staged("twice"),
    ),
    Bug(
        "staged-memory-taken-for-another",
        "memory staged once for all that is as large",
        (
            Change(
                f"{_STAGER}._offload_tensor", "storage_id = id(untyped_storage)", "storage_id = len(untyped_storage)"
            ),
        ),
        Witness(
            "round_trip",
            Scenario((TensorEntry("a"), TensorEntry("b")), Operation(api="async", stager="default")),
        ),
    ),
    Bug(
        "synchronized-too-early",
        "staging that is not waited for by synchronize_staging",
        (Change("staging:DefaultStager.synchronize_staging", "self._staging_future.result()", "pass"),),
        Witness("round_trip", Scenario((TensorEntry("a"),), Operation(api="async", stager="synchronized background"))),
    ),
    Bug(
        "own-copy-not-made",
        "objects that say how they are copied staged as they are",
        (Change(f"{_STAGER}.deepcopy_with_tensor_offload", "y = copier(memo)", "y = x"),),
        _staged("deepcopy"),
    ),
    Bug(
        "staged-without-items",
        "objects staged without the items that they are made of",
        (Change(f"{_STAGER}._reconstruct", "y.append(item)", "pass"),),
        _staged("list items"),
    ),
    Bug(
        "method-not-copied",
        "methods staged with the object itself",
        (Change(f"{_STAGER}.__init__", "= _deepcopy_method", "= _deepcopy_atomic"),),
        _staged("method"),
    ),
    Bug(
        "state-taken-for-slots",
        "a state of two taken for a dict and slots, whoever takes it back",
        (
            Change(
                f"{_STAGER}._reconstruct",
                'if hasattr(y, "__setstate__"):',
                'if hasattr(y, "__setstate__") and not (isinstance(state, tuple) and len(state) == 2):',
            ),
        ),
        _staged("state"),
    ),
)
