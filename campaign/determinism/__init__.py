"""Whether examples come out the same in another process, in another order, a second time, and beside load."""
