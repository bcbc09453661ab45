"""What every rank held of a training, before and after a checkpoint, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from ..outcome import ChunkState, Deadlocked, Died, Raised

__all__ = ["FLAT", "Failed", "Held", "HeldTensor", "Loaded", "Saved", "TrainingOutcome"]

FLAT = "view of a flat parameter"
"""The layout of what FSDP's first version cuts, of which a rank may have no element."""


@dataclass(frozen=True)
class HeldTensor:
    """A tensor as a rank holds it: what kind it is and how it is sharded, as text, and the chunks that are here.

    ``frozen`` is a parameter that asks for no gradient, and ``scratch`` a buffer that is not persistent, or a gradient.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str
    chunks: tuple[ChunkState, ...]
    frozen: bool = False
    scratch: bool = False


@dataclass(frozen=True)
class Held:
    """What a rank holds: tensors and other values by their names.

    Names are ``model.FQN``, ``grad.FQN``, ``optim.state.FQN.KEY`` and ``optim.param_groups.INDEX.KEY``, of which the
    groups of several optimizers are numbered one after the other; values are text.
    """

    tensors: tuple[tuple[str, HeldTensor], ...]
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Saved:
    """The save returned: what the rank held before ``get_state_dict``, and after the call that saved."""

    before: Held
    after: Held


@dataclass(frozen=True)
class Loaded:
    """The load returned: what the rank held before it, all of it poisoned, and after ``set_state_dict``.

    ``lost`` are the names that were in the model's state dict when that was given to ``set_state_dict``, and are not.
    """

    before: Held
    after: Held
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A call raised: which one (``get``, ``save``, ``load`` or ``set``), and what."""

    call: str
    raised: Raised


@dataclass(frozen=True)
class TrainingOutcome:
    """What came of a training on every rank. ``loaded`` is empty where the save did not return on every rank."""

    saved: tuple[Saved | Failed | Deadlocked | Died, ...]
    loaded: tuple[Loaded | Failed | Deadlocked | Died, ...] = ()
