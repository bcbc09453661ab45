"""Write a scenario out as a Python file that needs torch alone: ``python -m campaign.script --help``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
