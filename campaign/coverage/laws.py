"""The laws as parts of a measure of coverage: a process for each, with its examples of a run of the profile ci."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..laws import Law
from ..logs import Record
from ..parts import Part

__all__ = ["law_parts"]


def law_parts(laws: Sequence[Law], examples: int | None, patience: float) -> list[Part]:
    """A part for each law, with at most so many examples, in all of its shards."""
    return [
        Part(
            law.name,
            "campaign.coverage.one_law",
            (law.name,) if examples is None else (law.name, str(examples)),
            _read,
            patience,
        )
        for law in laws
    ]


def _read(status: int, output: str, place: Path) -> Record:
    """``examples`` that were run, and what ``broke``, or how the process was ``lost``."""
    try:
        record: Record = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
        last = next(iter(output.strip().splitlines()[-1:]), "")
        return {"law": place.name, "examples": 0, "broke": [], "lost": how, "said": f"lost: {how} {last}".strip()}
    broke = "".join(f"; broken: {headline}" for headline in record["broke"])
    return {**record, "said": f"{record['examples']} examples{broke}"}
