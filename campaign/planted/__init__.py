"""The catalogue of planted bugs: small changes to the installed torch, in memory, that the laws must see."""
