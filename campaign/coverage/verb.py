"""What the verb ``coverage`` does, but for its options."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..files import write_whole
from ..laws import chosen_laws
from ..measure.run import prepare
from ..parts import Part, run_parts
from ..torch_tests import THEIRS, told, torch_test_parts
from .collect import combined, measured_python, require_coverage
from .holes import Judged, judge
from .laws import law_parts
from .measured import Measured
from .reasons import OUT_OF_SCOPE, REASONS
from .table import data, lines, markdown

__all__ = ["run_coverage"]

_LAWS, _TESTS = "laws", "torch-tests"


def run_coverage(
    names: Sequence[str],
    directory: Path,
    *,
    examples: int | None,
    workers: int,
    patience: float,
    torch_tests: Path | None,
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> bool:
    """Run the laws of those names, or all, under coverage.py, and tell what they reach; whether something is wrong.

    That is a law that was broken or lost, or a reason that does not hold. Raises :class:`campaign.status.Unable`.
    """
    require_coverage()
    prepare()
    laws = chosen_laws(names, "simulated")
    tests = [] if torch_tests is None else torch_test_parts(torch_tests, directory / _TESTS, patience)
    tell(f"{len(laws)} laws on torch {torch.__version__}, into {directory}")
    how: dict[str, Any] = {"workers": workers, "show": tell, "python": measured_python}
    records = run_parts(law_parts(laws, examples, patience), directory / _LAWS, **how)
    others: dict[str, Measured] = {}
    said = [f"{sum(record['examples'] for record in records)} examples of {len(laws)} laws"]
    if tests:
        tested = run_parts(tests, directory / _TESTS, **how)
        others[THEIRS] = _measured(tests, directory / _TESTS)
        said.append(told(tested))
    judged = judge(_measured(law_parts(laws, examples, patience), directory / _LAWS), REASONS, OUT_OF_SCOPE)
    _write(judged, others, directory)
    wrong = [f"{record['law']}: {record['said']}" for record in records if record["broke"] or "lost" in record]
    for line in [*lines(judged, REASONS, others), "", *said, *wrong]:
        show(line)
    return bool(wrong or judged.void)


def _measured(parts: Sequence[Part], directory: Path) -> Measured:
    return combined([directory / part.name for part in parts], directory.with_suffix(".json"))


def _write(judged: Judged, others: dict[str, Measured], directory: Path) -> None:
    write_whole(directory / "coverage.md", markdown(judged, REASONS, others))
    write_whole(directory / "coverage.json", json.dumps(data(judged, others), indent=2) + "\n")
