"""From database rows to the manifest: the planner, the survey of what it saw, and the forecast of a move.

See docs/design/planning.md.
"""
