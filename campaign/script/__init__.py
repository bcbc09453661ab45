"""Reproduction scripts: any scenario as one Python file that needs torch alone, as a maintainer would write it."""

from .known import CannotWrite
from .write import write_script

__all__ = ["CannotWrite", "write_script"]
