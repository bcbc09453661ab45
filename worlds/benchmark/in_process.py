"""Measures the simulated world and the floor, in turns.

``simulated`` runs the body that the other columns run; ``run`` is what a law pays for an example, with a new directory,
two worlds one after the other, and the metadata and the files recorded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count

from ..hygiene import quiet
from ..simulated import SimulatedWorld
from .child import report
from .cost import Cost, alternate
from .example import Failed, benchmark_scenario, save_and_load
from .floor import Floor

__all__: list[str] = []


def _measure(world_size: int, examples: int, columns: Sequence[str]) -> Mapping[str, Cost]:
    scenario = benchmark_scenario(world_size)
    with ExitStack() as stack:
        world = stack.enter_context(SimulatedWorld())
        floor = stack.enter_context(Floor(scenario))

        directory = stack.enter_context(tempfile.TemporaryDirectory())
        numbers = count()

        def simulated() -> None:
            path = f"{directory}/{next(numbers)}"
            launched = world.launch(lambda rank: save_and_load(scenario, rank, path), world_size)
            for rank in launched.ranks:
                if rank is not None:
                    raise Failed(f"no example to time, since a rank did not return: {rank}")

        def run() -> None:
            outcome = world.run(scenario)
            if not outcome.save.returned or outcome.load is None or not outcome.load.returned:
                raise Failed(f"no example to time, since a rank did not return: {outcome}")

        bodies: dict[str, Callable[[], None]] = {"simulated": simulated, "run": run, "floor": floor.run}
        stack.enter_context(quiet())  # logging and tensor threads are off in the world, and so on the floor too
        return alternate({name: bodies[name] for name in columns}, examples)


if __name__ == "__main__":
    report(_measure)
