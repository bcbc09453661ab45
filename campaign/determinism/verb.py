"""What the verb ``determinism`` does, but for its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..laws import chosen_laws
from ..measure.run import prepare
from ..status import Unable
from .compare import Difference, compare

__all__ = ["run_determinism"]


def run_determinism(names: Sequence[str], *, examples: int, tell: Callable[[str], None]) -> list[Difference]:
    """Compare the examples of the laws of those names, or of all that run in this process; every difference.

    Raises :class:`Unable` where a process dies.
    """
    prepare()
    laws = [law for law in chosen_laws(names, "simulated") if not law.needs_processes]
    found: list[Difference] = []
    for law in laws:
        try:
            compared, differences = compare(law, min(examples, law.examples))
        except RuntimeError as error:
            raise Unable(str(error)) from None
        tell(f"{law.name}: {compared} examples, {len(differences) or 'no'} differences")
        found += differences
    return found
