"""How many of the planted bugs the laws find, how soon, and how small they make them."""
