"""Scripts of histories: what comes of a step after those before it."""

from .write import write_history_script

__all__ = ["write_history_script"]
