"""What every script's text must be, and deaths and trainings that scripts show beside the ledger's."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace

from properties.judge_killed import KilledBreach, MixedCheckpoint
from properties.training import TrainingBreach
from properties.violations import UnexpectedFailure, WrongBits
from tests.script_runs import command_of
from worlds import ChunkSharding, ObjectEntry, Operation, Scenario, TensorEntry
from worlds.killed import Kill, KilledOutcome, KilledScenario
from worlds.outcome import OperationOutcome
from worlds.training import (
    Block,
    Counter,
    Embedding,
    Held,
    Loaded,
    Mlp,
    Norm,
    Optimizer,
    Parallelism,
    Saved,
    Scale,
    Side,
    Training,
    TrainingOutcome,
)

__all__ = ["EVERYTHING", "KILLED", "SAVED", "broken", "check_text", "mixture"]


def check_text(script: str) -> None:
    """A script compiles, and needs torch, safetensors where it is about that, and the standard library alone."""
    tree = ast.parse(script)
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            assert module.split(".")[0] in {"torch", "safetensors", *sys.stdlib_module_names}, module
    for word in ("scenario", "Fault(", "injected", "worlds", " hook", "oracle", "shrunk", "dcp-stress"):
        assert word not in script, f"{word!r} means nothing to the reader:\n{script}"
    assert command_of(script)


_SHARDED = TensorEntry("a", (4,), saved=ChunkSharding(0, (0, 1)))
SAVED = Scenario((_SHARDED, ObjectEntry("b", 1)), Operation(2))
KILLED = (
    KilledScenario(SAVED, (Kill(1, "writer.write_data", done=True),), path="same"),
    KilledScenario(SAVED, (Kill(0, "planner.finish_plan"), Kill(1, "writer.write_data")), path="same"),
)


def mixture(killed: KilledScenario) -> KilledBreach:
    return KilledBreach(MixedCheckpoint, "", killed, KilledOutcome(OperationOutcome(())))


_SHARED = Side(Parallelism(2, data=2, tensor=2), 2, evaluated=True, calls="optimizer first", full=True)
EVERYTHING = Training(
    (Mlp(3, use="frozen"), Block((Embedding(2, tied=True), Scale("unused"))), Counter(extra=True), Norm()),
    2,
    Optimizer("NAdam", variant=True, decay=True, groups="matrices last", tensor_lr=True, scheduled=True),
    replace(_SHARED, full=False),
    _SHARED,
    flatten=True,
)


def broken(training: Training, name: str = "") -> TrainingBreach:
    """A breach at load, as of a training that was not run: of what it holds under ``name``, or that a call raised."""
    kind, nothing = WrongBits if name else UnexpectedFailure, Held((), ())
    outcome = TrainingOutcome((Saved(nothing, nothing),), (Loaded(nothing, nothing),))
    return TrainingBreach(kind, "load: it is wrong", training, outcome, "load", name)
