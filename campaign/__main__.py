"""The command without its name: ``python -m campaign --help``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
