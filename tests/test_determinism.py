"""What is drawn depends on the seed and the strategies alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

SCRIPT = """
import conftest, hashlib, sys
for name in sys.argv[1:]:
    __import__(name)
from hypothesis import Phase, given, seed, settings
from strategies import object_values

digest = hashlib.sha256()

@seed(3)
@settings(max_examples=2000, database=None, phases=[Phase.generate])
@given(value=object_values())
def draw(value):
    digest.update(repr(value).encode())

draw()
print(digest.hexdigest())
"""


def drawn(*imported: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, *imported]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.commands
@pytest.mark.thorough
def test_other_modules_do_not_change_what_is_drawn() -> None:
    """Found as a law that failed beside some modules, and passed beside more: Hypothesis draws from their constants."""
    alone = drawn()
    assert len(alone) == hashlib.sha256().digest_size * 2
    assert drawn("worlds.benchmark.__main__", "worlds.torchrun.world") == alone
