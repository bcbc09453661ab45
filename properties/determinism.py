"""What is drawn depends on the seed and the strategies alone."""

from __future__ import annotations

from typing import Any

from hypothesis.internal.conjecture import providers

__all__ = ["ignore_constants_of_modules"]


def ignore_constants_of_modules() -> None:
    """Keep Hypothesis from drawing constants that it finds in the source of whatever modules are imported.

    One law would else draw other examples where it runs alone than where it runs beside others, and a failure could not
    be run again by itself. There is no setting for it; where a Hypothesis has no such constants, nothing is done.
    """
    module: Any = providers
    if hasattr(module, "_get_local_constants"):
        none = module.Constants()
        module._get_local_constants = lambda: none
