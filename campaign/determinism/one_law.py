"""A law's examples in a process of their own, and what was seen of each, for whoever compares processes.

``python -m campaign.determinism.one_law LAW EXAMPLES [backwards|loaded]``: a line of JSON for each example.
``backwards`` draws all of them first, and then judges them from the last to the first, each two times in a row.
``loaded`` has as many other processes busy as there are processors, from the first example on.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any

from hypothesis import Phase, seed, settings

from properties.sharding import shard_seed
from worlds import SimulatedWorld
from worlds.hygiene import quiet
from worlds.patches import Patch, applied

from ..asked import cpus
from ..laws import Law, all_laws
from ..logs import Record
from ..measure.run import prepare
from ..opened import OpenedWorlds
from ..seen import look

__all__: list[str] = []

BACKWARDS, LOADED = "backwards", "loaded"

_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100000))"

_METADATA = re.compile(r"(\.metadata': )'[0-9a-f]{64}'")
"""The digest of a file of metadata, in which DCP's writer puts an id that is random."""


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()


@contextmanager
def _launches() -> Iterator[list[str]]:
    """What the ranks of each world that is launched in the block returned, with the schedule that they ran in."""
    launch = SimulatedWorld._launch
    seen: list[str] = []

    def record(*arguments: Any, **options: Any) -> Any:
        launched = launch(*arguments, **options)
        seen.append(_METADATA.sub(r"\1'…'", repr(launched)))
        return launched

    with applied([Patch(SimulatedWorld, "_launch", record)]):
        yield seen


def _draw(law: Law, examples: int, opened: OpenedWorlds, each: Callable[[Any], None]) -> None:
    """Have Hypothesis call ``each`` with the cases of the law as a run of the profile ci draws them."""
    usual = settings(law.function._hypothesis_internal_use_settings, phases=[Phase.explicit, Phase.generate])
    law.function.hypothesis.inner_test = wraps(law.inner)(lambda **arguments: each(arguments[law.argument]))
    for shard in range(law.shards):
        ours = len(range(shard, examples, law.shards))
        if ours:
            law.function._hypothesis_internal_use_settings = settings(usual, max_examples=ours)
            if law.shards > 1:
                seed(shard_seed(law.function, shard))(law.function)
            law.function(**law.fixtures(opened, shard=shard))


def _see(law: Law, case: Any, opened: OpenedWorlds) -> Record:
    with _launches() as launches:
        seen = look(lambda: law.judge(case, opened))
    said = "" if seen.violation is None else str(seen.violation)
    text = repr(case)
    return {
        "case": text,
        "outcome": _digest(*launches),
        "said": _digest(seen.headline, said),
        "headline": seen.headline,
    }


@contextmanager
def _load() -> Iterator[None]:
    """Inside the block all processors are busy with processes that end with this one, whatever ends it."""
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(cpus())]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _main(name: str, examples: str, how: str = "") -> None:
    prepare()
    law = all_laws()[name]
    cases: list[Any] = []
    with OpenedWorlds() as opened, quiet(), _load() if how == LOADED else nullcontext():

        def show(number: int, case: Any) -> None:
            print(json.dumps({"number": number, **_see(law, case, opened)}), flush=True)

        def run(case: Any) -> None:
            cases.append(None)
            show(len(cases), case)

        _draw(law, int(examples), opened, cases.append if how == BACKWARDS else run)
        if how == BACKWARDS:
            for number, case in reversed([*enumerate(cases, 1)]):
                show(number, case)
                show(number, case)


if __name__ == "__main__":
    _main(*sys.argv[1:])
