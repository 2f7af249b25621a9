"""A module of its own, as the help of the command tells it, and loads nothing else for that."""

USUAL_SAMPLE = 100
"""So many objects `verify --public` asks for, unless somebody says how many."""
