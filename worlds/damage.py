"""What befalls a checkpoint on its storage after it was saved, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from .concise import Concise
from .invalid import require

__all__ = ["Damage", "DamageKind", "takes_older_save"]

DamageKind = Literal["flipped", "truncated", "missing", "swapped", "stale", "left over"]
_OF_METADATA = ("flipped", "truncated", "missing", "stale")


@dataclass(frozen=True, repr=False)
class Damage(Concise):
    """One thing that befalls one file of a checkpoint.

    ``file`` is its place among the files with data, in the order of their names, and counts round and round; or it is
    the metadata. ``byte`` counts round the file too, so that each number means something for every size:

    - ``"flipped"``: the ``bit`` of that byte is another; with ``inside``, bytes are counted within the elements of the
      tensors in the file alone, and in metadata within the names of files, if there are any
    - ``"truncated"``: of the file, as many bytes are left, so that it is empty with ``byte=0``
    - ``"missing"``: the file is gone
    - ``"swapped"``: it has the content of the file with data that is ``other`` places behind it, which has its content
    - ``"stale"``: it is the file of that name of an earlier save, with other values in everything that is saved
    - ``"left over"``: beside the checkpoint is a file of a rank too many, the first one or ``file`` ranks behind it, as
      a save by a larger world leaves it
    """

    _positional: ClassVar[int] = 2

    kind: DamageKind
    file: int = 0
    metadata: bool = False
    byte: int = 0
    bit: int = 0
    inside: bool = False
    other: int = 1

    def __post_init__(self) -> None:
        require(min(self.file, self.byte) >= 0 and self.other >= 1, f"a damage has a number too small: {self!r}")
        require(0 <= self.bit < 8, f"a byte has no bit {self.bit}")
        require(not self.metadata or self.kind in _OF_METADATA, f"there is no {self.kind!r} of metadata")


def takes_older_save(damages: Sequence[Damage]) -> bool:
    """Whether an earlier save has to have left files, which come in the place of newer ones."""
    return any(damage.kind == "stale" for damage in damages)
