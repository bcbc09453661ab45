"""A law's examples in a process of their own, drawn as in a run of the profile ci, to measure what they reach.

``python -m campaign.coverage.one_law LAW [EXAMPLES]``: the last line of the output says what came of it, as JSON.
"""

from __future__ import annotations

import json
import sys
from functools import wraps
from typing import Any

from hypothesis import seed, settings

from properties.sharding import shard_seed
from worlds.hygiene import quiet

from ..laws import Law, all_laws
from ..measure.run import prepare
from ..opened import OpenedWorlds

__all__: list[str] = []


def _run(law: Law, examples: int) -> dict[str, Any]:
    """How many examples were run, and what the law said of those that broke it."""
    judged = 0
    broke: list[str] = []

    def count(**arguments: Any) -> None:
        nonlocal judged
        judged += 1
        law.inner(**arguments)

    usual = law.function._hypothesis_internal_use_settings
    law.function.hypothesis.inner_test = wraps(law.inner)(count)
    with OpenedWorlds() as opened, quiet():
        for shard in range(law.shards):
            ours = len(range(shard, examples, law.shards))
            if not ours:
                continue
            law.function._hypothesis_internal_use_settings = settings(usual, max_examples=ours)
            if law.shards > 1:
                seed(shard_seed(law.function, shard))(law.function)
            try:
                law.function(**law.fixtures(opened, shard=shard))
            except Exception as error:
                broke.append(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return {"law": law.name, "examples": judged, "broke": broke}


def _main(name: str, most: str = "") -> None:
    prepare()
    law = all_laws()[name]
    print(json.dumps(_run(law, min(law.examples, int(most or law.examples)))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
