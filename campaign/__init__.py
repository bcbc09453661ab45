"""Long runs, and what is kept of them: the command, and reproduction scripts that need nothing but torch."""
