"""Long runs, and what is kept of them: reproduction scripts that need nothing but torch."""
