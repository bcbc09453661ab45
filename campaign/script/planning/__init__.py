"""Scripts of the planning ledger: the minimal input of an entry, and the call that goes wrong with it."""

from .write import write_planning_script

__all__ = ["write_planning_script"]
