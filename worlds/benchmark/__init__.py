"""What an example costs in the simulated world, and elsewhere: ``python -m worlds.benchmark``."""
