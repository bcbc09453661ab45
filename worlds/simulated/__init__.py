"""The simulated world: deterministic, without sockets, and quick to see a deadlock."""

from .world import Launched, SimulatedWorld

__all__ = ["Launched", "SimulatedWorld"]
