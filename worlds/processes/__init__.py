"""The process world: real ranks with real gloo, in a pool of processes that outlives examples."""

from .world import ProcessWorld

__all__ = ["ProcessWorld"]
