"""What must hold of DCP's planning functions alone: laws on plain data, in no world, against brute-force models."""
