"""Where the threads of a process stand is found whenever the garbage collector wants to run."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

from tests.campaigns import ROOT
from worlds.frames import current_frames

# A thread is new each time, since what was asked once for where it stands allocates nothing; and what is collected
# holds a threading.local, for which the collector takes the lock that is held while it is asked.
_COLLECTED_MEANWHILE = """
import gc
import threading

from worlds.frames import current_frames


class Junk:
    pass


def wait(over, calls):
    wait(over, calls - 1) if calls else over.wait()


for _ in range(50):
    over = threading.Event()
    threading.Thread(target=wait, args=(over, 30), daemon=True).start()
    junk = Junk()
    junk.itself, junk.local = junk, threading.local()
    del junk
    gc.set_threshold(1, 1, 1)
    current_frames()
    gc.set_threshold(700, 10, 10)
    over.set()
print("done")
"""


def test_collector_does_not_wait_for_itself() -> None:
    """Seen with Python 3.11.7: a world that looked where its ranks wait for ever waited for ever itself."""
    command = [sys.executable, "-c", _COLLECTED_MEANWHILE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_collector_is_left_as_it_is() -> None:
    assert threading.get_ident() in current_frames()
    assert gc.isenabled()
    gc.disable()
    try:
        current_frames()
        assert not gc.isenabled()
    finally:
        gc.enable()
