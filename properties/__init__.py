"""What must hold: the laws as pytest modules, the oracle and the judge they call, and the ledger of known issues."""

from .judge import judge
from .oracle import expected

__all__ = ["expected", "judge"]
