"""The laws of dcp-stress on MyStorage. For a longer look: dcp-stress fuzz --storage=my_storage:MyStorage.

With planners of your own, add --planner=my_planners:MyPlanners; `dcp-stress contract` says what those are.
"""

import subprocess
import sys
from pathlib import Path


def test_laws_hold(tmp_path: Path) -> None:
    limits = ["--units=1", "--max-examples=50", "--seed=1", f"--into={tmp_path}/campaign"]
    command = [sys.executable, "-m", "campaign", "fuzz", "--storage=my_storage:MyStorage", *limits]
    assert subprocess.run(command, cwd=Path(__file__).parent).returncode == 0
